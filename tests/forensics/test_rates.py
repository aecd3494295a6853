"""Rate and distortion of codecs: against Pillow, scikit-image, curves whose BD-rate is known, and search by hand."""

import io
import math
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

import models
from cameras.scenes import dead_leaves
from channel.codecs import build
from forensics.compression.bd_rates import BDRate, bd_rate, bd_rates
from forensics.compression.coders import Coder, Setting, coders
from forensics.compression.equal_rate import Shown, at_rate, nearest, page, place
from forensics.compression.rates import METRICS, Rate, means, rates, read, write_csv

HEIGHT, WIDTH = 182, 196


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """A photograph (3,H,W) uint8: dead leaves with a little noise."""
    generator = np.random.default_rng(3)
    scene = dead_leaves(HEIGHT, WIDTH, generator) + generator.normal(0, 0.01, (HEIGHT, WIDTH, 3))
    return torch.from_numpy(np.rint(255 * scene.clip(0, 1)).astype(np.uint8)).movedim(-1, 0)


def rate(codec: str, quality: str = "1", photograph: str = "a", bpp: float = 1, psnr: float = 30) -> Rate:
    return Rate(photograph, codec, quality, 8, 8, 8, bpp, psnr, 0.9, 0.9)


def fake(sizes: list[int], rising: bool = True) -> Coder:
    """A codec whose files have these sizes."""

    def setting(number: int, size: int) -> Setting:
        return Setting(str(number), lambda picture: bytes(size), lambda data: torch.zeros(3, 8, 8, dtype=torch.uint8))

    settings = tuple(setting(number, size) for number, size in enumerate(sizes))
    return Coder("fake", settings, settings, rising)


# --- measuring ---

BY_PILLOW = {
    "jpeg": {"format": "jpeg", "quality": 40, "subsampling": "4:4:4"},
    "jpeg:4:2:0": {"format": "jpeg", "quality": 40, "subsampling": "4:2:0"},
    "webp": {"format": "webp", "quality": 40},
    "avif": {"format": "avif", "quality": 40, "subsampling": "4:2:0", "max_threads": 2},
    "jpeg2000": {
        "format": "jpeg2000",
        "irreversible": True,
        "quality_mode": "dB",
        "quality_layers": [40],
    },
}


@pytest.mark.parametrize("codec", BY_PILLOW)
def test_a_rate_is_that_of_the_file(picture: torch.Tensor, codec: str) -> None:
    (found,) = rates([("leaves", picture)], coders([codec], ["40"]))
    pixels = picture.movedim(0, -1).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **BY_PILLOW[codec])  # type: ignore[arg-type]
    decoded = np.asarray(Image.open(file).convert("RGB"))

    assert (found.photograph, found.codec, found.quality) == ("leaves", codec, "40")
    assert (found.height, found.width, found.bytes) == (HEIGHT, WIDTH, len(file.getvalue()))
    assert found.bpp == 8 * len(file.getvalue()) / (HEIGHT * WIDTH)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(pixels, decoded), abs=1e-3)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    by_scikit = structural_similarity(pixels / 255, decoded / 255, channel_axis=-1, **window)
    assert found.ssim == pytest.approx(by_scikit, abs=1e-4)
    both = (torch.tensor(one / 255).movedim(-1, 0)[None] for one in (decoded, pixels))
    by_torchmetrics = multiscale_structural_similarity_index_measure(*both, data_range=1.0).item()
    assert found.ms_ssim == pytest.approx(by_torchmetrics, abs=1e-3)


def test_every_codec_is_measured_on_every_photograph(picture: torch.Tensor) -> None:
    told: list[Rate] = []
    compared = coders(["webp", "jpeg"], ["20,10", "webp=30"])
    found = rates([("a", picture), ("b", picture.flip(2))], compared, told.append)
    assert [(one.photograph, one.codec, one.quality) for one in found] == [
        (photograph, *setting) for photograph in "ab" for setting in (("webp", "30"), ("jpeg", "10"), ("jpeg", "20"))
    ]
    assert told == found


def test_an_encoder_that_refuses_a_photograph_is_named() -> None:
    with pytest.raises(ValueError, match=r"^webp, quality 50: .*16383"):
        rates([("panorama", torch.zeros(3, 8, 16384, dtype=torch.uint8))], coders(["webp"], ["50"]))


