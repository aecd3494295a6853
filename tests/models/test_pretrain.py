"""Pre-training: it learns, stops by the paper's rule, keeps the best weights, and resumes bit-identically."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from precisions import PRECISIONS

import models
from cameras.develop import develop
from cameras.pairs import Pairs
from cameras.patches import fixed
from cameras.raw import RawFrame
from models.checkpoint import CheckpointError, Write
from models.nip import develop as nip_develop
from models.pretrain import Pretrained, Pretraining, converged, pretrain

CAM2SRGB = np.array([[1.8, -0.6, -0.2], [-0.2, 1.6, -0.4], [0.0, -0.5, 1.5]], np.float32)
TRAIN, VALIDATION = torch.tensor([0, 1, 2]), torch.tensor([3])
SMALL = Pretraining(
    patch=8, batch=2, learning_rate=1e-3, max_iterations=12, check_every=4, validation_patch=16, tolerance=0
)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Four small images, smooth enough to be developed, in a phase that is not the default."""
    generator = torch.Generator().manual_seed(0)
    images = []
    for _ in range(4):
        coarse = torch.rand(1, 4, 5, 7, generator=generator)
        bayer = torch.nn.functional.interpolate(coarse, (20, 28), mode="bicubic").clamp(0, 1)[0]
        pixels = np.ascontiguousarray(bayer.movedim(0, -1).numpy())
        frame = RawFrame(pixels, "GBRG", CAM2SRGB, np.ones(3, np.float32), "test", 1)
        images.append((frame.bayer, develop(frame)))
    return Pairs.from_images(images, "GBRG", CAM2SRGB, "test")


def build(name: str, pairs: Pairs) -> models.NIP:
    return models.build(name, cfa=pairs.cfa, cam2srgb=pairs.cam2srgb)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", models.NIPS)
def test_it_learns_and_returns_the_best_weights(name: str, precision: Any, pairs: Pairs) -> None:
    settings = replace(SMALL, precision=precision, batch=4, max_iterations=24)
    metrics: dict[int, dict[str, float]] = {}
    nip = build(name, pairs)
    result = pretrain(nip, pairs, TRAIN, VALIDATION, settings, on_metrics=metrics.__setitem__)
    assert list(metrics) == [0, 4, 8, 12, 16, 20, 24]
    assert (result.nip, result.steps, result.reason) == (nip, 24, "max_iterations")
    best = min(metrics.values(), key=lambda validation: validation["loss_nip"])
    assert (result.loss, result.psnr, result.ssim) == (best["loss_nip"], best["psnr"], best["ssim"])
    assert result.loss < 0.96 * metrics[0]["loss_nip"]
    generator = torch.Generator().manual_seed(settings.seed)
    patches = fixed(pairs, VALIDATION, 1, settings.validation_patch, generator, False)
    for training in (False, True):  # also in training mode: the statistics are frozen
        with torch.no_grad():
            developed = nip_develop(nip.train(training), patches.bayer, precision)
        loss = (255 * (developed - patches.target)).square().mean().item()
        assert loss == pytest.approx(result.loss, rel=1e-4)
    again = pretrain(build(name, pairs), pairs, TRAIN, VALIDATION, settings)
    assert again.loss == result.loss
    assert_equal_weights(again.nip, nip)


@pytest.mark.parametrize("loss", ["L1", "SSIM", "MS-SSIM"])
def test_it_learns_by_every_loss(loss: Any, pairs: Pairs) -> None:
    settings = replace(SMALL, loss=loss, patch=12, batch=4, max_iterations=24)
    metrics: dict[int, dict[str, float]] = {}
    result = pretrain(build("UNet", pairs), pairs, TRAIN, VALIDATION, settings, on_metrics=metrics.__setitem__)
    assert result.loss == min(validation["loss_nip"] for validation in metrics.values()) < 0.96 * metrics[0]["loss_nip"]
    if loss != "L1":
        assert 0 < result.loss < 1
    if loss == "SSIM":
        assert result.loss == pytest.approx(1 - result.ssim, abs=1e-6)


def assert_equal_weights(a: models.NIP, b: models.NIP) -> None:
    assert all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("name", "changes"), [("INet", {}), ("DNet", {}), ("INet", {"warm_up": 6, "decay": "cosine"})])
def test_resumed_pretraining_is_bit_identical(
    name: str, changes: dict[str, Any], precision: Any, pairs: Pairs, tmp_path: Path
) -> None:
    settings = replace(SMALL, precision=precision, **changes)
    files: dict[int, Path] = {}

    def keep(step: int, write: Write) -> None:
        files[step] = tmp_path / f"{step}"
        write(files[step])

    first: dict[int, dict[str, float]] = {}
    straight = pretrain(
        build(name, pairs), pairs, TRAIN, VALIDATION, settings, on_metrics=first.__setitem__, on_checkpoint=keep
    )
    assert list(files) == [0, 4, 8, 12]
    for path in files.values():
        again: dict[int, dict[str, float]] = {}
        fresh = models.build(name, torch.Generator().manual_seed(5), cfa=pairs.cfa, cam2srgb=pairs.cam2srgb)
        resumed = pretrain(fresh, pairs, TRAIN, VALIDATION, settings, on_metrics=again.__setitem__, resume=path)
        assert list(again.items()) == list(first.items()), "metrics from before the checkpoint are reported again"
        assert numbers(resumed) == numbers(straight)
        assert_equal_weights(resumed.nip, straight.nip)


