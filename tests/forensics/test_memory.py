"""What a trial needs of a GPU, counted without one. `pytest -s tests/forensics/test_memory.py` prints the table."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from small_trials import small_trial

import models
from forensics import Trial
from forensics.memory import Memory, pretraining_memory, trial_memory
from forensics.training import build_model
from forensics.trial import Training
from models.pretrain import Pretraining

GB = 1e9


def paper(isp: str, precision: Literal["float32", "bfloat16"], lam: float | Literal["fixed"] = 0.1) -> Trial:
    return Trial("Nikon D7000", isp, lam, training=Training(precision=precision))


def line(name: str, memory: Memory) -> str:
    parts = " · ".join(f"{part.replace('_', ' ')} {size / GB:.2f}" for part, size in vars(memory).items())
    return f"{name:34}{memory.total / GB:5.1f} GB = {parts}"


def test_the_papers_setting_fits(capsys: pytest.CaptureFixture[str]) -> None:
    """Batch 20, RAW patch 128, photographs on the host."""
    lines = []
    for isp in models.NIPS:
        for precision in ("float32", "bfloat16"):
            memories = {
                "joint": trial_memory(paper(isp, precision)),  # type: ignore[arg-type]
                "fixed": trial_memory(paper(isp, precision, "fixed")),  # type: ignore[arg-type]
                "pre-training": pretraining_memory(isp, Pretraining(precision=precision)),  # type: ignore[arg-type]
            }
            lines += [line(f"{isp} {precision} {what}", memory) for what, memory in memories.items()]
            limit = 8 if isp == "DNet" else 6
            assert max(memory.total for memory in memories.values()) <= limit * GB, (isp, precision)
            assert memories["fixed"].total < memories["joint"].total
    print("\n" + "\n".join(lines))
    assert trial_memory(paper("UNet", "float32")).total <= 6 * GB


def test_the_largest_parts_are_those_known_by_hand() -> None:
    """Weights and moments by their number; of the step, at least what convolutions must keep for their gradients."""
    memory = trial_memory(paper("UNet", "float32"))
    weights = 4 * (7_760_268 + 1_341_990)
    assert memory.weights == pytest.approx(weights, rel=0.005)  # and some constants
    assert memory.optimiser == 2 * weights
    # Inputs of the UNet's convolutions: per scale two of each width down (the first from 4 planes), three up.
    kept, side = 0, 128
    for width in (32, 64, 128, 256):
        kept += (2 * width + width // 2 + 3 * width) * side**2
        side //= 2
    fan = 100 * sum(width * size**2 for width, size in ((3, 128), (32, 64), (64, 32), (128, 16)))
    assert 4 * (20 * kept + fan) * 0.9 < memory.gradients_and_activations < 6 * 4 * (20 * kept + fan)
    # 20 patches as floats, and four times on their way as stored integers
    assert memory.batch == 20 * 128**2 * (4 * (4 + 12) + 4 * 20)


def test_more_work_needs_more_memory() -> None:
    base = paper("UNet", "float32")
    of_base = trial_memory(base)
    twice = trial_memory(replace(base, training=Training(batch=40)))
    assert 1.8 < twice.gradients_and_activations / of_base.gradients_and_activations < 2.1
    assert trial_memory(paper("UNet", "bfloat16")).gradients_and_activations < of_base.gradients_and_activations
    more = trial_memory(replace(base, manipulations=("sharpen", "gaussian", "jpeg:80", "resample", "median")))
    assert more.gradients_and_activations > of_base.gradients_and_activations
    larger = pretraining_memory("DNet", Pretraining(validation_patch=1024))
    assert larger.validation > pretraining_memory("DNet", Pretraining()).validation


def test_trials_that_need_the_same_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = small_trial(0.1, manipulations=("gaussian",))
    first = trial_memory(trial)
    monkeypatch.setattr("forensics.memory.build_model", lambda *_: pytest.fail("counted again"))
    assert trial_memory(replace(trial, camera="other", seed=7, lam=0.5)) is first


def test_what_is_counted_is_what_a_step_has_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that keeps 100 MB more is counted with 100 MB more."""
    trial = small_trial(0.1, seed=3)
    before = trial_memory(trial).gradients_and_activations
    from forensics import memory

    step = memory.training_step

    def heavier(*arguments: object) -> torch.Tensor:
        held = torch.empty(25_000_000, device="meta")
        losses = step(*arguments)  # type: ignore[arg-type]
        assert held.is_meta
        return losses

    monkeypatch.setattr(memory, "training_step", heavier)
    memory._trial_memory.cache_clear()
    assert trial_memory(trial).gradients_and_activations == before + 100_000_000
    memory._trial_memory.cache_clear()
    assert build_model(trial, models.build("INet")).joint
