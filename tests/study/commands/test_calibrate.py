"""Which photographs calibrate a package, which check it, and which are refused."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cameras.dng import simulate_folder
from cameras.raw import RawFrame
from cameras.simulate import PRESETS
from forensics.panel import Panel
from forensics.trial import Split, Trial
from study.commands import calibrate as calibrating
from study.settings import StudyError

CAMERA = PRESETS["sim-gbrg"]
PACKAGE: Any = SimpleNamespace(
    trial=Trial(CAMERA.name, "INet", "fixed", split=Split(3, 6, 5)),
    nip=SimpleNamespace(settings={"cfa": CAMERA.cfa}),
    fan=None,
)


class Seen:
    """What calibrated and what checked, as mean values of Bayer stacks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parts: list[list[float]] = []
        self.fitted: list[float] = []
        self.assessed: list[float] = []
        monkeypatch.setattr(calibrating, "samples", self.samples)
        monkeypatch.setattr(calibrating, "fit", lambda samples, classes: self.fitted.extend(samples))
        monkeypatch.setattr(calibrating, "assess", lambda calibration, samples: self.assessed.extend(samples) or {})

    def samples(self, trial: Trial, nip: Any, fan: Any, stacks: Iterable[Tensor], *_: Any, **__: Any) -> list[float]:
        return [round(stack.mean().item(), 6) for stack in stacks]


def pairs(stacks: list[Tensor]) -> Any:
    """Pairs of these Bayer stacks (h,w,4) uint16, of one size."""
    h, w, _ = stacks[0].shape
    return SimpleNamespace(
        names=[f"{number}" for number in range(len(stacks))],
        bayer=torch.cat([stack.view(-1, 4) for stack in stacks]).view(torch.int16),
        offset=torch.arange(len(stacks)) * h * w,
        height=torch.full((len(stacks),), h),
        width=torch.full((len(stacks),), w),
    )


def numbered(count: int) -> list[Tensor]:
    return [torch.full((2, 3, 4), 1000 * (number + 1), dtype=torch.int32).to(torch.uint16) for number in range(count)]


def test_validation_photographs_calibrate_and_test_photographs_check(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, held = Seen(monkeypatch), pairs(numbered(14))
    calibrating.calibrate(PACKAGE, held, Panel())
    _, validation, test = PACKAGE.trial.split.images(held.names)
    values = [round(1000 * (number + 1) / 65535, 6) for number in range(14)]
    assert seen.fitted == [values[i] for i in validation]
    assert seen.assessed == [values[i] for i in test]


def test_unseen_photographs_calibrate_or_check_never_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = simulate_folder(CAMERA, tmp_path, 11, 64, 96, seed=1)
    seen = Seen(monkeypatch)
    calibrating.calibrate(PACKAGE, pairs(numbered(14)), Panel(), files)
    means = [round(float(torch.from_numpy(RawFrame.open(file).bayer).movedim(-1, 0)[None].mean()), 6) for file in files]
    assert len(set(means)) == 11
    assert (seen.fitted, seen.assessed) == (means[::2], means[1::2])


def test_a_photograph_of_the_study_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = simulate_folder(CAMERA, tmp_path, 11, 64, 96, seed=1)
    frames = [np.round(RawFrame.open(file).bayer * 65535).astype(np.uint16) for file in files]
    Seen(monkeypatch)
    with pytest.raises(StudyError, match="is one of the study's photographs"):
        calibrating.calibrate(
            PACKAGE, pairs([torch.from_numpy(frame) for frame in (*frames, *frames[:3])]), Panel(), files
        )
