"""`train` against a training written out by hand, on pairs of which no validation pixel may be read."""

import copy
from dataclasses import replace

import by_hand
import pytest
import torch
from precisions import needs_bfloat16
from small_trials import small_trial, validation_patches

import forensics.training
import models
from cameras.pairs import Pairs
from channel import Channel, Manipulations
from forensics.fan import FAN
from forensics.training import train
from forensics.trial import Distribution, Split, Training, Trial, Validation

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


PAPER = ("sharpen", "gaussian", "jpeg:80", "resample"), Distribution(2, "jpeg:50", "sin", "4:4:4")
# With this one DNet is left out: a start that differs by 2e-7 differs by whole steps after two iterations.
OTHER = ("resample:1.7", "gaussian:1.5"), Distribution(1, "jpeg:70", "harmonic", "4:2:0")


@pytest.mark.parametrize("lam", [0.1, "fixed"])
@pytest.mark.parametrize(
    ("isp", "manipulations", "distribution"), [("INet", *PAPER), ("DNet", *PAPER), ("INet", *OTHER)]
)
def test_weights_are_those_of_a_training_by_hand(
    isp: str,
    lam: float | str,
    manipulations: tuple[str, ...],
    distribution: Distribution,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial = trial_of(isp, lam, manipulations=manipulations, channel=distribution)
    photographs, train_images, pairs = pairs_of(trial)
    start = models.build(isp, torch.Generator().manual_seed(8), cfa=by_hand.CFA, cam2srgb=by_hand.CAM2SRGB)
    by_hand.poison(monkeypatch)
    outcome = train(trial, pairs, start)
    assert torch.tensor([metrics["psnr"] for metrics in outcome.history.values()]).isnan().all(), "nothing was poisoned"

    nip, fan = copy.deepcopy(start), FAN(1 + len(manipulations), torch.Generator().manual_seed(3))
    settings = distribution.downsample, distribution.codec, distribution.rounding, distribution.subsampling
    manipulate, channel = Manipulations(manipulations), Channel(*settings)
    adam = by_hand.Adam([*fan.parameters(), *(nip.parameters() if lam != "fixed" else ())])
    generator = torch.Generator().manual_seed(3)
    losses = []
    for rate in RATES:
        bayer, target = by_hand.draw(photographs, train_images, 2, 16, generator)
        developed = nip(bayer)
        l_fan = by_hand.class_loss(fan(channel(manipulate(developed))))
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


@pytest.mark.parametrize("loss", by_hand.FIDELITY_LOSSES)
def test_lambda_weighs_the_loss_that_the_settings_name(loss: str) -> None:
    """With λ of about what the class loss is, so that the weights of the NIP tell both."""
    lam = {"L2": 0.1, "L1": 0.3, "SSIM": 20.0, "MS-SSIM": 20.0}[loss]
    training = Training(iterations=3, batch=2, patch=16, nip_loss=loss, learning_rate=2e-4)  # type: ignore[arg-type]
    trial = trial_of("INet", lam, training=training)
    _, train_images, _ = pairs_of(trial)
    photographs = by_hand.photographs(poisoned=())
    start = models.build("INet", torch.Generator().manual_seed(8), cfa=by_hand.CFA, cam2srgb=by_hand.CAM2SRGB)
    outcome = train(trial, by_hand.pairs_of(photographs), start)

    nip, fan = copy.deepcopy(start), FAN(5, torch.Generator().manual_seed(3))
    manipulate, channel = Manipulations(trial.manipulations), trial.channel.build()
    adam = by_hand.Adam([*fan.parameters(), *nip.parameters()])
    generator = torch.Generator().manual_seed(3)
    losses = []
    for _ in range(3):
        bayer, target = by_hand.draw(photographs, train_images, 2, 16, generator)
        developed = nip(bayer)
        l_nip = by_hand.FIDELITY_LOSSES[loss](developed, target)
        adam.step(by_hand.class_loss(fan(channel(manipulate(developed)))) + lam * l_nip, 2e-4)
        losses.append(l_nip.item())
    by_hand.assert_same_weights(outcome.nip, nip, 2e-4)
    by_hand.assert_same_weights(outcome.fan, fan, 2e-4)
    assert outcome.history[3]["loss_nip"] == pytest.approx(losses[2], rel=1e-3, abs=3e-4)  # SSIM rounds


def test_an_unknown_loss_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"training\.nip_loss = L3 is impossible: use L2 or L1 or SSIM or MS-SSIM"):
        Training(nip_loss="L3")  # type: ignore[arg-type]


@pytest.mark.parametrize("textured", [False, True])
def test_only_textured_patches_are_trained_on_where_that_is_set(
    textured: bool, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    variances: list[float] = []

    def loss_nip(developed: torch.Tensor, target: torch.Tensor, _: str) -> torch.Tensor:
        variances.extend(target.flatten(1).var(dim=1, unbiased=False).tolist())
        return by_hand.fidelity_loss(developed, target)

    monkeypatch.setattr(forensics.training, "loss_nip", loss_nip)
    trial = trial_of("INet", 0.1, training=Training(iterations=6, batch=8, patch=16, textured=textured))
    images = [by_hand.faded(seed, 24, 60) for seed in range(5)]
    train(trial, by_hand.pairs_of(images), models.build("INet", cfa=by_hand.CFA))
    assert len(variances) == 48
    assert (min(variances) >= 0.01) == textured


@needs_bfloat16
def test_precision_reaches_the_training(pairs: Pairs) -> None:
    nip = models.build("UNet", cfa=pairs.cfa)
    trial = small_trial(0.1, isp="UNet", training=Training(iterations=1, batch=1, patch=16))
    reduced = replace(trial, training=replace(trial.training, precision="bfloat16"))
    (full,), (coarse,) = (train(each, pairs, nip).history.values() for each in (trial, reduced))
    assert full["loss_fan"] != pytest.approx(coarse["loss_fan"], rel=1e-5)  # the memory layout alone changes 1e-7
    assert full["loss_nip"] != pytest.approx(coarse["loss_nip"], rel=1e-5)
    assert full["loss_nip"] == pytest.approx(coarse["loss_nip"], rel=0.05)


def test_examples_are_rounded_to_8_bits(pairs: Pairs, nip: models.NIP) -> None:
    trial = small_trial("fixed", split=Split(3, 1, seed=4))
    examples = train(trial, pairs, nip).examples
    _, validation_images = by_hand.divide(4, 3, 1, 4)
    _, fidelity = validation_patches(trial, pairs, torch.tensor(validation_images))
    with torch.no_grad():
        for name, images in (("target", fidelity.target), ("native", nip(fidelity.bayer))):
            assert torch.equal(examples[name], (255 * images + 0.5).floor().to(torch.uint8)), name
