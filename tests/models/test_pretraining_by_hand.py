"""`pretrain` against a training written out by hand, on pairs of which no validation pixel may be read in training."""

import copy
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import by_hand
import pytest
import torch
from precisions import needs_bfloat16

import models
import models.pretrain
from cameras.patches import Patches
from models.fidelity import LOSSES, METRICS
from models.pretrain import Pretraining, pretrain

SETTINGS = Pretraining(
    patch=8, batch=3, learning_rate=1e-3, max_iterations=5, check_every=2, validation_patch=8, tolerance=0, seed=6
)
TRAIN, VALIDATION = [3, 0, 4], [2, 1]
HALF_COSINE = [(1 + math.cos(angle * math.pi / 5)) / 2 for angle in range(5)]  # 1 … 0.1 in five iterations
SCHEDULES: dict[str, tuple[dict[str, Any], list[float]]] = {  # settings, and the rates of the five iterations
    "constant": ({}, [1e-3] * 5),
    "warm-up and cosine": (
        {"warm_up": 2, "decay": "cosine"},
        [1e-3 * factor * (0.5 if step == 0 else 1) for step, factor in enumerate(HALF_COSINE)],
    ),
}


@pytest.mark.parametrize(
    ("losses", "best_step"), [((9.0, 8.0, 7.0, 6.0), 5), ((9.0, 5.0, 7.0, 6.0), 2), ((1.0, 5.0, 7.0, 6.0), 0)]
)
@pytest.mark.parametrize("name", ["INet", "DNet"])  # without statistics of batches and with them
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weights_are_those_of_a_training_by_hand(
    name: str, losses: tuple[float, ...], best_step: int, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses of the four validations are given: the weights must be those of the best.

    In float64: with statistics of batches, rounding errors of float32 grow from step to step.
    """
    changes, rates = SCHEDULES[schedule]
    settings = replace(SETTINGS, **changes)
    photographs = by_hand.photographs(poisoned=VALIDATION)
    pairs = by_hand.pairs_of(photographs)
    nip = models.build(name, torch.Generator().manual_seed(8), cfa=by_hand.CFA, cam2srgb=by_hand.CAM2SRGB)
    nip.double()
    expected = copy.deepcopy(nip).freeze_statistics(False).train()

    given = iter(losses)

    def evaluate(_: models.NIP, batches: Iterable[Patches], *others: Any) -> dict[str, float]:
        batches = list(batches)
        assert sum(map(len, batches)) == len(VALIDATION)
        assert all(patches.bayer.isnan().all() and patches.target.isnan().all() for patches in batches)
        return dict.fromkeys(METRICS, 0.0) | {"loss_nip": next(given)}

    by_hand.poison(monkeypatch, torch.float64)
    monkeypatch.setattr("models.pretrain.evaluate", evaluate)
    history: dict[int, dict[str, float]] = {}
    result = pretrain(
        nip, pairs, torch.tensor(TRAIN), torch.tensor(VALIDATION), settings, on_metrics=history.__setitem__
    )
    assert (list(history), result.loss) == ([0, 2, 4, 5], min(losses))

    generator = torch.Generator().manual_seed(6)
    torch.randint(1 << 62, (len(VALIDATION),), generator=generator)  # the places of the validation patches come first
    adam = by_hand.Adam(expected.parameters())
    by_step = []
    best = copy.deepcopy(expected)
    for step in range(1, 6):
        bayer, target = by_hand.draw(photographs, TRAIN, 3, 8, generator)
        loss = by_hand.fidelity_loss(expected(bayer.double()), target.double())
        adam.step(loss, rates[step - 1])
        by_step.append(loss.item())
        if step == best_step:
            best = copy.deepcopy(expected)

    torch.testing.assert_close(result.nip.state_dict(), best.state_dict(), rtol=0, atol=1e-6)  # statistics, too
    for since, step in ((0, 2), (2, 4), (4, 5)):
        mean = sum(by_step[since:step]) / (step - since)
        assert history[step]["loss_train"] == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("loss", by_hand.FIDELITY_LOSSES)
def test_every_loss_is_the_one_that_is_trained_and_that_chooses_the_weights(loss: Any) -> None:
    of_hand = by_hand.FIDELITY_LOSSES[loss]
    photographs = by_hand.photographs(poisoned=())
    nip = models.build("INet", torch.Generator().manual_seed(8), cfa=by_hand.CFA, cam2srgb=by_hand.CAM2SRGB)
    expected = copy.deepcopy(nip).freeze_statistics(False).train()
    settings = replace(SETTINGS, patch=12, validation_patch=12, loss=loss, check_every=1)
    history: dict[int, dict[str, float]] = {}
    images = torch.tensor(TRAIN), torch.tensor(VALIDATION)
    result = pretrain(nip, by_hand.pairs_of(photographs), *images, settings, on_metrics=history.__setitem__)

    generator = torch.Generator().manual_seed(6)
    places = torch.randint(1 << 62, (len(VALIDATION),), generator=generator).tolist()
    validation = [by_hand.patch_of(photographs[i], place, 12) for i, place in zip(VALIDATION, places, strict=True)]
    shown, wanted = (torch.stack(parts) for parts in zip(*validation, strict=True))
    adam = by_hand.Adam(expected.parameters())
    losses, best = [], copy.deepcopy(expected)
    for _ in range(6):
        with torch.no_grad():
            losses.append(of_hand(expected(shown), wanted).item())
        best = copy.deepcopy(expected) if losses[-1] == min(losses) else best
        bayer, target = by_hand.draw(photographs, TRAIN, 3, 12, generator)
        adam.step(of_hand(expected(bayer), target), 1e-3)
    assert [metrics["loss_nip"] for metrics in history.values()] == pytest.approx(losses, rel=1e-3, abs=5e-5)
    assert result.loss == min(metrics["loss_nip"] for metrics in history.values())
    by_hand.assert_same_weights(result.nip, best, 1e-3)


@pytest.mark.parametrize("textured", [False, True])
def test_patches_are_those_that_the_settings_ask_for(textured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = by_hand.pairs_of(by_hand.faded(seed, 24, 60) for seed in range(5))
    variances: dict[str, list[float]] = {"training": [], "validation": []}

    def note(kind: str, target: torch.Tensor) -> None:
        variances[kind].extend(target.flatten(1).var(dim=1, unbiased=False).tolist())

    def squared_error(developed: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        note("training", target)
        return (developed - target).square()

    def evaluate(_: models.NIP, batches: Iterable[Patches], *others: Any) -> dict[str, float]:
        for patches in batches:
            note("validation", patches.target)
        return dict.fromkeys(METRICS, 1.0)

    monkeypatch.setitem(LOSSES, "L2", squared_error)
    monkeypatch.setattr(models.pretrain, "evaluate", evaluate)
    settings = replace(SETTINGS, batch=10, validation_per_image=20, textured=textured)
    nip = models.build("INet", cfa=by_hand.CFA)
    pretrain(nip, pairs, torch.tensor(TRAIN), torch.tensor(VALIDATION), settings)
    assert {kind: len(values) for kind, values in variances.items()} == {"training": 5 * 10, "validation": 4 * 2 * 20}
    assert all((min(values) >= 0.01) == textured for values in variances.values())


@needs_bfloat16
def test_precision_reaches_the_training() -> None:
    pairs = by_hand.pairs_of(by_hand.photographs(poisoned=()))
    losses = []
    for precision in ("float32", "bfloat16"):
        settings = replace(SETTINGS, max_iterations=1, validation_patch=8, precision=precision)
        history: dict[int, dict[str, float]] = {}
        nip = models.build("UNet", cfa=by_hand.CFA)
        pretrain(nip, pairs, torch.tensor(TRAIN), torch.tensor(VALIDATION), settings, on_metrics=history.__setitem__)
        losses.append(history[1]["loss_train"])
    full, coarse = losses
    assert full != pytest.approx(coarse, rel=1e-5)  # the memory layout alone changes 1e-7
    assert full == pytest.approx(coarse, rel=0.05)
