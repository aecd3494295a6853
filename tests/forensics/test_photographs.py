"""Where the photographs are changes no result, and of photographs outside the split nothing is read."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import small_trial

import forensics
import models
from cameras import feed
from cameras.pairs import Pairs, append
from cameras.pairs.reading import NOWHERE
from forensics import Outcome, Trial, train
from forensics.evaluation import DIFFERENTIABLE, evaluate
from forensics.training import draws_of
from forensics.trial import Split, Training, Validation
from forensics.validation import KEPT_BYTES, Kept, kept_for, validation_set
from models.pretrain import Pretraining, fidelity, pretrain

RANDOM = ("gaussian:1-2", "awgn")
PRETRAINING = Pretraining(patch=8, batch=3, max_iterations=6, check_every=3, validation_patch=12)
WAYS: dict[str, dict[str, Any]] = {
    "host": {"data": "host"},
    "host, ahead": {"data": "host", "ahead": 2},
    "host, far ahead": {"data": "host", "ahead": 5},
    "device": {"data": "device"},
    "device, ahead": {"data": "device", "ahead": 2},
    "auto": {"data": "auto"},
    "auto, on the device after a validation": {"data": "auto", "ahead": 1, "room": 2**40},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The argument `data`, on a CPU that feeds as a GPU does."""
    chosen = WAYS[request.param]
    monkeypatch.setitem(feed.AHEAD, "cpu", chosen.get("ahead", 0))
    monkeypatch.setattr(feed, "room", lambda device, memory: chosen.get("room", 0))
    return chosen["data"]


def trial_of(lam: float | str = 0.1, **changes: Any) -> Trial:
    settings = {
        "split": Split(2, 1),
        "manipulations": RANDOM,
        "training": Training(iterations=6, batch=3, patch=16, textured=True),
        "validation": Validation(every=2, accuracy_patches=5, fidelity_patches=2, textured=False),
    }
    return small_trial(lam, **(settings | changes))


def assert_identical(first: Outcome, second: Outcome) -> None:
    assert first.history == second.history
    for one, other in ((first.nip, second.nip), (first.fan, second.fan)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert all(torch.equal(images, second.examples[name]) for name, images in first.examples.items())


@pytest.fixture(scope="module")
def plain(pairs: Pairs) -> dict[Any, Outcome]:
    """Trials fed by no thread, from the host."""
    nip = models.build("INet", cfa=pairs.cfa, cam2srgb=pairs.cam2srgb.tolist())
    return {lam: train(trial_of(lam), pairs, nip, data="host") for lam in (0.1, "fixed")}


@pytest.mark.parametrize("lam", [0.1, "fixed"])
def test_all_ways_give_the_same_trial(
    way: str, lam: float | str, pairs: Pairs, nip: models.NIP, plain: dict[Any, Outcome]
) -> None:
    assert_identical(train(trial_of(lam), pairs, nip, data=way), plain[lam])  # type: ignore[arg-type]


def test_all_ways_give_the_same_pretraining(way: str, pairs: Pairs) -> None:
    results = [
        pretrain(models.build("INet"), pairs, torch.tensor([0, 3]), torch.tensor([1]), PRETRAINING, data=data)  # type: ignore[arg-type]
        for data in ("host", way)
    ]
    assert results[0].loss == results[1].loss
    weights = [result.nip.state_dict() for result in results]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize("stopped", [2, 4])
def test_resumed_is_bit_identical_however_it_is_fed(
    stopped: int, way: str, pairs: Pairs, nip: models.NIP, plain: dict[Any, Outcome], tmp_path: Path
) -> None:
    """Draws of strengths and noise go on where they were, too, and no batch that was drawn ahead is lost."""
    saved = tmp_path / "checkpoint"
    options: dict[str, Any] = {"data": way}
    train(
        trial_of(), pairs, nip, on_checkpoint=lambda step, write: write(saved) if step == stopped else None, **options
    )
    assert_identical(train(trial_of(), pairs, nip, resume=saved, **options), plain[0.1])


# --- What is read ---


class PoisonedError(AssertionError):
    """A photograph outside the split was read."""


@pytest.fixture
def poisoned(pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Pairs, set[int]]]:
    """Memory-mapped pairs whose images 1 and 2 alone may be read, and the numbers of all that were.

    The others are cut off: their offset lies before the beginning, so that every patch of them is an IndexError.
    """
    for i in range(len(pairs)):
        bayer, target = (array[0].movedim(0, -1).numpy() for array in pairs.image(i))
        append(tmp_path / "camera", f"{i}", bayer, target, cfa=pairs.cfa, cam2srgb=pairs.cam2srgb, camera="camera")
    mapped = Pairs.open(tmp_path / "camera")
    read: set[int] = set()
    original = feed.gather_bayer

    def gather_bayer(source: Pairs, places: Any, patch: int) -> torch.Tensor:
        read.update(places.image.tolist())
        return original(source, places, patch)

    monkeypatch.setattr(feed, "gather_bayer", gather_bayer)
    yield mapped, read


def without(pairs: Pairs, images: list[int]) -> Pairs:
    offset = pairs.offset.clone()
    offset[images] = NOWHERE
    return replace(pairs, offset=offset)