def numbers(result: Pretrained) -> tuple[Any, ...]:
    return result.steps, result.loss, result.psnr, result.ssim, result.reason


def test_a_checkpoint_of_another_pretraining_is_refused(pairs: Pairs, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"

    def keep(step: int, write: Write) -> None:
        write(path)

    pretrain(build("INet", pairs), pairs, TRAIN, VALIDATION, SMALL, on_checkpoint=keep)
    for name, settings, images in [
        ("INet", replace(SMALL, seed=1), TRAIN),
        ("INet", SMALL, TRAIN[:2]),
        ("ClassicISP", SMALL, TRAIN),
    ]:
        nip, untouched = build(name, pairs), build(name, pairs)
        with pytest.raises(CheckpointError, match="another training"):
            pretrain(nip, pairs, images, VALIDATION, settings, resume=path)
        assert_equal_weights(nip, untouched)


def test_the_stopping_rule() -> None:
    falling = [100 * 0.9**i for i in range(20)]
    assert not any(converged(falling[:n], window=5, tolerance=1e-2) for n in range(20))
    assert converged([5.0] * 6, window=5, tolerance=1e-9)
    assert not converged([5.0] * 5, window=5, tolerance=1e-9)  # no earlier mean to compare with
    # means of the last two: 6 and 5.5, a change of 1/12
    assert converged([7, 5, 6], window=2, tolerance=1 / 11)
    assert not converged([7, 5, 6], window=2, tolerance=1 / 13)
    assert not converged([5.0] * 9, window=5, tolerance=0)


def test_the_learning_rate_rises_and_falls() -> None:
    constant = Pretraining(learning_rate=1e-3)
    assert {constant.learning_rate_at(step) for step in (0, 1, 1000, 299_999)} == {1e-3}
    both = Pretraining(learning_rate=1.0, max_iterations=800, warm_up=100, decay="cosine")
    assert both.learning_rate_at(0) == 0.01
    assert both.learning_rate_at(49) == pytest.approx(0.5, rel=0.01)
    assert both.learning_rate_at(400) == pytest.approx(0.5)
    assert 0 < both.learning_rate_at(799) < 1e-5
    assert replace(both, warm_up=1).learning_rate_at(0) == replace(both, warm_up=0).learning_rate_at(0) == 1


def test_it_stops_once_converged(pairs: Pairs) -> None:
    settings = replace(SMALL, max_iterations=1000, learning_rate=1e-9, tolerance=1e-4, window=3)
    result = pretrain(build("INet", pairs), pairs, TRAIN, VALIDATION, settings)
    assert (result.steps, result.reason) == (3 * settings.check_every, "converged")


@pytest.mark.parametrize(("name", "stops"), [("INet", True), ("DNet", False)])
def test_the_papers_tolerance_depends_on_the_architecture(
    name: str, stops: bool, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter(100 * (1 - 5e-5) ** i for i in range(99))
    monkeypatch.setattr("models.pretrain.evaluate", lambda *_: {"loss_nip": next(losses), "psnr": 0.0, "ssim": 0.0})
    settings = replace(SMALL, tolerance=None, check_every=1)
    result = pretrain(build(name, pairs), pairs, TRAIN, VALIDATION, settings)
    assert (result.reason == "converged") is stops


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_impossible_loss_names_its_step(value: float, pairs: Pairs) -> None:
    nip = build("INet", pairs)

    def poison(step: int, _: dict[str, float]) -> None:
        if step == 8:
            nip.decode.weight.data.fill_(value)

    with pytest.raises(FloatingPointError, match=r"is (nan|inf) at step 9$"):
        pretrain(nip, pairs, TRAIN, VALIDATION, SMALL, on_metrics=poison)


def test_a_nip_without_weights_is_refused(pairs: Pairs) -> None:
    class Nothing(models.NIP):
        pass

    with pytest.raises(ValueError, match="Nothing has no weights"):
        pretrain(Nothing(), pairs, TRAIN, VALIDATION, SMALL)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patch", 5),
        ("batch", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("max_iterations", 0),
        ("check_every", 0),
        ("window", 0),
        ("tolerance", -1e-4),
        ("tolerance", 1.0),
        ("validation_patch", 0),
        ("validation_per_image", 0),
        ("precision", "float16"),
        ("warm_up", -1),
        ("decay", "linear"),
        ("start", "warm"),
        ("loss", "L3"),
    ],
)
def test_impossible_settings_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Pretraining(**{field: value})
