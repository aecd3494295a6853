"""The grid of a study: cameras × ISPs × λ × seeds, and a further axis for every setting that is a list.

Settings that change together form an axis of named sections: ``channel: {robust: {…}, paper: {…}}``. Smaller grids may
stand beside the large one: each entry of ``also`` is the study with some of its keys changed.
"""

import itertools
from dataclasses import dataclass, fields, replace
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from channel.codecs import CODECS
from channel.mixture import has_one
from forensics.compression.pretraining import CodecPretraining
from forensics.panel import OWN, factor
from forensics.trial import Distribution, Split, Training, Trial, Validation
from models.pretrain import Pretraining
from models.registry import has_standard_start
from study.settings.frozen import Frozen
from study.settings.messages import StudyError, explain
from study.settings.schema import Study


@dataclass(frozen=True)
class Protocol:
    """All that the trials of one study share, but for its axes."""

    manipulations: tuple[str, ...]
    split: Split
    pretraining: Pretraining
    codec_pretraining: CodecPretraining
    training: Training
    validation: Validation
    channel: Distribution


SECTIONS: dict[str, type] = {
    "split": Split,
    "pretraining": Pretraining,
    "codec_pretraining": CodecPretraining,
    "training": Training,
    "validation": Validation,
    "channel": Distribution,
}


# Settings of a codec's pre-training that follow from the channel, and from which of its own.
OF_THE_CHANNEL = {
    "features": "name them as channel.codec: learned:32",
    "rate_weight": "set channel.rate_weight",
    "factor": "set channel.downsample",
    "kernel": "set channel.kernel",
}


class Planned(Frozen):
    """One trial of the grid, before its data are at hand.

    ``codec_pretraining`` is that of the channel's codec, None where that needs none; ``axes`` are the trial's places on
    the study's further axes.
    """

    trial: Trial
    pretraining: Pretraining
    codec_pretraining: CodecPretraining | None = None
    axes: dict[str, Any] = Field(default_factory=dict)


CHANGEABLE = ("isps", "lambdas", "seeds", "manipulations", *SECTIONS)  # by an entry of ``also``


def planned(study: Study) -> list[Planned]:
    """Every trial of the grid, seed after seed: the whole front is there as soon as the first seed is done.

    Raises:
        StudyError: settings that are unknown, impossible or do not fit each other.
    """
    own = _grid(study)
    grids = [own, *(_beside(study, number, changes, own[0].axes) for number, changes in enumerate(study.also, start=1))]
    items = list(
        {(item.trial, item.pretraining, item.codec_pretraining): item for grid in grids for item in grid}.values()
    )
    seeds = list(dict.fromkeys(item.trial.seed for item in items))
    return sorted(items, key=lambda item: seeds.index(item.trial.seed))


def _beside(study: Study, number: int, changes: dict[str, Any], own: dict[str, Any]) -> list[Planned]:
    """The trials of an entry of ``also``, on the axes of the study's ``own`` grid.

    A section that is not named there keeps the keys that are not given.
    """
    if unknown := set(changes) - set(CHANGEABLE):
        raise StudyError(f"also: '{min(unknown)}' cannot be changed there: it may hold {', '.join(CHANGEABLE)}")
    merged = {
        name: {**getattr(study, name), **value}
        if name in SECTIONS and isinstance(value, dict) and not _is_named(value) and not _is_named(getattr(study, name))
        else value
        for name, value in changes.items()
    }
    try:
        changed = Study.model_validate({**study.model_dump(exclude={"also"}), **merged})
    except ValidationError as error:
        raise StudyError(f"also: {explain(error, Study)}") from None
    grid = _grid(changed)
    if set(grid[0].axes) != set(own):
        names = ", ".join(sorted(set(grid[0].axes) ^ set(own)))
        raise StudyError(
            f"also, entry {number}: {names} is an axis in one grid and not in the other: give both at least one "
            "value in a list, or name the section in both"
        )
    return grid


