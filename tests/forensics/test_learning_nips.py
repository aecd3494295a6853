"""What learns in a joint trial, and how fast: a rate of the NIP's own, and the tile of Pattern."""

import copy
from dataclasses import replace
from itertools import chain
from pathlib import Path

import by_hand
import pytest
import torch
from small_trials import small_trial
from torch import Tensor

import models
from cameras.pairs import Pairs
from channel import Channel, Manipulations
from forensics.fan import FAN
from forensics.training import Outcome, build_model, parameter_groups, train
from forensics.trial import Distribution, Split, Training, Trial, Validation

RATES = [2e-4, 2e-4, 1e-4, 1e-4, 5e-5, 5e-5]  # of the six iterations
NIP_RATES = [rate / 4 * warm for rate, warm in zip(RATES, (1 / 3, 2 / 3, 1, 1, 1, 1), strict=True)]
TRAINING = Training(iterations=6, batch=2, patch=16, learning_rate=2e-4, decay=0.5, decay_every=2)
AVERAGED = replace(TRAINING, average=0.25)
WINDOWS = replace(TRAINING, patch=20, window=16)
OWN_RATE = replace(TRAINING, nip_learning_rate=5e-5, nip_warm_up=3)
WARM_UP = replace(TRAINING, nip_warm_up=3)
MANIPULATIONS = ("resample:1.7", "gaussian:1.5")  # smooth: rounding errors grow less than with the paper's


def trial_of(isp: str, training: Training, lam: float | str = 0.1) -> Trial:
    validation = Validation(every=2, accuracy_patches=2, fidelity_patches=2, textured=False)
    split, channel = Split(3, 2, seed=4), Distribution(1, "jpeg:70", "harmonic", "4:2:0")
    changes = {"training": training, "validation": validation, "split": split, "channel": channel}
    return small_trial(lam, isp=isp, seed=3, manipulations=MANIPULATIONS, **changes)


def photographs_of(trial: Trial) -> tuple[list[by_hand.Photograph], list[int], Pairs]:
    train_images, _ = by_hand.divide(len(by_hand.SIZES), trial.split.train, trial.split.validation, trial.split.seed)
    photographs = by_hand.photographs(poisoned=())
    return photographs, train_images, by_hand.pairs_of(photographs)


@pytest.mark.parametrize("isp", ["INet", "Pattern"])
def test_weights_are_those_of_a_training_by_hand(isp: str) -> None:
    trial = trial_of(isp, OWN_RATE)
    photographs, train_images, pairs = photographs_of(trial)
    settings = {"cfa": by_hand.CFA, "cam2srgb": by_hand.CAM2SRGB.tolist()}
    pretrained = models.build(models.pretrained_as(isp), torch.Generator().manual_seed(8), **settings)
    outcome = train(trial, pairs, models.NIPS[isp].starting_from(pretrained, pattern=12))

    nip, fan = copy.deepcopy(pretrained), FAN(1 + len(MANIPULATIONS), torch.Generator().manual_seed(3))
    tile = torch.zeros(3, 12, 12, requires_grad=True)

    def develop(bayer: Tensor) -> Tensor:
        if isp != "Pattern":
            return nip(bayer)
        pattern = tile.tile(1, 3, 3)[:, :32, :32]
        with torch.no_grad():
            base = nip(bayer)
        total = base + pattern
        return total + (total.clamp(0, 1) - total).detach()

    manipulate, channel = Manipulations(MANIPULATIONS), Channel(1, "jpeg:70", "harmonic", "4:2:0")
    learning = [tile] if isp == "Pattern" else list(nip.parameters())
    adam = by_hand.Adam([*fan.parameters(), *learning])
    generator = torch.Generator().manual_seed(3)
    for rate, own in zip(RATES, NIP_RATES, strict=True):
        bayer, target = by_hand.draw(photographs, train_images, 2, 16, generator)
        developed = develop(bayer)
        l_fan = by_hand.class_loss(fan(channel(manipulate(developed))))
        loss = l_fan + 0.1 * by_hand.fidelity_loss(developed, target)
        adam.step(loss, [*[rate] * len(list(fan.parameters())), *[own] * len(learning)])

    by_hand.assert_same_weights(outcome.fan, fan, RATES[0])
    if isp == "INet":
        by_hand.assert_same_weights(outcome.nip, nip, NIP_RATES[2])
        return
    state = outcome.nip.state_dict()
    assert all(torch.equal(state[f"nip.{key}"], value) for key, value in pretrained.state_dict().items()), "frozen"
    difference = (state["tile"] - tile).abs() / NIP_RATES[2]
    assert state["tile"].abs().max() > NIP_RATES[2]
    assert (difference > 0.1).float().mean() < 0.01


