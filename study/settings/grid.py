"""The grid of a study: cameras × ISPs × λ × seeds, and a further axis for every setting that is a list."""

import itertools
from dataclasses import dataclass, fields
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from forensics.trial import Distribution, Split, Training, Trial, Validation
from models.pretrain import Pretraining
from models.registry import has_standard_start
from study.settings.messages import StudyError, explain
from study.settings.schema import Frozen, Study


@dataclass(frozen=True)
class Protocol:
    """All that the trials of one study share, but for its axes."""

    manipulations: tuple[str, ...]
    split: Split
    pretraining: Pretraining
    training: Training
    validation: Validation
    channel: Distribution


SECTIONS: dict[str, type] = {
    "split": Split,
    "pretraining": Pretraining,
    "training": Training,
    "validation": Validation,
    "channel": Distribution,
}


class Planned(Frozen):
    """One trial of the grid, before its data are at hand. ``axes`` are its places on the study's further axes."""

    trial: Trial
    pretraining: Pretraining
    axes: dict[str, Any] = Field(default_factory=dict)


def planned(study: Study) -> list[Planned]:
    """Every trial of the grid, seed after seed: the whole front is there as soon as the first seed is done."""
    variants = _variants(study)
    for isp, (_, protocol) in itertools.product(study.isps, variants):
        if protocol.pretraining.start == "standard" and not has_standard_start(isp):
            raise StudyError(f"pretraining.start: standard: {isp} has no such start, use random")
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
            axes=axes,
        )
        for seed, camera, isp, lam in itertools.product(study.seeds, study.cameras, study.isps, study.lambdas)
        for axes, protocol in variants
    ]


def _variants(study: Study) -> list[tuple[dict[str, Any], Protocol]]:
    """One protocol for each combination of the further axes, with its place on them."""
    settings = {(name, key): value for name in SECTIONS for key, value in getattr(study, name).items()}
    axes = {f"{name}.{key}": value for (name, key), value in settings.items() if isinstance(value, list | tuple)}
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
    for name, key in settings:
        known = [field.name for field in fields(SECTIONS[name])]
        if key not in known:
            raise StudyError(f"unknown key '{name}.{key}': known here are {', '.join(known)}")

    variants = []
    for values in itertools.product(*axes.values()):
        cell = dict(zip(axes, values, strict=True))
        chosen: dict[str, Any] = {name: {} for name in SECTIONS}
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
