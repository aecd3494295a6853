"""Pre-training of the learned codec: against one written out by hand, resumed to the bit, and what it refuses."""

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch
from precisions import PRECISIONS
from torch import Tensor

from cameras.pairs import Pairs
from channel.learned import Autoencoder
from channel.learned.transform import LEAST_WIDTH, start_as_dct
from forensics.compression import pretraining
from forensics.compression.pretraining import CodecPretraining, fidelity, pretrain, starting_codec
from models.checkpoint import CheckpointError, Write
from models.fidelity import psnr, ssim

TRAIN, VALIDATION = [3, 0, 4], [2, 1]
SMALL = CodecPretraining(
    features=16,
    width=4,
    rate_weight=30.0,
    patch=16,
    batch=3,
    learning_rate=1e-3,
    warm_up=2,
    iterations=5,
    check_every=2,
    validation_patches=1,
    precision="float32",
    seed=6,
)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return by_hand.pairs_of(by_hand.photographs(poisoned=()))


def run(codec: Autoencoder, pairs: Pairs, settings: CodecPretraining, **options: Any) -> pretraining.CodecPretrained:
    return pretrain(codec, pairs, torch.tensor(TRAIN), torch.tensor(VALIDATION), settings, **options)


def shrunk(targets: Tensor) -> Tensor:
    """Means of 2×2 pixels, of 8 bits."""
    means = (targets[..., ::2, ::2] + targets[..., 1::2, ::2] + targets[..., ::2, 1::2] + targets[..., 1::2, 1::2]) / 4
    return (255 * means).round() / 255


def soft_entropy(values: Tensor) -> Tensor:
    """Σ over features of the entropy of their soft histograms, in bits."""
    total = torch.zeros((), dtype=values.dtype)
    for feature in values.unbind(dim=1):
        distance = feature.reshape(-1, 1) - torch.arange(-15, 17)
        weights = (1 + 625 * distance**2 / 50) ** -25.5
        histogram = (weights / weights.sum(dim=1, keepdim=True)).mean(dim=0)
        total = total - (histogram * torch.log2(histogram + 1e-300)).sum()
    return total