def _grid(study: Study) -> list[Planned]:
    variants = _variants(study)
    for isp, (_, protocol) in itertools.product(study.isps, variants):
        if protocol.pretraining.start == "standard" and not has_standard_start(isp):
            raise StudyError(f"pretraining.start: standard: {isp} has no such start, use random")
    for codec in (protocol.channel.codec for _, protocol in variants if OWN in study.evaluation.codecs):
        if not has_one(codec):
            raise StudyError(
                f"evaluation.codecs: own: the channel {codec!r} has not one codec at one quality: leave it out"
            )
    return [
        Planned(
            trial=Trial(
                camera=camera.name,
                isp=isp,
                lam=lam,
                seed=seed,
                manipulations=protocol.manipulations,
                split=protocol.split,
                training=protocol.training,
                validation=protocol.validation,
                channel=protocol.channel,
            ),
            pretraining=protocol.pretraining,
            codec_pretraining=_of_codec(protocol),
            axes=axes,
        )
        for seed, camera, isp, lam in itertools.product(study.seeds, study.cameras, study.isps, study.lambdas)
        for axes, protocol in variants
    ]


def _of_codec(protocol: Protocol) -> CodecPretraining | None:
    """The pre-training of the channel's codec, for what the channel hands to it."""
    term = protocol.channel.learning_codec
    if term is None or not CODECS[term.name].pretrained:
        return None
    return replace(
        protocol.codec_pretraining,
        features=term.qualities[0],
        rate_weight=protocol.channel.rate_weight,
        factor=factor(protocol.channel),
        kernel=protocol.channel.kernel,
    )


def _is_named(section: dict[str, Any]) -> bool:
    """Whether a section of a study file holds named sections instead of settings."""
    return bool(section) and all(isinstance(value, dict) for value in section.values())


def _variants(study: Study) -> list[tuple[dict[str, Any], Protocol]]:
    """One protocol for each combination of the further axes, with its place on them."""
    sections = {name: getattr(study, name) for name in SECTIONS}
    named = {name: section for name, section in sections.items() if _is_named(section)}
    plain = {name: section for name, section in sections.items() if name not in named}
    settings = {(name, key): value for name, section in plain.items() for key, value in section.items()}
    axes: dict[str, Any] = {name: list(section) for name, section in named.items()}
    axes |= {f"{name}.{key}": value for (name, key), value in settings.items() if isinstance(value, list | tuple)}
    several = [isinstance(item, list | tuple) for item in study.manipulations]
    if any(several):
        if not all(several):
            raise StudyError("manipulations: give names, or lists of names as an axis, not both")
        axes["manipulations"] = study.manipulations
    for axis, values in axes.items():
        if not values:
            raise StudyError(f"{axis}: an axis needs at least one value, got []")
        if len({str(value) for value in values}) < len(values):
            raise StudyError(f"{axis}: a value is named twice in {list(values)}")
    inside = {(name, key): value for name, these in named.items() for of in these.values() for key, value in of.items()}
    for (name, key), value in inside.items():
        if isinstance(value, list | tuple):
            raise StudyError(f"{name}: {key} is a list inside a named {name}: name one {name} for each value")
    for name, key in (*settings, *inside):
        known = [field.name for field in fields(SECTIONS[name])]
        if key not in known:
            raise StudyError(f"unknown key '{name}.{key}': known here are {', '.join(known)}")
        if name == "codec_pretraining" and key in OF_THE_CHANNEL:
            raise StudyError(f"codec_pretraining.{key} follows from the channel: {OF_THE_CHANNEL[key]}")

    variants = []
    for values in itertools.product(*axes.values()):
        cell = dict(zip(axes, values, strict=True))
        chosen: dict[str, Any] = {name: dict(named[name][cell[name]]) if name in named else {} for name in SECTIONS}
        for (name, key), value in settings.items():
            chosen[name][key] = cell.get(f"{name}.{key}", value)
        chosen["manipulations"] = cell.get("manipulations", study.manipulations)
        variants.append((cell, _protocol(chosen)))
    return variants


def _protocol(chosen: dict[str, Any]) -> Protocol:
    try:
        protocol = TypeAdapter(Protocol).validate_python(chosen)
        # What only the whole can show: does the channel leave the FAN enough pixels, are the names known?
        Trial(
            "camera", "UNet", "fixed", 0, protocol.manipulations, training=protocol.training, channel=protocol.channel
        )
    except ValidationError as error:
        raise StudyError(explain(error, Protocol)) from None
    return protocol