@pytest.mark.parametrize("data", ["host", "device"])
def test_only_images_of_the_split_are_read(
    data: Any, poisoned: tuple[Pairs, set[int]], nip: models.NIP, plain: dict[Any, Outcome]
) -> None:
    pairs, read = poisoned
    trial = trial_of(split=Split(1, 1, 1))
    train_images, validation, test = (part.tolist() for part in trial.split.images(pairs.names))
    (left_out,) = set(range(4)) - {*train_images, *validation, *test}
    outcome = train(trial, without(pairs, [left_out]), nip, data=data)
    assert read == {*train_images, *validation, *test}
    with pytest.raises((IndexError, RuntimeError)):
        train(trial, without(pairs, train_images), nip, data=data)

    own = replace(trial, split=Split(1, 1))
    train(own, without(pairs, [left_out, *test]), nip, data=data)
    for on_test, judged in ((False, validation), (True, test)):
        others = sorted(set(range(4)) - set(judged))
        evaluate(trial, without(pairs, others), outcome.nip, outcome.fan, [DIFFERENTIABLE], on_test=on_test)


@pytest.mark.parametrize("data", ["host", "device"])
def test_pretraining_reads_only_its_images(data: Any, poisoned: tuple[Pairs, set[int]]) -> None:
    pairs, read = poisoned
    trained = pretrain(
        models.build("INet"), without(pairs, [0, 3]), torch.tensor([2]), torch.tensor([1]), PRETRAINING, data=data
    )
    assert read == {1, 2}
    fidelity(trained.nip, without(pairs, [1, 2, 3]), torch.tensor([0]), PRETRAINING)
    assert read == {0, 1, 2}


def test_the_part_on_the_device_is_that_of_training_and_validation(
    pairs: Pairs, nip: models.NIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[list[int]] = []
    part = Pairs.part
    monkeypatch.setattr(
        Pairs, "part", lambda self, images, device: moved.append(images.tolist()) or part(self, images, device)
    )
    trial = trial_of(split=Split(1, 1, 1))
    train_images, validation, _ = trial.split.images(pairs.names)
    train(trial, pairs, nip, data="host")
    train(trial, pairs, nip, data="auto")  # on a CPU
    assert moved == []
    train(trial, pairs, nip, data="device")
    assert moved == [[*train_images.tolist(), *validation.tolist()]]


def test_photographs_move_only_where_they_fit(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.tensor([1, 3])
    size = 20 * int((pairs.height * pairs.width)[images].sum())
    photographs = feed.Photographs.open(pairs, images, "cpu", "auto")
    assert photographs.stored is None
    for free, fits in ((size + feed.SLACK - 1, False), (size + feed.SLACK, True)):
        monkeypatch.setattr(feed, "room", lambda device, memory, free=free: free)
        assert (photographs.settle(images, None).stored is not None) == fits

    def full(self: Pairs, images: torch.Tensor, device: torch.device) -> Pairs:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Pairs, "part", full)
    assert photographs.settle(images, None) is photographs, "another process was faster"


def test_what_is_no_place_for_photographs_is_refused(pairs: Pairs, nip: models.NIP) -> None:
    with pytest.raises(ValueError, match="data must be auto, host or device, not 'disk'"):
        train(trial_of(), pairs, nip, data="disk")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hand the pairs over on the host, not on meta"):
        train(trial_of(), pairs.to("meta"), nip)


# --- Generators, and what a NIP that does not learn leaves ---


def test_draws_move_no_patches(pairs: Pairs, nip: models.NIP, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials with and without random manipulations train on the same patches."""
    seen: list[torch.Tensor] = []
    step = forensics.training.training_step

    def note(model: Any, batch: Any, *others: Any) -> torch.Tensor:
        seen.append(batch.bayer)
        return step(model, batch, *others)

    monkeypatch.setattr(forensics.training, "training_step", note)
    for manipulations in (RANDOM, ("gaussian",)):
        train(trial_of(manipulations=manipulations), pairs, nip)
    assert len(seen) == 12
    assert all(torch.equal(one, other) for one, other in zip(seen[:6], seen[6:], strict=True))


def test_the_two_streams_of_a_seed_differ_and_other_seeds_give_others() -> None:
    numbers = [torch.rand(4, generator=draws_of(seed)).tolist() for seed in range(200)]
    numbers += [torch.rand(4, generator=torch.Generator().manual_seed(seed)).tolist() for seed in range(200)]
    assert len(set(map(tuple, numbers))) == 400


def test_only_random_trials_have_a_version_of_draws() -> None:
    assert "draws" not in forensics.versions(small_trial(0.1))
    for manipulations in (("awgn",), ("gaussian:1-2",), ("sharpen", "jpeg:30-90")):
        assert forensics.versions(small_trial(0.1, manipulations=manipulations))["draws"] == 2


def test_a_fixed_nip_develops_its_validation_once(
    pairs: Pairs, nip: models.NIP, plain: dict[Any, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its photographs are too many to keep, it develops them again, and finds the same."""
    developed: list[int] = []
    develop = forensics.JointModel.develop
    monkeypatch.setattr(
        forensics.JointModel, "develop", lambda self, bayer: developed.append(len(bayer)) or develop(self, bayer)
    )
    shown, accuracy, compared, steps = 2 * 2, 5, 2, 6 * 3  # patches: examples, validation, training
    for lam, kept_bytes, validations in (("fixed", KEPT_BYTES, 1), ("fixed", 0, 3), (0.1, KEPT_BYTES, 3)):
        monkeypatch.setattr("forensics.validation.KEPT_BYTES", kept_bytes)
        developed.clear()
        assert_identical(train(trial_of(lam), pairs, nip), plain[lam])
        assert sum(developed) == shown + steps + validations * (accuracy + compared)


def test_the_papers_photographs_are_kept(pairs: Pairs) -> None:
    trial = Trial("camera", "INet", "fixed", training=Training(patch=16))
    places = replace(validation_set(trial, pairs, torch.tensor([0])), patch=128)
    many = replace(places, accuracy=places.accuracy[torch.zeros(3000, dtype=torch.int64)])
    assert isinstance(kept_for(trial, many), Kept)
    assert kept_for(replace(trial, lam=0.1), many) is None
