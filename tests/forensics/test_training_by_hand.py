"""`train` against a training written out by hand, on pairs of which no validation pixel may be read."""

import copy

import by_hand
import pytest
import torch
from small_trials import small_trial

import models
from cameras.pairs import Pairs
from channel import Channel, Manipulations
from forensics.fan import FAN
from forensics.training import train
from forensics.trial import Split, Training, Trial, Validation

RATES = [2e-4, 2e-4, 1e-4, 1e-4, 5e-5, 5e-5]  # of the six iterations


def trial_of(isp: str, lam: float | str, **changes: object) -> Trial:
    training = Training(iterations=6, batch=2, patch=16, learning_rate=2e-4, decay=0.5, decay_every=2)
    validation = Validation(every=2, accuracy_patches=2, fidelity_patches=2, textured=False)
    settings = {"split": Split(3, 2, seed=4), "training": training, "validation": validation, "seed": 3} | changes
    return small_trial(lam, isp=isp, **settings)


def pairs_of(trial: Trial) -> tuple[list[by_hand.Photograph], list[int], Pairs]:
    """Photographs whose validation images are poisoned, the numbers of those to train on, and all as pairs."""
    train_images, validation_images = by_hand.divide(
        len(by_hand.SIZES), trial.split.train, trial.split.validation, trial.split.seed
    )
    photographs = by_hand.photographs(poisoned=validation_images)
    return photographs, train_images, by_hand.pairs_of(photographs)


@pytest.mark.parametrize("lam", [0.1, "fixed"])
@pytest.mark.parametrize("isp", ["INet", "DNet"])
def test_weights_are_those_of_a_training_by_hand(isp: str, lam: float | str, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = trial_of(isp, lam)
    photographs, train_images, pairs = pairs_of(trial)
    start = models.build(isp, torch.Generator().manual_seed(8), cfa=by_hand.CFA, cam2srgb=by_hand.CAM2SRGB)
    by_hand.poison(monkeypatch)
    outcome = train(trial, pairs, start)
    assert torch.tensor([metrics["psnr"] for metrics in outcome.history.values()]).isnan().all(), "nothing was poisoned"

    nip, fan = copy.deepcopy(start), FAN(5, torch.Generator().manual_seed(3))
    manipulations, channel = Manipulations(("sharpen", "gaussian", "jpeg:80", "resample")), Channel(2, "jpeg:50")
    adam = by_hand.Adam([*fan.parameters(), *(nip.parameters() if lam != "fixed" else ())])
    generator = torch.Generator().manual_seed(3)
    losses = []
    for rate in RATES:
        bayer, target = by_hand.draw(photographs, train_images, 2, 16, generator)
        developed = nip(bayer)
        l_fan = by_hand.class_loss(fan(channel(manipulations(developed))))
        l_nip = by_hand.fidelity_loss(developed, target)
        adam.step(l_fan + 0.1 * l_nip if lam != "fixed" else l_fan, rate)
        losses.append((l_fan.item(), l_nip.item()))

    by_hand.assert_same_weights(outcome.fan, fan, RATES[0])
    by_hand.assert_same_weights(outcome.nip, nip, RATES[0])
    if lam == "fixed":
        assert all(torch.equal(value, start.state_dict()[key]) for key, value in outcome.nip.state_dict().items())
    for step, metrics in outcome.history.items():
        for number, name in enumerate(("loss_fan", "loss_nip")):
            expected = sum(loss[number] for loss in losses[step - 2 : step]) / 2
            assert metrics[name] == pytest.approx(expected, rel=1e-3), (step, name)