@pytest.mark.parametrize(
    ("losses", "best_step"), [((9.0, 8.0, 7.0, 6.0), 5), ((9.0, 5.0, 7.0, 6.0), 2), ((1.0, 5.0, 7.0, 6.0), 0)]
)
def test_weights_are_those_of_a_training_by_hand(
    losses: tuple[float, ...], best_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses of the four validations are given: the weights must be those of the best."""
    photographs = by_hand.photographs(poisoned=VALIDATION)
    by_hand.poison(monkeypatch, torch.float64)
    given = iter(losses)
    monkeypatch.setattr(
        pretraining, "_evaluate", lambda *_: dict.fromkeys(pretraining.METRICS, 0.0) | {"loss_codec": next(given)}
    )
    codec = starting_codec(SMALL).double()
    expected = copy.deepcopy(codec).train()
    history: dict[int, dict[str, float]] = {}
    result = run(codec, by_hand.pairs_of(photographs), SMALL, on_metrics=history.__setitem__)
    assert (list(history), result.loss, result.steps) == ([0, 2, 4, 5], min(losses), 5)
    assert result.codec is codec and not codec.training

    generator = torch.Generator().manual_seed(6)
    torch.randint(1 << 62, (len(VALIDATION),), generator=generator)  # the places of the validation patches come first
    adam = by_hand.Adam(expected.parameters())
    best, by_step = copy.deepcopy(expected), []
    for step in range(5):
        _, targets = by_hand.draw(photographs, TRAIN, 3, 16, generator)
        images = shrunk(targets.double())
        decoded = expected(images)  # the network itself has its own tests
        rate = soft_entropy(expected.encode(images)) * (2 * 2) / 16**2
        loss = by_hand.fidelity_loss(decoded, images) + 30 * rate
        adam.step(loss, 1e-3 * (0.5 if step == 0 else 1) * (1 + math.cos(math.pi * step / 5)) / 2)
        by_step.append(loss.item())
        if step + 1 == best_step:
            best = copy.deepcopy(expected)
    torch.testing.assert_close(codec.state_dict(), best.state_dict(), rtol=0, atol=1e-6)  # and the tables
    for since, step in ((0, 2), (2, 4), (4, 5)):
        assert history[step]["loss_train"] == pytest.approx(sum(by_step[since:step]) / (step - since), rel=1e-6)


def test_metrics_are_those_of_real_codes_and_of_the_best_validation(pairs: Pairs) -> None:
    settings = replace(SMALL, iterations=40, check_every=10, learning_rate=1e-2, validation_patches=3)
    history: dict[int, dict[str, float]] = {}
    result = run(starting_codec(settings), pairs, settings, on_metrics=history.__setitem__)
    best = min(history.values(), key=lambda metrics: metrics["loss_codec"])
    assert best["loss_codec"] < 0.8 * history[0]["loss_codec"]
    assert (result.loss, result.psnr, result.ssim, result.bpp) == tuple(best[name] for name in pretraining.METRICS)

    generator = torch.Generator().manual_seed(6)
    places = [image for image in VALIDATION for _ in range(3)]
    drawn = torch.randint(1 << 62, (6,), generator=generator).tolist()
    photographs, rows = by_hand.photographs(poisoned=()), []
    for image, random in zip(places, drawn, strict=True):
        target = torch.tensor(photographs[image][1] / 255).float().permute(2, 0, 1)
        height, columns = target.shape[1] // 2 - 15, target.shape[2] // 2 - 15
        y, x = divmod(random % (height * columns), columns)
        original = shrunk(target[None, :, 2 * y : 2 * y + 32, 2 * x : 2 * x + 32])
        with torch.no_grad():
            decoded = result.codec(original)
        tables, codes = result.codec.tables(), result.codec.codes(original)[0]
        bpp = -sum(math.log2(tables[c, k]) for c in range(16) for k in codes[c].flatten()) / 16**2
        error = by_hand.fidelity_loss(decoded, original).item()
        rows.append((error + 30 * bpp, psnr(decoded, original).item(), ssim(decoded, original).item(), bpp))
    for name, values in zip(pretraining.METRICS, zip(*rows, strict=True), strict=True):
        assert best[name] == pytest.approx(sum(values) / 6, rel=1e-4), name
    found = fidelity(result.codec, pairs, torch.tensor(VALIDATION), settings)
    assert found == pytest.approx({name: best[name] for name in pretraining.METRICS}, rel=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_resumed_pretraining_is_bit_identical(precision: Any, pairs: Pairs, tmp_path: Path) -> None:
    settings = replace(SMALL, precision=precision)
    files: dict[int, Path] = {}

    def keep(step: int, write: Write) -> None:
        files[step] = tmp_path / str(step)
        write(files[step])

    first: dict[int, dict[str, float]] = {}
    straight = run(starting_codec(settings), pairs, settings, on_metrics=first.__setitem__, on_checkpoint=keep)
    assert list(files) == [0, 2, 4, 5]
    for path in files.values():
        again: dict[int, dict[str, float]] = {}
        fresh = Autoencoder(16, 4, torch.Generator().manual_seed(5))
        resumed = run(fresh, pairs, settings, on_metrics=again.__setitem__, resume=path)
        assert list(again.items()) == list(first.items()), "metrics from before the checkpoint are reported again"
        assert replace(resumed, codec=straight.codec) == straight
        weights = straight.codec.state_dict()
        assert all(torch.equal(value, weights[key]) for key, value in resumed.codec.state_dict().items())
    for other, codec in ((replace(settings, rate_weight=31.0), fresh), (settings, Autoencoder(16, 6))):
        with pytest.raises(CheckpointError, match="another training"):
            run(codec, pairs, other, resume=files[2])


def test_an_impossible_loss_names_its_step(pairs: Pairs) -> None:
    codec = starting_codec(SMALL)

    def poison(step: int, _: dict[str, float]) -> None:
        if step == 2:
            codec.scale.data.fill_(math.nan)

    with pytest.raises(FloatingPointError, match=r"loss of the codec is nan at step 3$"):
        run(codec, pairs, SMALL, on_metrics=poison)


def test_photographs_are_shrunk_by_any_factor_of_their_kernel(pairs: Pairs) -> None:
    settings = replace(SMALL, factor=1.5, kernel="bicubic", iterations=1)
    assert settings.bayer_patch == 12
    sizes: list[int] = []
    codec = starting_codec(settings)
    codec.register_forward_hook(lambda _, images, __: sizes.extend(images[0].shape[-2:]))
    run(codec, pairs, settings)
    assert set(sizes) == {16}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patch", 15),
        ("batch", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("rate_weight", -1.0),
        ("rate_weight", math.inf),
        ("iterations", 0),
        ("check_every", 0),
        ("validation_patches", 0),
        ("warm_up", -1),
        ("factor", 1.5),
        ("factor", 0),
        ("kernel", "box"),
        ("precision", "float16"),
    ],
)
def test_impossible_settings_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        CodecPretraining(**{field: value})


def test_a_standard_start_is_the_dct() -> None:
    settings = CodecPretraining(features=16, width=LEAST_WIDTH, start="standard", rate_weight=30.0, seed=3)
    expected = Autoencoder(16, LEAST_WIDTH, torch.Generator().manual_seed(3))
    random = starting_codec(replace(settings, start="random"))
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in random.state_dict().items())
    start_as_dct(expected, 30.0)
    started = starting_codec(settings)
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in started.state_dict().items())
    with pytest.raises(ValueError, match="start: standard needs a width of at least 48, not 46"):
        replace(settings, width=46)
    with pytest.raises(ValueError, match="start must be random or standard"):
        replace(settings, start="dct")  # type: ignore[arg-type]
