"""`pretrain` against a training written out by hand, on pairs of which no validation pixel may be read in training."""

import copy
from typing import Any

import by_hand
import pytest
import torch

import models
from cameras.patches import Patches
from models.fidelity import METRICS
from models.pretrain import Pretraining, pretrain

SETTINGS = Pretraining(
    patch=8, batch=3, learning_rate=1e-3, max_iterations=5, check_every=2, validation_patch=8, tolerance=0, seed=6
)
TRAIN, VALIDATION = [3, 0, 4], [2, 1]


@pytest.mark.parametrize(
    ("losses", "best_step"), [((9.0, 8.0, 7.0, 6.0), 5), ((9.0, 5.0, 7.0, 6.0), 2), ((1.0, 5.0, 7.0, 6.0), 0)]
)
@pytest.mark.parametrize("name", ["INet", "DNet"])  # without statistics of batches and with them
def test_weights_are_those_of_a_training_by_hand(
    name: str, losses: tuple[float, ...], best_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses of the four validations are given: the weights must be those of the best.

    In float64: with statistics of batches, rounding errors of float32 grow from step to step.
    """
    photographs = by_hand.photographs(poisoned=VALIDATION)
    pairs = by_hand.pairs_of(photographs)
    nip = models.build(name, torch.Generator().manual_seed(8), cfa=by_hand.CFA, cam2srgb=by_hand.CAM2SRGB)
    nip.double()
    expected = copy.deepcopy(nip).freeze_statistics(False).train()

    given = iter(losses)

    def evaluate(_: models.NIP, patches: Patches, *others: Any) -> dict[str, float]:
        assert len(patches) == len(VALIDATION)
        assert patches.bayer.isnan().all()
        assert patches.target.isnan().all()
        return dict.fromkeys(METRICS, 0.0) | {"loss_nip": next(given)}

    by_hand.poison(monkeypatch, torch.float64)
    monkeypatch.setattr("models.pretrain.evaluate", evaluate)
    history: dict[int, dict[str, float]] = {}
    result = pretrain(
        nip, pairs, torch.tensor(TRAIN), torch.tensor(VALIDATION), SETTINGS, on_metrics=history.__setitem__
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
        adam.step(loss, 1e-3)
        by_step.append(loss.item())
        if step == best_step:
            best = copy.deepcopy(expected)

    torch.testing.assert_close(result.nip.state_dict(), best.state_dict(), rtol=0, atol=1e-6)  # statistics, too
    for since, step in ((0, 2), (2, 4), (4, 5)):
        mean = sum(by_step[since:step]) / (step - since)
        assert history[step]["loss_train"] == pytest.approx(mean, rel=1e-6)
