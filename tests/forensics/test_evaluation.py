"""Evaluation against a slow loop over single patches, fusion against enumeration."""

import copy
import io
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_trials import small_trial, validation_patches
from torch import Tensor

import models
from cameras.pairs import Pairs, split
from channel import Manipulations
from forensics import FAN, train
from forensics.evaluation import DIFFERENTIABLE, RULES, evaluate, fused_accuracy, numbers, store
from forensics.trial import Distribution, Split, Training, Trial, Validation
from models.nip import NIP

PILLOW = {
    "jpeg:50": {"format": "JPEG", "quality": 50, "subsampling": "4:4:4"},
    "jpeg:30:4:2:0": {"format": "JPEG", "quality": 30, "subsampling": "4:2:0"},
    "webp:50": {"format": "WEBP", "quality": 50},
}


def one_by_one(trial: Trial, pairs: Pairs, nip: NIP, fan: FAN, options: dict | None) -> Tensor:
    """Posteriors (images, patches, true classes, classes), one patch at a time; ``options`` None is the own channel."""
    from PIL import Image

    _, images = split(pairs.names, trial.split.train, trial.split.validation, trial.split.seed)
    channel, k = trial.channel.build(), trial.channel.downsample
    posteriors = []
    for bayer in validation_patches(trial, pairs, images)[0].bayer:
        for photograph in Manipulations(trial.manipulations)(nip(bayer[None])):
            if options is None:
                received = channel(photograph[None])
            else:
                pixels = np.rint(np.clip(photograph.permute(1, 2, 0).numpy(), 0, 1) * 255)
                height, width, _ = pixels.shape
                pixels = np.rint(pixels.reshape(height // k, k, width // k, k, 3).mean(axis=(1, 3))).astype(np.uint8)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, **options)
                received = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None] / 255
            posteriors.append(fan(received)[0].double().log_softmax(0))
    classes = len(posteriors[0])
    return torch.stack(posteriors).reshape(len(images), -1, classes, classes)


@pytest.mark.parametrize(
    ("isp", "channel"),
    [
        ("INet", Distribution()),
        ("INet", Distribution(codec="none")),
        ("INet", Distribution(downsample=1, codec="jpeg:80")),
        ("DNet", Distribution()),  # with batch normalisation, and loaded in training mode
    ],
)
@torch.no_grad()
def test_is_what_a_loop_over_patches_finds(pairs: Pairs, isp: str, channel: Distribution) -> None:
    trial = small_trial("fixed", isp=isp, channel=channel, split=Split(2, 2))
    nip, fan = models.build(isp, cfa=pairs.cfa).eval(), FAN(5)
    codecs = [DIFFERENTIABLE, *PILLOW]
    finished: list[int] = []
    evaluation = evaluate(trial, pairs, copy.deepcopy(nip).train(), fan, codecs, on_patches=finished.append)
    assert finished == [2, 4, 6]
    assert list(evaluation.posteriors) == codecs
    for codec, posteriors in evaluation.posteriors.items():
        slow = one_by_one(trial, pairs, nip, fan, PILLOW.get(codec))
        assert posteriors.shape == slow.shape == (2, 3, 5, 5)
        # Batches differ in the last bits of a float, which now and then round to another of 256 levels.
        torch.testing.assert_close(posteriors, slow, atol=0.05, rtol=0)
        assert (posteriors - slow).abs().median() < 1e-4

        confusion = torch.zeros(5, 5, dtype=torch.float64)
        for i, p, true in itertools.product(range(2), range(3), range(5)):
            confusion[true, posteriors[i, p, true].argmax()] += 1 / 6
        torch.testing.assert_close(evaluation.confusion(codec), confusion)
        assert evaluation.accuracy(codec) == pytest.approx(confusion.trace().item() / 5)


def test_a_real_codec_replaces_the_codec_and_nothing_else(pairs: Pairs, nip: NIP) -> None:
    with_jpeg, without = (
        evaluate(small_trial("fixed", channel=channel), pairs, nip, FAN(5), [DIFFERENTIABLE, "jpeg:50"]).posteriors
        for channel in (Distribution(), Distribution(codec="none"))
    )
    assert torch.equal(with_jpeg["jpeg:50"], without["jpeg:50"])
    assert not torch.equal(with_jpeg[DIFFERENTIABLE], without[DIFFERENTIABLE])


@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bfloat16"}, {"average": 0.5}, {"patch": 20, "window": 16}], ids=str
)
@pytest.mark.parametrize("lam", ["fixed", 0.01])
def test_djpeg_is_the_last_validation_of_the_trial(
    pairs: Pairs, nip: NIP, lam: float | str, changes: dict[str, Any]
) -> None:
    """Also where a manipulation draws noise, and where places of windows are drawn."""
    training = replace(Training(iterations=6, batch=2, patch=16), **changes)
    trial = small_trial(lam, manipulations=("gaussian", "awgn"), split=Split(2, 2), training=training)
    outcome = train(trial, pairs, nip)
    evaluation = evaluate(trial, pairs, outcome.nip, outcome.fan, [DIFFERENTIABLE])
    assert evaluation.classes == ("native", "gaussian", "awgn")
    assert torch.equal(evaluation.confusion(DIFFERENTIABLE), outcome.scores.confusion)
    assert evaluation.accuracy(DIFFERENTIABLE) == outcome.scores.accuracy


