"""The training loop as its callers see it: resumable to the bit, honest about failure, and it learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from precisions import PRECISIONS
from small_trials import small_trial, validation_patches

import models
from cameras.feed import Photographs
from cameras.pairs import Pairs
from cameras.patches import sample
from forensics.joint import JointModel
from forensics.training import Outcome, build_model, train, training_step
from forensics.trial import Distribution, Training, Validation
from forensics.validation import validate, validation_set
from models.checkpoint import CheckpointError


def assert_identical(first: Outcome, second: Outcome) -> None:
    assert first.history == second.history
    assert torch.equal(first.scores.confusion, second.scores.confusion)
    for one, other in ((first.nip, second.nip), (first.fan, second.fan)):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("lam", ["fixed", 0.1])
@pytest.mark.parametrize("isp", ["INet", "UNet"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_resumed_is_bit_identical(pairs: Pairs, lam: float | str, isp: str, precision: str, tmp_path: Path) -> None:
    """Stopped after a validation at iteration 8 and one at 12: as text, "12" comes before "8"."""
    training = Training(iterations=16, batch=1, patch=16, precision=precision)  # type: ignore[arg-type]
    validation = Validation(every=4, accuracy_patches=1, fidelity_patches=1, textured=False)
    trial = small_trial(lam, training=training, validation=validation, isp=isp)
    nip = models.build(isp, cfa=pairs.cfa)
    saved = tmp_path / "checkpoint.safetensors"
    undisturbed = train(trial, pairs, nip, on_checkpoint=lambda step, write: write(saved) if step == 12 else None)
    reported: list[int] = []
    resumed = train(trial, pairs, nip, resume=saved, on_metrics=lambda step, metrics: reported.append(step))
    assert_identical(undisturbed, resumed)
    assert reported == [4, 8, 12, 16]


def test_the_same_trial_twice_is_the_same_and_another_seed_is_not(pairs: Pairs, nip: models.NIP) -> None:
    first = train(small_trial(0.1), pairs, nip)
    assert_identical(first, train(small_trial(0.1), pairs, nip))
    assert train(small_trial(0.1, seed=1), pairs, nip).history != first.history


@pytest.mark.parametrize("lam", ["fixed", 0.1])
def test_fixed_leaves_the_nip_alone_and_nothing_changes_the_given_one(
    pairs: Pairs, nip: models.NIP, lam: float | str
) -> None:
    before = {name: value.clone() for name, value in nip.state_dict().items()}
    outcome = train(small_trial(lam), pairs, nip)
    assert all(torch.equal(nip.state_dict()[name], value) for name, value in before.items())
    changed = any(not torch.equal(outcome.nip.state_dict()[name], value) for name, value in before.items())
    assert changed == (lam != "fixed")
    difference = outcome.examples["native"].int() - outcome.examples["developed"].int()
    assert (difference.abs().max() == 0) == (lam == "fixed")


def test_a_checkpoint_of_another_trial_is_refused(pairs: Pairs, nip: models.NIP, tmp_path: Path) -> None:
    saved = tmp_path / "checkpoint.safetensors"
    train(small_trial(0.1), pairs, nip, on_checkpoint=lambda step, write: write(saved))
    with pytest.raises(CheckpointError, match="another training: its trial differ"):
        train(small_trial(0.2), pairs, nip, resume=saved)


def test_a_loss_that_is_not_finite_names_its_iteration(pairs: Pairs, nip: models.NIP) -> None:
    """The weights break during the third iteration, so the loss of the fourth is NaN."""

    def break_weights(step: int) -> None:
        if step == 3:
            raise_nan["armed"] = True

    raise_nan = {"armed": False}
    original = JointModel.forward

    def forward(self: JointModel, *arguments: object) -> tuple[torch.Tensor, torch.Tensor]:
        logits, developed = original(self, *arguments)  # type: ignore[arg-type]
        return (logits * float("nan") if raise_nan["armed"] else logits), developed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JointModel, "forward", forward)
        with pytest.raises(FloatingPointError, match="at iteration 4: L = nan, L_fan = nan"):
            train(small_trial(0.1), pairs, nip, on_step=break_weights)


def test_an_absurd_lambda_is_not_finite_at_once(pairs: Pairs, nip: models.NIP) -> None:
    with pytest.raises(FloatingPointError, match="iteration 1: L = inf"):
        train(small_trial(3e38), pairs, nip)


def test_learning_rate_falls_by_15_percent_but_not_at_the_start() -> None:
    training = Training(learning_rate=1.0, decay=0.85, decay_every=600)
    assert training.learning_rate_at(0) == training.learning_rate_at(599) == 1.0
    assert training.learning_rate_at(600) == pytest.approx(0.85)
    assert training.learning_rate_at(5999) == pytest.approx(0.85**9)


def test_validation_is_a_plain_count(pairs: Pairs, nip: models.NIP) -> None:
    """Accuracy, confusion and PSNR recomputed one patch at a time."""
    trial = small_trial(0.1)
    images = torch.tensor([1, 3])
    accuracy, fidelity = validation_patches(trial, pairs, images)
    model = build_model(trial, nip)
    photographs = Photographs(pairs, torch.device("cpu"))
    scores = validate(model, photographs, validation_set(trial, pairs, images), batch=4)
    assert (len(accuracy), len(fidelity)) == (6, 4)
    counts = torch.zeros(5, 5, dtype=torch.float64)
    with torch.no_grad():
        for bayer in accuracy.bayer:
            for true, logits in enumerate(model(bayer[None])[0]):
                counts[true, logits.argmax()] += 1
        errors = [
            (model.develop(bayer[None])[0] - target).double().square().mean()
            for bayer, target in zip(fidelity.bayer, fidelity.target, strict=True)
        ]
    torch.testing.assert_close(scores.confusion, counts / 6)
    assert scores.accuracy == pytest.approx(counts.trace().item() / 30)
    assert scores.psnr == pytest.approx(sum(-10 * error.log10().item() for error in errors) / 4, abs=1e-3)


def test_the_validation_set_is_the_same_for_all_trials_of_a_camera(pairs: Pairs) -> None:
    images = torch.tensor([0, 2])
    first = validation_patches(small_trial(0.1), pairs, images)
    second = validation_patches(small_trial("fixed", seed=5), pairs, images)
    assert torch.equal(first[0].bayer, second[0].bayer)
    assert torch.equal(first[1].target, second[1].target)


def test_lambda_decides_whom_the_nip_serves(pairs: Pairs, nip: models.NIP) -> None:
    """Eq. 2a at its ends: weighed heavily, fidelity improves upon the starting weights; without weight it is spent."""
    settings = {
        "training": Training(iterations=60, batch=2, patch=16, learning_rate=1e-3),
        "validation": Validation(every=60, accuracy_patches=2, fidelity_patches=4, textured=False),
    }
    spent, untouched, improved = (
        train(small_trial(lam, **settings), pairs, nip).scores.psnr for lam in (0.0, "fixed", 1e3)
    )
    assert spent < untouched < improved


@pytest.mark.parametrize("schedule", ["fixed", "worst-of-recent"])
def test_resumed_with_drawn_channels_is_bit_identical(
    pairs: Pairs, nip: models.NIP, schedule: str, tmp_path: Path
) -> None:
    """Codecs, qualities, factors and what a schedule remembers; a real encoder among them."""
    channel = Distribution(
        "1-2", "0.5 jpeg:30-95:4:4:4,4:2:0 + 0.3 libjpeg:50-90 + 0.2 none", "straight-through", storage="8-bit",
        kernel="bilinear", schedule=schedule,
    )  # fmt: skip
    trial = small_trial(0.01, channel=channel)
    checkpoints: dict[int, Path] = {}

    def save(step: int, write: object) -> None:
        checkpoints[step] = tmp_path / str(step)
        write(checkpoints[step])  # type: ignore[operator]

    whole = train(trial, pairs, nip, on_checkpoint=save)
    for checkpoint in checkpoints.values():
        assert_identical(whole, train(trial, pairs, nip, resume=checkpoint))
    again = train(replace(trial, seed=1), pairs, nip)
    assert again.history != whole.history


def test_validation_draws_by_its_own_seed(pairs: Pairs, nip: models.NIP) -> None:
    trial = small_trial(
        "fixed", channel=Distribution(codec="jpeg:10,95"), training=Training(iterations=1, batch=2, patch=16)
    )
    losses = {
        seed: train(
            replace(trial, validation=replace(trial.validation, every=1, seed=seed, accuracy_patches=40)), pairs, nip
        )
        for seed in (0, 1)
    }
    assert losses[0].history[1]["loss_fan"] == losses[1].history[1]["loss_fan"], "training does not know that seed"
    assert not torch.equal(losses[0].scores.confusion, losses[1].scores.confusion)


def test_a_step_reports_its_loss_to_the_channel(pairs: Pairs, nip: models.NIP, generator: torch.Generator) -> None:
    trial = small_trial(0.01, channel=Distribution(codec="jpeg:50 + none", schedule="worst-of-recent"))
    model = build_model(trial, nip)
    batch = sample(pairs, torch.tensor([0]), 2, 16, generator, False)
    losses = training_step(model, batch, trial, generator)
    assert model.channel.recent[model.channel.recent.isfinite()].tolist() == [losses[1].item()]
