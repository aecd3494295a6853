"""Samples are what the panel would make of photographs; and what the FAN finds in one, by plain arithmetic."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from small_trials import small_trial
from torch import Tensor

from cameras.pairs import Pairs
from channel import Manipulations, encode
from forensics import FAN, Trial
from forensics.analysis import evidence as evidences
from forensics.analysis import samples as samples_module
from forensics.analysis.evidence import STATISTICS, Evidence, examine, texture
from forensics.analysis.samples import Sample, kind_of, least, samples
from forensics.dense import dense_logits, in_tiles
from forensics.panel import made, shrunk_to_8_bits, stack, to_8_bits
from forensics.trial import Distribution, Training
from forensics.whole import develop_whole
from models.nip import NIP

CODECS = ("jpeg:50", "webp:50", "jpeg:90:4:2:0")
TRIAL = small_trial("fixed", training=Training(patch=16, window=16), channel=Distribution(downsample=1))


@pytest.fixture(scope="module")
def fan() -> FAN:
    return FAN(5, torch.Generator().manual_seed(3)).eval()


def photograph(height: int, width: int) -> Tensor:
    return torch.randint(256, (1, 3, height, width), generator=torch.Generator().manual_seed(2)).to(torch.uint8)


# --- Samples ---


def looked(
    pairs: Pairs, nip: NIP, fan: FAN, monkeypatch: pytest.MonkeyPatch, trial: Trial = TRIAL, seed: int = 4
) -> tuple[list[Sample], list[Tensor]]:
    """Samples of all photographs, and the pixels that the FAN looked at for each."""
    seen: list[Tensor] = []

    def look(fan: FAN, received: Tensor, window: int, precision: str) -> Evidence:
        assert (window, precision) == (16, trial.training.precision)
        seen.append(received.clone())
        places = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(len(seen)))
        return Evidence(places, places.mean(dim=(0, 1)), torch.full((STATISTICS,), float(len(seen))), float(len(seen)))

    monkeypatch.setattr(samples_module, "examine", look)
    stacks = [stack(pairs, i) for i in range(len(pairs))]
    return list(samples(trial, nip, fan, stacks, CODECS, seed)), seen


def where(part: Tensor, whole: Tensor) -> list[tuple[int, int]]:
    """All places of a part in a picture."""
    windows = np.lib.stride_tricks.sliding_window_view(whole[0, 0].numpy(), part.shape[2:])
    hits = np.argwhere((windows == part[0, 0].numpy()).all(axis=(2, 3)))
    h, w = part.shape[2:]
    return [(i, j) for i, j in hits.tolist() if torch.equal(whole[..., i : i + h, j : j + w], part)]


@pytest.mark.parametrize("downsample", [1, 2])
def test_pixels_are_those_of_the_panel(
    pairs: Pairs, nip: NIP, fan: FAN, monkeypatch: pytest.MonkeyPatch, downsample: int
) -> None:
    """Every class of a photograph is made, shrunk, and encoded as its kind of file says."""
    trial = replace(TRIAL, channel=Distribution(downsample=downsample))
    found, seen = looked(pairs, nip, fan, monkeypatch, trial)
    whole = [(one, pixels) for one, pixels in zip(found, seen, strict=True) if one.scale == 0]
    assert [(one.photograph, one.label) for one, _ in whole] == [(i, label) for i in range(4) for label in range(5)]
    operations = Manipulations(trial.manipulations).operations
    for one, pixels in whole:
        native = to_8_bits(develop_whole(nip, stack(pairs, one.photograph)))
        classes = list(made(native, operations, torch.Generator()))
        shrunk = shrunk_to_8_bits(classes[one.label], trial.channel)
        assert one.kind in ("jpeg:50", "webp", "jpeg:90:4:2:0")
        codec = "webp:50" if one.kind == "webp" else one.kind
        assert torch.equal(pixels, encode(shrunk, codec))
        assert one.pixels == pixels[0, 0].numel()


def test_a_jpeg_sample_is_what_pillow_writes(pairs: Pairs, nip: NIP, fan: FAN, monkeypatch: pytest.MonkeyPatch) -> None:
    found, seen = looked(pairs, nip, fan, monkeypatch)
    number = next(i for i, one in enumerate(found) if one.kind == "jpeg:50" and one.label == one.scale == 0)
    developed = develop_whole(nip, stack(pairs, found[number].photograph))[0]
    levels = (255 * developed).round().clamp(0, 255).byte().movedim(0, -1).numpy()
    file = BytesIO()
    Image.fromarray(levels).save(file, "jpeg", quality=50, subsampling="4:4:4")
    assert np.array_equal(np.array(Image.open(file)), seen[number][0].movedim(0, -1).numpy())


def test_crops_are_of_the_received_photograph_alike_for_all_classes(
    pairs: Pairs, nip: NIP, fan: FAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One encoder for each photograph; crops lie inside, and some begin at odd pixels."""
    found, seen = looked(pairs, nip, fan, monkeypatch)
    whole = {(one.photograph, one.label): pixels for one, pixels in zip(found, seen, strict=True) if one.scale == 0}
    places: dict[int, list[tuple[int, int]]] = {}
    for one, pixels in zip(found, seen, strict=True):
        if one.scale:
            assert pixels.shape[2:] == (48, 64) and one.pixels == 48 * 64 and one.scale == 1
            places.setdefault(one.photograph, []).append(*where(pixels, whole[one.photograph, one.label]))
    for number in range(4):
        assert len(places[number]) == 5 and len(set(places[number])) == 1
        assert len({one.kind for one in found if one.photograph == number}) == 1
    corners = [each[0] for each in places.values()]
    assert len(set(corners)) > 1
    assert any(offset % 2 for corner in corners for offset in corner)
    assert len({one.kind for one in found}) > 1