def test_real_encoders_judge_windows_at_drawn_places(pairs: Pairs, nip: NIP, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = small_trial("fixed", training=Training(iterations=6, batch=2, patch=24, window=16))
    fan, sides = FAN(5), set()
    fan.register_forward_pre_hook(lambda module, given: sides.add(tuple(given[0].shape[-2:])))
    one, again = (evaluate(trial, pairs, nip, fan, ["jpeg:50", "webp:50"]) for _ in range(2))
    assert sides == {(16, 16)}
    assert all(torch.equal(one.posteriors[codec], again.posteriors[codec]) for codec in one.posteriors)
    alone = evaluate(trial, pairs, nip, fan, ["jpeg:50"])
    assert torch.equal(alone.posteriors["jpeg:50"], one.posteriors["jpeg:50"]), "a codec does not depend on the others"


def test_stored_twice_with_eight_bits() -> None:
    levels = torch.tensor([[0.0, 1, 2, 3], [0, 1, 3, 5]])  # means of 2×2: 0.5 and 3.25
    photograph = ((levels + 0.4) / 255).expand(1, 3, 2, 4)
    assert store(photograph, 2).flatten().tolist() == [0, 3] * 3
    assert torch.equal(store(photograph, 1)[0, 0], levels.to(torch.uint8))
    assert torch.equal(store(photograph - 0.8 / 255, 1)[0, 0], levels.to(torch.uint8))  # rounded up
    assert store(torch.tensor([-0.1, 1.1]).expand(1, 3, 1, 2), 1)[0, 0].tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("trial", "codec", "classes", "message"),
    [
        (small_trial(0.1), "jpeg:101", 5, "unknown codec 'jpeg:101'"),
        (small_trial(0.1, isp="UNet"), "jpeg:50", 5, "the trial is of UNet and 5 classes, but INet"),
        (small_trial(0.1), "jpeg:50", 4, "a FAN of 4 classes"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_work_begins(
    pairs: Pairs, nip: NIP, trial: Trial, codec: str, classes: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forensics.evaluation.validation_set", lambda *_: pytest.fail("it has begun"))
    with pytest.raises(ValueError, match=message):
        evaluate(trial, pairs, nip, FAN(classes), [codec])


# --- Image-level decisions ---


def random_posteriors(images: int, patches: int, classes: int, generator: torch.Generator) -> Tensor:
    """Better than chance, and differently so from image to image."""
    beliefs = 2 * torch.randn(images, patches, classes, classes, generator=generator, dtype=torch.float64)
    skill = torch.linspace(0, 3, images, dtype=torch.float64)[:, None, None, None]
    return (beliefs + skill * torch.eye(classes)).log_softmax(dim=-1)


def decide(posteriors: Tensor, rule: str) -> int:
    """The class that (k, classes) log-probabilities are of."""
    k, classes = posteriors.shape
    means = [sum(posteriors[p, c].item() for p in range(k)) / k for c in range(classes)]
    if rule == "mean_log_probability":
        return means.index(max(means))
    votes = [sum(posteriors[p].argmax().item() == c for p in range(k)) for c in range(classes)]
    return max(range(classes), key=lambda c: (votes[c], means[c]))


def enumerated(posteriors: Tensor, rule: str, k: int) -> list[float]:
    """Accuracy of every image over all subsets of k patches and all classes."""
    _, patches, classes, _ = posteriors.shape
    return [
        np.mean(
            [
                decide(image[list(chosen), true], rule) == true
                for chosen in itertools.combinations(range(patches), k)
                for true in range(classes)
            ]
        ).item()
        for image in posteriors
    ]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("patches", [1, 2, 3])
def test_with_few_patches_every_subset_counts(rule: str, patches: int, generator: torch.Generator) -> None:
    """All windows of a circular order of up to three patches are all subsets: no chance is left."""
    posteriors = random_posteriors(4, patches, 3, generator)
    fused = fused_accuracy(posteriors, rule, generator, permutations=1)
    assert list(fused) == numbers(patches)
    for k, estimate in fused.items():
        assert estimate.accuracy == pytest.approx(np.mean(enumerated(posteriors, rule, k)))


@pytest.mark.parametrize("rule", RULES)
def test_random_subsets_stand_for_all(rule: str, generator: torch.Generator) -> None:
    posteriors = random_posteriors(3, 7, 4, generator)
    fused = fused_accuracy(posteriors, rule, generator, permutations=1000)
    assert list(fused) == [1, 2, 5, 7]
    exact = {k: np.mean(enumerated(posteriors, rule, k)) for k in fused}
    for k, estimate in fused.items():
        assert estimate.accuracy == pytest.approx(exact[k], abs=1e-12 if k in (1, 7) else 0.01)
    assert exact[7] > exact[1], "else it shows nothing"


def test_majority_of_patches_and_its_ties() -> None:
    """One photograph, of class 0 and of class 1: the sums of its log-probabilities say 1 in both cases."""
    strong, weak = torch.tensor([0.01, 0.99]), torch.tensor([0.6, 0.4])
    posteriors = torch.stack((strong, weak, weak)).log().double()[None, :, None].expand(1, 3, 2, 2)
    generator = torch.Generator()
    assert fused_accuracy(posteriors, "mean_log_probability", generator)[3].accuracy == 0.5  # class 1 is right once
    by_majority = fused_accuracy(posteriors, "majority", generator)
    assert decide(posteriors[0, :, 0], "majority") == 0
    assert decide(posteriors[0, :2, 0], "majority") == 1, "a tie, decided by the sum"
    assert by_majority[3].accuracy == 0.5
    only_zero = posteriors.clone()
    only_zero[:, :, 1] = torch.tensor([0.2, 0.8]).log()  # now class 1 is beyond doubt
    assert fused_accuracy(only_zero, "majority", generator)[3].accuracy == 1
    assert fused_accuracy(only_zero, "mean_log_probability", generator)[3].accuracy == 0.5
    assert fused_accuracy(only_zero, "majority", generator)[2].accuracy == pytest.approx((1 + 1 / 3) / 2)


@pytest.mark.parametrize("rule", RULES)
def test_the_interval_is_that_of_resampled_photographs(rule: str, generator: torch.Generator) -> None:
    """All 5⁵ ways to draw five photographs, each with its accuracy over all patches."""
    posteriors = random_posteriors(5, 3, 3, generator)
    fused = fused_accuracy(posteriors, rule, generator, resamples=40_000)
    for k, estimate in fused.items():
        means = np.array([np.mean(drawn) for drawn in itertools.product(enumerated(posteriors, rule, k), repeat=5)])
        for bound, share in ((estimate.low, 0.025), (estimate.high, 0.975)):  # there are few different means
            assert np.mean(means < bound - 1e-9) - 0.005 < share < np.mean(means < bound + 1e-9) + 0.005
        assert estimate.low < estimate.accuracy < estimate.high


def test_one_photograph_says_nothing_of_others(generator: torch.Generator) -> None:
    for estimate in fused_accuracy(random_posteriors(1, 4, 3, generator), "majority", generator).values():
        assert (estimate.low, estimate.high) == (0, 1)


def test_one_patch_decides_as_in_the_confusion_matrix(pairs: Pairs, nip: NIP, generator: torch.Generator) -> None:
    validation = Validation(accuracy_patches=12, fidelity_patches=1, textured=False)
    trial = small_trial("fixed", validation=validation, split=Split(1, 3))
    evaluation = evaluate(trial, pairs, nip, FAN(5), [DIFFERENTIABLE, "jpeg:70"])
    for codec, posteriors in evaluation.posteriors.items():
        for rule in RULES:
            fused = fused_accuracy(posteriors, rule, generator)
            assert list(fused) == [1, 2, 5, 10, 12]
            assert fused[1].accuracy == pytest.approx(evaluation.accuracy(codec))


def test_an_unknown_rule_is_refused(generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match="unknown rule 'vote': choose one of mean_log_probability, majority"):
        fused_accuracy(torch.zeros(1, 1, 2, 2), "vote", generator)


@pytest.mark.parametrize(
    ("patches", "expected"), [(1, [1]), (2, [1, 2]), (20, [1, 2, 5, 10, 20]), (21, [1, 2, 5, 10, 20, 21])]
)
def test_numbers_of_patches(patches: int, expected: list[int]) -> None:
    assert numbers(patches) == expected
    assert numbers(100) == [1, 2, 5, 10, 20, 50, 100]