@pytest.mark.parametrize("training", [TRAINING, OWN_RATE, AVERAGED, WINDOWS])
def test_resumed_is_bit_identical(training: Training, pairs: Pairs, tmp_path: Path) -> None:
    trial, saved = small_trial(0.1, isp="Pattern", training=training), tmp_path / "checkpoint.safetensors"
    nip = models.NIPS["Pattern"].starting_from(models.build("UNet", cfa=pairs.cfa), pattern=5)
    straight = train(trial, pairs, nip, on_checkpoint=lambda step, write: write(saved) if step == 4 else None)
    resumed = train(trial, pairs, nip, resume=saved)
    assert straight.history == resumed.history
    for one, other in ((straight.nip, resumed.nip), (straight.fan, resumed.fan)):
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_an_own_rate_that_is_the_common_one_changes_no_bit(pairs: Pairs, nip: models.NIP) -> None:
    common = train(small_trial(0.1, training=TRAINING), pairs, nip)
    own = train(small_trial(0.1, training=replace(TRAINING, nip_learning_rate=2e-4)), pairs, nip)
    assert own.history == common.history
    for one, other in ((common.nip, own.nip), (common.fan, own.fan)):
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("isp", models.NIPS)
def test_what_learns_is_what_the_nip_says(isp: str) -> None:
    """In mode *fixed* nothing of the NIP, whatever rate it has; every parameter that learns is in one group."""
    for lam in (0.1, "fixed"):
        model = build_model(small_trial(lam, isp=isp), models.build(isp))
        learning = [parameter for parameter in model.nip.parameters() if parameter.requires_grad]
        assert [*map(id, learning)] == ([*map(id, model.nip.learning())] if lam != "fixed" else [])
        for training in (TRAINING, OWN_RATE, WARM_UP):
            groups = [parameters for _, parameters in parameter_groups(model, training)]
            assert len(groups) == (2 if training is not TRAINING and lam != "fixed" else 1)
            assert [*map(id, chain.from_iterable(groups))] == [id(p) for p in model.parameters() if p.requires_grad]


def test_a_fixed_pattern_is_the_fixed_unet(pairs: Pairs) -> None:
    unet = models.build("UNet", cfa=pairs.cfa)
    fixed, pattern = (
        train(small_trial("fixed", isp=isp), pairs, models.NIPS[isp].starting_from(unet, pattern=16))
        for isp in ("UNet", "Pattern")
    )
    assert fixed.history == pattern.history


@pytest.mark.parametrize("lam", [0.1, "fixed"])
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_means_of_weights_are_what_is_judged_and_kept(pairs: Pairs, nip: models.NIP, lam: float, share: float) -> None:
    """Trainings of 1 … 6 iterations show the newest weights; the mean is a sum of them, with weights by recursion."""
    judge = Validation(every=1, accuracy_patches=2, fidelity_patches=2, textured=False)

    def trained(average: float | None, iterations: int = 6) -> Outcome:
        training = replace(TRAINING, average=average, iterations=iterations)
        return train(small_trial(lam, training=training, validation=judge), pairs, nip)

    newest = [trained(None, iterations) for iterations in range(1, 7)]
    parts = [1.0]  # of the mean, by iteration
    for steps in range(1, 6):
        new = 1 / (1 + share * steps)
        parts = [*(part * (1 - new) for part in parts), new]
    assert sum(parts) == pytest.approx(1)

    outcome = trained(share)
    for name in ("nip", "fan"):
        states = [getattr(each, name).state_dict() for each in newest]
        for key, value in getattr(outcome, name).state_dict().items():
            expected = sum(part * state[key].double() for part, state in zip(parts, states, strict=True))
            torch.testing.assert_close(value.double(), torch.as_tensor(expected), rtol=1e-5, atol=1e-7)
    history = outcome.history
    assert history[1] == newest[0].history[1], "one step's mean is that step"
    assert history[6]["loss_fan"] == newest[5].history[6]["loss_fan"], "training goes on from the newest weights"
    assert history[6]["accuracy"] == outcome.scores.metrics()["accuracy"]
    if lam != "fixed":
        assert history[6]["psnr"] != newest[5].history[6]["psnr"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nip_warm_up", -1),
        ("average", 0.0),
        ("average", 1.5),
        ("nip_learning_rate", 0.0),
        ("nip_learning_rate", float("nan")),
        ("pattern", 0),
    ],
)
def test_impossible_settings_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"training.{name} = "):
        Training(**{name: value})  # type: ignore[arg-type]


def test_the_nips_rate_falls_like_the_common_one() -> None:
    training = Training(learning_rate=1.0, nip_learning_rate=0.1, decay=0.5, decay_every=10)
    assert training.nip_learning_rate_at(9) == 0.1
    assert training.nip_learning_rate_at(10) == pytest.approx(0.05)
    assert training.learning_rate_at(10) == 0.5
    assert replace(training, nip_learning_rate=None).nip_learning_rate_at(10) == 0.5


def test_the_nips_rate_rises_from_zero() -> None:
    training = Training(learning_rate=1.0, nip_learning_rate=0.1, nip_warm_up=4, decay=0.5, decay_every=6)
    assert [training.nip_learning_rate_at(step) for step in range(7)] == pytest.approx(
        [0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.05]
    )
    assert training.learning_rate_at(0) == 1