def test_photographs_are_read_as_they_are_or_as_means(tmp_path: Path, picture: torch.Tensor) -> None:
    large = picture.repeat(1, 2, 2)[:, :, :-1]
    file = tmp_path / "photograph.png"
    Image.fromarray(large.movedim(0, -1).numpy()).save(file)
    assert torch.equal(read(file), large)
    whole = large[:, :, : WIDTH * 2 - 2].double().unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).mean((2, 4))
    assert (read(file, 2).double() - whole).abs().max() <= 0.5 + 1e-4
    with pytest.raises(ValueError, match="91×97 pixels: MS-SSIM needs 176×176"):
        read(file, 4)


@pytest.mark.parametrize("names", [["jpeg"], ["webp"], ["avif"], ["jpeg2000"]])
def test_default_sweeps_rise(picture: torch.Tensor, names: list[str]) -> None:
    found = rates([("a", picture)], coders(names))
    assert 6 <= len(found) <= 10
    assert all(one.bpp < other.bpp and one.psnr < other.psnr for one, other in pairwise(found))
    assert found[-1].bpp > 1


@pytest.mark.parametrize(
    ("names", "qualities", "message"),
    [
        (["gif"], [], "unknown codec 'gif': write one of jpeg, webp"),
        (["jpeg:50"], [], "subsampling of jpeg"),
        (["webp:4:4:4"], [], "subsampling of webp"),
        (["jpeg"], ["0"], "jpeg:0"),
        (["jpeg"], ["101"], "jpeg:101"),
        (["jpeg"], ["10-20"], "--qualities 10-20: write"),
        (["jpeg"], ["webp=10"], "webp is not among the codecs"),
        (["learned"], [], "unknown codec 'learned'"),
        (["no.safetensors"], [], "no.safetensors: there is no such file"),
    ],
)
def test_errors_name_the_codec(names: list[str], qualities: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        coders(names, qualities)
    assert message in str(error.value)


# --- codecs that learnt ---


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of three codecs: two of 16 features, one of 32."""
    folder = tmp_path_factory.mktemp("weights")
    files = {}
    for seed, (name, features) in enumerate({"cheap": 16, "dear": 16, "wide": 32}.items()):
        codec = build("learned", features=features, width=4, generator=torch.Generator().manual_seed(seed))
        files[name] = folder / f"{name}.safetensors"
        models.save(files[name], codec)
    return files


def test_files_of_one_architecture_are_one_curve(weights: dict[str, Path], picture: torch.Tensor) -> None:
    compared = coders([str(weights["cheap"]), "jpeg", str(weights["dear"])], ["50"])
    assert [coder.name for coder in compared] == ["learned", "jpeg"]
    found = rates([("a", picture)], compared)
    assert [one.quality for one in found] == ["cheap", "dear", "50"]
    for one in found[:2]:
        codec = models.load(weights[one.quality], build=build)
        data = codec.compress(picture)
        assert one.bytes == len(data)
        decoded = codec.decompress(data).movedim(0, -1).numpy()
        assert one.psnr == pytest.approx(peak_signal_noise_ratio(picture.movedim(0, -1).numpy(), decoded), abs=1e-3)


def test_other_architectures_are_other_curves(weights: dict[str, Path]) -> None:
    compared = coders([str(file) for file in weights.values()])
    assert [coder.name for coder in compared] == ["learned features=16 width=4", "learned features=32 width=4"]
    assert [[setting.quality for setting in coder.sweep] for coder in compared] == [["cheap", "dear"], ["wide"]]


# --- BD-rate ---


def straight(qualities: list[float], factor: float = 1) -> list[tuple[float, float]]:
    """A codec that needs twice the rate for 6 dB more."""
    return [(factor * 2 ** (quality / 6 - 5), quality) for quality in qualities]


@pytest.mark.parametrize(("factor", "percent"), [(1, 0), (0.5, -50), (2, 100), (1.3, 30)])
def test_bd_rate_of_a_multiple(factor: float, percent: float) -> None:
    anchor, same_range = [24.0, 28, 31, 36, 40], [24.0, 27, 33, 40]
    assert bd_rate(straight(anchor), straight(same_range, factor)) == pytest.approx(percent, abs=1e-6)
    assert bd_rate(straight(anchor), straight([25, 35], factor)) == pytest.approx(percent, abs=1e-6)


def test_bd_rate_is_of_the_quality_that_both_reach() -> None:
    """The test needs half the rate up to 32 dB, which alone the anchor reaches, and four times as much beyond."""
    low, high = straight([24.0, 25, 26, 27, 28, 29, 30, 31, 32], 0.5), straight([36.0, 40], 4)
    assert bd_rate(straight([24, 26, 28, 30]), low + high) == pytest.approx(-50, abs=1e-6)


def test_bd_rate_needs_points_that_overlap() -> None:
    assert bd_rate(straight([24, 30]), straight([31, 40])) is None
    assert bd_rate(straight([20, 30]), straight([26, 36])) is None  # 40 % of either
    assert bd_rate(straight([20, 30]), straight([24, 34])) is not None  # 60 %
    assert bd_rate(straight([20, 40]), straight([30])) is None
    assert bd_rate(straight([30]), straight([20, 40])) is None


def table(factors: dict[str, dict[str, float]], qualities: tuple[float, ...] = (24, 28, 32, 36)) -> list[Rate]:
    """Rates of codecs, which need ``factors[codec][photograph]`` times as much as `straight`."""
    return [
        rate(codec, str(quality), photograph, bpp, quality)
        for codec, by_photograph in factors.items()
        for photograph, factor in by_photograph.items()
        for bpp, quality in straight(list(qualities), factor)
    ]


def by_psnr(found: list[BDRate], codec: str) -> BDRate:
    return next(one for one in found if (one.codec, one.metric) == (codec, "psnr"))


def test_bd_rates_of_a_table_are_means_with_an_interval() -> None:
    found = bd_rates(table({"jpeg": {"a": 1, "b": 3, "c": 9}, "new": {"a": 0.5, "b": 1.8, "c": 8.1}}), "jpeg")
    assert {one.codec for one in found} == {"new"}
    assert {one.metric for one in found} == set(METRICS)
    new = by_psnr(found, "new")
    percents = [-50, -40, -10]
    low, high = stats.t.interval(0.95, 2, np.mean(percents), stats.sem(percents))
    assert (new.percent, new.low, new.high) == pytest.approx((np.mean(percents), low, high))
    assert (new.photographs, new.of, new.why_not) == (3, 3, None)


def test_bd_rates_count_the_photographs_that_overlap() -> None:
    rows = table({"jpeg": {"a": 1, "b": 1}}) + table({"new": {"a": 0.5}}) + table({"new": {"b": 0.5}}, (50, 60))
    new = by_psnr(bd_rates(rows, "jpeg"), "new")
    assert (new.percent, new.low, new.high) == (pytest.approx(-50), None, None)
    assert (new.photographs, new.of) == (1, 2)


def test_bd_rates_say_why_there_is_none() -> None:
    anchor = table({"jpeg": {"a": 1}})
    far = table({"far": {"a": 1}}, (50, 60))
    found = bd_rates([*anchor, *far, rate("one", psnr=30)], "jpeg")
    assert by_psnr(found, "far") == BDRate("far", "psnr", None, None, None, 0, 1, "no overlap")
    assert by_psnr(found, "one") == BDRate("one", "psnr", None, None, None, 0, 1, "one point")
    with pytest.raises(ValueError, match=r"no codec 'avif'.*jpeg, far, one"):
        bd_rates([*anchor, *far, rate("one")], "avif")


def test_points_without_use_are_left_out() -> None:
    """Lossless ones, which no metric can place, and those which cost more than a better one."""
    rows = table({"jpeg": {"a": 1}, "new": {"a": 0.5}})
    worse = [rate("new", "worse", "a", 0.5 * 2 ** (33 / 6 - 5), 27), rate("new", "lossless", "a", 30, math.inf)]
    assert by_psnr(bd_rates(rows + worse, "jpeg"), "new") == by_psnr(bd_rates(rows, "jpeg"), "new")


def test_similarity_counts_in_decibels() -> None:
    """Twice the rate halves what is missing to 1: such a curve is straight, and half its rate is −50 %."""
    rows = [
        replace(rate(codec, str(s), "a", factor / (1 - s)), ssim=s)
        for codec, factor, values in (("jpeg", 1, (0.8, 0.9, 0.95, 0.99)), ("new", 0.5, (0.8, 0.97, 0.99)))
        for s in values
    ]
    new = next(one for one in bd_rates(rows, "jpeg") if one.metric == "ssim")
    assert new.percent == pytest.approx(-50, abs=1e-6)


def test_means_do_not_depend_on_how_bits_are_spread() -> None:
    """Of codecs on the same straight curves, one at equal quality and one at equal rate, the means lie on one line."""
    factors = {"a": 1.0, "b": 4.0}
    equal_quality = table({"quality": factors}, (8, 24))
    equal_rate = [
        rate("rate", str(bpp), photograph, bpp, 6 * (math.log2(bpp / factor) + 5))
        for bpp in (0.5, 3.0)
        for photograph, factor in factors.items()
    ]
    curves = means([*reversed(equal_quality), *equal_rate])
    assert {codec: [point.quality for point in points] for codec, points in curves.items()} == {
        "quality": ["8", "24"],
        "rate": ["0.5", "3.0"],
    }
    for points in curves.values():
        for point in points:
            assert point.psnr == pytest.approx(6 * (math.log2(point.bpp / 2) + 5))
            assert (point.ssim, point.ms_ssim) == pytest.approx((0.9, 0.9))


# --- equal rate ---


@pytest.mark.parametrize(("codec", "targets"), [("jpeg", (0.5, 1.3, 99)), ("webp", (0.01, 0.7)), ("jpeg2000", (0.9,))])
def test_the_nearest_setting_by_search_through_all(
    picture: torch.Tensor, codec: str, targets: tuple[float, ...]
) -> None:
    part = picture[:, :96, :96]
    (coder,) = coders([codec])
    assert len(coder.every) == 100
    sizes = {setting.quality: 8 * len(setting.compress(part)) / 96**2 for setting in coder.every}
    for target in targets:
        found = sizes[nearest(coder, part, target).quality]
        assert abs(found - target) == min(abs(size - target) for size in sizes.values())


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.floats(0.1, 60), st.booleans())
def test_the_nearest_setting_of_any_sizes(sizes: list[int], target: float, rising: bool) -> None:
    coder = fake(sorted(sizes) if rising else sizes, rising)
    found = nearest(coder, torch.zeros(3, 8, 8, dtype=torch.uint8), target)
    distances = [abs(size / 8 - target) for size in (sorted(sizes) if rising else sizes)]
    assert distances[int(found.quality)] == min(distances)


def test_bisection_looks_at_few_settings() -> None:
    looked: list[int] = []

    def compress(size: int) -> Callable[[torch.Tensor], bytes]:
        return lambda picture: looked.append(size) or bytes(size)  # type: ignore[func-returns-value]

    settings = tuple(Setting(str(n), compress(n), lambda data: torch.zeros(3, 8, 8)) for n in range(1, 101))
    assert nearest(Coder("fake", settings, settings, True), torch.zeros(3, 8, 8), 57 / 8).quality == "57"
    assert len(looked) <= 13


def test_a_codec_is_shown_at_the_rate_asked_for(picture: torch.Tensor) -> None:
    jpeg, webp = at_rate("a", picture, coders(["jpeg", "webp"], ["1"]), 1.0)
    assert (jpeg.rate.codec, webp.rate.codec) == ("jpeg", "webp")
    assert [one.rate.bpp for one in (jpeg, webp)] == pytest.approx([1, 1], rel=0.05)
    file = io.BytesIO()
    pixels = picture.movedim(0, -1).numpy()
    Image.fromarray(pixels).save(file, "jpeg", quality=int(jpeg.rate.quality), subsampling="4:4:4")
    assert np.array_equal(jpeg.picture.movedim(0, -1).numpy(), np.asarray(Image.open(file)))


def test_the_part_shown_is_what_codecs_change_most(picture: torch.Tensor) -> None:
    changed = picture.clone()
    changed[:, 96:136, 40:80] ^= 128
    shown = [Shown(rate("a"), picture), Shown(rate("b"), changed)]
    assert place(picture, shown, side=40) == (96, 40)


def test_a_page_holds_the_original_first_and_every_codec_at_200_percent(picture: torch.Tensor) -> None:
    large = picture.repeat(1, 2, 2)
    shown = [Shown(rate(name), large.roll(step, 2)) for step, name in enumerate("abcd", 1)]
    made = np.asarray(page(large, shown, 0.5))
    top, left = place(large, shown)
    rows = made.shape[0] // 2
    for number, one in enumerate((large, *(each.picture for each in shown))):
        cut = one[:, top : top + 224, left : left + 224].movedim(0, -1).numpy().repeat(2, 0).repeat(2, 1)
        row, column = divmod(number, 3)
        y, x = 12 + row * (448 + 52), 12 + column * (448 + 12)
        assert np.array_equal(made[y : y + 448, x : x + 448], cut), number
        assert (made[y + 448 : y + 490, x : x + 200] < 100).any()  # its caption
    assert rows > 448


def test_a_table_has_a_column_for_every_field(tmp_path: Path) -> None:
    write_csv(tmp_path / "rates.csv", [rate("jpeg", psnr=math.inf)], Rate)
    head, row = (tmp_path / "rates.csv").read_text().splitlines()
    assert head.split(",") == [field.name for field in fields(Rate)]
    assert row == "a,jpeg,1,8,8,8,1,inf,0.9,0.9"