def test_samples_keep_what_the_fan_found(pairs: Pairs, nip: NIP, fan: FAN, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = looked(pairs, nip, fan, monkeypatch)
    for number, one in enumerate(found, start=1):
        places = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(number))
        assert torch.equal(one.logits, places.mean(dim=(0, 1)))
        assert (one.statistics == number).all() and one.texture == number
        assert (one.windows[:, None] == places.flatten(0, 1)).all(dim=2).any(dim=1).all()
        assert len(one.windows) == 16 and len(one.windows.unique(dim=0)) > 4
        if one.label == one.scale == 0:
            assert one.places is not None and torch.equal(one.places, places)
        else:
            assert one.places is None


def test_equal_seeds_make_equal_samples(pairs: Pairs, nip: NIP, fan: FAN, monkeypatch: pytest.MonkeyPatch) -> None:
    random = replace(TRIAL, manipulations=("sharpen", "gaussian:1-2", "jpeg:80", "awgn"))
    runs = [looked(pairs, nip, fan, monkeypatch, random, seed) for seed in (1, 1, 2)]
    for one, other in zip(runs[0][1], runs[1][1], strict=True):
        assert torch.equal(one, other)
    for one, other in zip(runs[0][0], runs[1][0], strict=True):
        assert torch.equal(one.windows, other.windows) and one.kind == other.kind
    differ = [not torch.equal(one, other) for one, other in zip(runs[0][1], runs[2][1], strict=True)]
    assert any(differ)


def test_progress_counts_photographs(pairs: Pairs, nip: NIP, fan: FAN) -> None:
    """Crops that the FAN cannot judge are not made: the smallest would be of 24×32 px."""
    done: list[int] = []
    stacks = (stack(pairs, i) for i in range(2))
    found: Sequence[Sample] = list(samples(TRIAL, nip, fan, stacks, CODECS[:1], on_photograph=done.append))
    assert done == [1, 2]
    assert least(16) == 32
    assert [one.scale for one in found] == 2 * ([0] * 5 + [1] * 5)
    assert all(one.statistics.shape == (STATISTICS,) and one.logits.shape == (5,) for one in found)


def test_kinds_are_what_a_file_says_of_its_codec() -> None:
    codecs = ("jpeg:50", "jpeg:50:4:4:4", "jpeg:50:4:2:0", "webp:80", "avif:50")
    assert [kind_of(codec) for codec in codecs] == ["jpeg:50", "jpeg:50", "jpeg:50:4:2:0", "webp", "avif"]


# --- Evidence ---


@torch.no_grad()
def test_places_are_means_of_two_lattices_half_a_cell_apart(fan: FAN) -> None:
    received = photograph(75, 101)
    found = examine(fan, received, 32)
    looks = [dense_logits(fan, received[..., shift:, shift:], 32)[0] for shift in (0, 8)]
    h, w = looks[1].shape[:2]
    assert (h, w) == (3, 4) and looks[0].shape[:2] == (3, 5)
    torch.testing.assert_close(found.places, (looks[0][:h, :w] + looks[1]) / 2)
    torch.testing.assert_close(found.logits, found.places.mean(dim=(0, 1)))
    assert found.places.dtype == found.statistics.dtype == torch.float32


@torch.no_grad()
def test_statistics_are_moments_of_every_layer(fan: FAN, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean and standard deviation over all of the photograph, though it is looked at in tiles."""
    received = photograph(88, 104)
    monkeypatch.setattr(evidences, "in_tiles", partial(in_tiles, tile=2))
    found = examine(fan, received, 32).statistics
    looks = []
    for shift in (0, 8):
        part = received[..., shift:, shift:]
        h, w = (extent // 16 for extent in part.shape[2:])
        layers = [
            layer[..., : h * scale, : w * scale]
            for layer, scale in zip(fan.layers(part / 255), (16, 8, 4, 2, 1, 1), strict=True)
        ]
        means = [layer.mean(dim=(0, 2, 3)) for layer in layers]
        spreads = [layer.std(dim=(0, 2, 3), correction=0) for layer in layers[:-1]]
        looks.append(torch.cat([*means, *spreads]))
    assert found.shape == (STATISTICS,)
    torch.testing.assert_close(found, (looks[0] + looks[1]) / 2, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("size", "possible"), [((40, 40), True), ((39, 60), False)])
def test_two_lattices_must_fit(fan: FAN, size: tuple[int, int], possible: bool) -> None:
    if possible:
        assert examine(fan, photograph(*size), 32).places.shape == (1, 1, 5)
    else:
        with pytest.raises(ValueError, match=r"^31×52 px are too few for windows of 32 px$"):
            examine(fan, photograph(*size), 32)


def test_precision_is_that_of_the_training(fan: FAN) -> None:
    received = photograph(64, 64)
    full, half = (examine(fan, received, 32, precision) for precision in ("float32", "bfloat16"))
    assert half.places.dtype == torch.float32
    assert not torch.equal(half.places, full.places)
    torch.testing.assert_close(half.places, full.places, atol=0.05 * full.places.abs().max().item(), rtol=0)


def test_texture_is_the_median_spread_of_brightness_in_cells() -> None:
    received = photograph(50, 83)
    received[..., :16, :48] = 7  # three flat cells of fifteen
    grey = received[0].double().mean(dim=0).numpy()
    cells = sorted(grey[i : i + 16, j : j + 16].std() for i in (0, 16, 32) for j in range(0, 80, 16))
    assert cells[2] == 0 < cells[3]
    assert texture(received) == pytest.approx(cells[7], rel=1e-5)
    assert texture(torch.full((1, 3, 32, 32), 9, dtype=torch.uint8)) == 0
