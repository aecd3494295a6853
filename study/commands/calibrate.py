"""Calibrate the FAN of a package, and check the calibration with other photographs.

Without further photographs, the study's validation photographs calibrate and its test photographs check. These are few:
with n native photographs, no false-alarm rate below 1/(n + 1) can be promised. RAW files that the study has never seen
help; every other one of them calibrates, the rest check.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cameras.console import say, work
from cameras.pairs import Pairs
from cameras.raw import RawError, RawFrame
from channel import Manipulations
from forensics.analysis.calibration import Calibration
from forensics.analysis.fitting import FOLDS, fit
from forensics.analysis.samples import Sample, samples
from forensics.package import Package
from forensics.panel import Panel, stack
from study.results.reliability import assess
from study.settings import StudyError

SEEDS = (1, 2)  # of the photographs that calibrate, and of those that check


def calibrate(
    package: Package, pairs: Pairs, panel: Panel, photographs: Sequence[Path] = ()
) -> tuple[Calibration | None, dict[str, Any]]:
    """Calibrate a package's FAN and check it.

    Args:
        package: without a calibration.
        pairs: the photographs of the trial.
        panel: an encoder of it is drawn for each photograph.
        photographs: RAW files of the same camera, which the study has not seen; none: those of the study.

    Returns:
        The calibration, None where photographs are too few; and what the package says about it.

    Raises:
        StudyError: a file cannot be read, is of another camera, or is one of the study's.
    """
    trial = package.trial
    if photographs:
        seen = {_hash(stack(pairs, i)) for part in trial.split.images(pairs.names) for i in part.tolist()}
        source = "photographs that the study has not seen"
        first, second = photographs[::2], photographs[1::2]
        counts = (len(first), len(second))
        stacks = (_opened(first, package, seen), _opened(second, package, seen))
    else:
        source = "validation photographs, checked with test photographs"
        _, validation, test = trial.split.images(pairs.names)
        counts = (len(validation), len(test))
        stacks = tuple((stack(pairs, i) for i in images.tolist()) for images in (validation, test))  # type: ignore[assignment]
    about: dict[str, Any] = {"photographs": counts[0], "source": source}
    if counts[0] < FOLDS:
        say(f"no calibration: {counts[0]} photographs are too few, give more with --photographs")
        return None, about
    with work("calibration: looking at photographs", sum(counts)) as advance:
        advance(0)
        own = _looked(package, stacks[0], panel, SEEDS[0], advance)
        others = _looked(package, stacks[1], panel, SEEDS[1], lambda done: advance(counts[0] + done))
    say("calibration: fitting")
    calibration = fit(own, Manipulations(trial.manipulations).classes)
    return calibration, about | ({"reliability": assess(calibration, others)} if others else {})


def _looked(
    package: Package, stacks: Iterator[Tensor], panel: Panel, seed: int, advance: Callable[[int], None]
) -> list[Sample]:
    trial = package.trial
    return list(samples(trial, package.nip, package.fan, stacks, panel.codecs, seed, on_photograph=advance))


def _opened(paths: Sequence[Path], package: Package, seen: set[str]) -> Iterator[Tensor]:
    """Bayer stacks (1,4,h,w) of RAW files."""
    for path in paths:
        try:
            frame = RawFrame.open(path)
        except RawError as error:
            raise StudyError(f"{path}: {error}") from None
        if frame.cfa != package.nip.settings["cfa"]:
            raise StudyError(
                f"{path} has the colour filters {frame.cfa}, the trial's camera {package.nip.settings['cfa']}: give "
                f"photographs of {package.trial.camera}"
            )
        bayer = torch.from_numpy(frame.bayer).movedim(-1, 0)[None]
        if _hash(bayer) in seen:
            raise StudyError(f"{path} is one of the study's photographs: give others of the camera, or none")
        yield bayer


def _hash(bayer: Tensor) -> str:
    """Of a Bayer stack in [0,1], as it is stored with 16 bits."""
    stored = (bayer * 65535).round().to(torch.int32).contiguous().numpy().astype(np.uint16)
    return hashlib.sha256(stored.data).hexdigest()


def rows(about: dict[str, Any]) -> list[tuple[str, str]]:
    """What a package says about its calibration, as rows of a table."""
    found = [("calibrated with", f"{about['photographs']} {about['source']}")]
    if "reliability" not in about:
        return found
    checked = about["reliability"]
    found.append(("checked with", f"{checked['photographs']} photographs"))
    for rate, at in checked["rates"].items():
        if "refused" in at:
            found.append((f"false alarms at {float(rate):.0%}", at["refused"]))
            continue
        found.append((f"native above the threshold of {float(rate):.0%}", _share(at["above"])))
        found.append((f"native called altered at {float(rate):.0%}", _share(at["false_alarms"])))
        found.append((f"native with an altered region at {float(rate):.0%}", _share(at["false_regions"])))
        classes = ", ".join(f"{name} {one['share']:.0%}" for name, one in at["detected_by_class"].items())
        found.append((f"altered called altered at {float(rate):.0%}", f"{_share(at['detected'])}: {classes}"))
    found.append(
        (
            "ECE; Cllr, Cllr_min",
            "; ".join((f"{checked['ece']:.3f}", f"{checked['cllr']:.3f}, {checked['cllr_min']:.3f}")),
        )
    )
    return found


def _share(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['share']:.1%} [{low:.1%}, {high:.1%}] of {one['of']}"
