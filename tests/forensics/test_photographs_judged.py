"""What analyse says of a photograph, and why nothing is said: kinds of files, sizes, packages, regions."""

import dataclasses
import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from calibration_by_hand import CLASSES, by_hand, logits_of
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from small_packages import small_package
from torch import Tensor

from cameras.photographs import Header, PhotographError
from forensics.analysis import analyse as analyses
from forensics.analysis.analyse import Analysis, _components, analyse, kind_in
from forensics.analysis.calibration import (
    Calibration,
    CalibrationError,
    region_limit,
    smoothed,
)
from forensics.analysis.evidence import STATISTICS, Evidence
from forensics.package import Package, PackageError
from forensics.trial import Training

WINDOW = 32  # px; photographs need 64×64
SIZE = (160, 224)  # as developed; they are received in 80×112


# --- Kinds of files ---


def said(**changes: Any) -> Header:
    return dataclasses.replace(Header("JPEG", 80, 112, 1, False, 8, 50, "4:4:4"), **changes)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (said(), "jpeg:50"),
        (said(jpeg_quality=69), "jpeg:50"),
        (said(jpeg_quality=71), "jpeg:90"),
        (said(jpeg_quality=100), "jpeg:90"),
        (said(subsampling="4:2:0"), "jpeg:50:4:2:0"),
        (said(jpeg_quality=95, subsampling="4:2:0"), "jpeg:50:4:2:0"),  # subsampling counts more than quality
        (said(jpeg_quality=95, subsampling="4:2:2"), "jpeg:90"),  # none has it
        (said(jpeg_quality=95, subsampling=None, grey=True), "jpeg:90"),
        (said(jpeg_quality=None), "unknown"),
        (said(format="WEBP", jpeg_quality=None, subsampling=None), "webp"),
        (said(format="AVIF", jpeg_quality=None, subsampling=None), "unknown"),
        (said(format="PNG", jpeg_quality=None, subsampling=None), "unknown"),
    ],
)
def test_the_nearest_kind_is_taken(header: Header, kind: str) -> None:
    assert kind_in(header, by_hand()) == kind


def test_without_jpeg_in_the_calibration_a_jpeg_is_of_unknown_kind() -> None:
    assert kind_in(said(), dataclasses.replace(by_hand(), kinds=("webp",))) == "unknown"


# --- Analyse ---


def package(**changes: Any) -> Package:
    small = small_package()
    trial = dataclasses.replace(small.trial, training=Training(iterations=6, batch=2, patch=WINDOW))
    return dataclasses.replace(small, **{"trial": trial, "size": SIZE, "calibration": by_hand(), **changes})


Seen = list[tuple[int, ...]]


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seen]:
    """Make the FAN find what a test says; returns the shapes of what it looked at."""

    def set_up(score: float = -1.0, strange: float = 0.0, texture: float = 9.0, places: Tensor | None = None) -> Seen:
        seen: Seen = []

        def examine(fan: object, received: Tensor, window: int, precision: str) -> Evidence:
            assert window == WINDOW and received.dtype == torch.uint8
            seen.append(tuple(received.shape))
            everywhere = logits_of(-1.0).expand(4, 6, 5) if places is None else places
            statistics = torch.zeros(STATISTICS)
            statistics[0] = math.sqrt(strange)
            return Evidence(everywhere.float(), logits_of(score, 2).float(), statistics, texture)

        monkeypatch.setattr(analyses, "examine", examine)
        return seen

    return set_up


def pixels(height: int = 80, width: int = 112) -> Tensor:
    return torch.zeros(1, 3, height, width, dtype=torch.uint8)


def file(height: int = 80, width: int = 112, kind: str = "jpeg", cut: bool = False, **options: Any) -> BytesIO:
    content = BytesIO()
    noise = np.random.default_rng(1).integers(256, size=(height, width, 3)).astype(np.uint8)
    Image.fromarray(noise).save(content, kind, **options)
    return BytesIO(content.getvalue()[: 2 * len(content.getvalue()) // 3]) if cut else content


def test_an_altered_photograph(finds: Callable[..., Seen]) -> None:
    seen = finds(2.5)
    found = analyse(package(), file(quality=50, subsampling="4:4:4"), 0.05)
    assert seen == [(1, 3, 80, 112)]
    assert (found.result, found.history, found.kind) == ("altered", "gaussian", "jpeg:50")
    assert (found.height, found.width, found.false_alarms) == (80, 112, 0.05)
    assert found.log10_lr == pytest.approx(2 / math.log(10))
    assert found.log10_threshold == pytest.approx(2 / math.log(10))  # at the 96th score, 0.96
    assert found.as_high == 1 / 101 and found.as_strange == 1.0
    assert list(found.probabilities) == list(CLASSES)
    assert list(found.probabilities.values()) == pytest.approx(logits_of(2.5, 2).softmax(dim=0).tolist(), abs=1e-6)
    assert f"{math.exp(2):.1f} times more likely if the photograph was altered" in found.reason
    share = math.e / (math.e + 3)
    assert f"by gaussian at {100 * share:.0f} %" in found.reason


@pytest.mark.parametrize(
    ("evidence", "result", "words"),
    [
        ({"score": -1.0}, "native", f"{math.e:.1f} times more likely if the photograph is native"),
        ({"score": 0.7}, "cannot tell", "31.7 % of native photographs of this pipeline look like that, and only 5 %"),
        ({"score": 2.0, "texture": 1.0}, "cannot tell", "too flat"),
        ({"score": 2.0, "strange": 50.0}, "cannot tell", "it looks like none of this pipeline's photographs, 1.0 %"),
    ],
)
def test_results_and_their_words(
    finds: Callable[..., Seen], evidence: dict[str, float], result: str, words: str
) -> None:
    finds(**evidence)
    found = analyse(package(), file(quality=50, subsampling="4:4:4"), 0.05)
    assert found.result == result and words in found.reason
    assert found.history is None and found.regions == () and found.map is not None


@pytest.mark.parametrize(
    ("height", "width", "words"),
    [
        (63, 80, "63×80 px are too small: some 64×64 are needed"),
        (64, 64, ""),
        (82, 114, ""),  # two pixels more than the pipeline makes: other programs round otherwise
        (83, 112, "83×112 px are larger than photographs of this pipeline as they are received, 80×112"),
        (80, 115, "80×115 px are larger"),
        (112, 80, ""),  # turned
        (115, 80, "115×80 px are larger"),
        (113, 113, "113×113 px are larger"),
    ],
)
def test_sizes(finds: Callable[..., Seen], height: int, width: int, words: str) -> None:
    seen = finds()
    found = analyse(package(), pixels(height, width), 0.05)
    assert (found.result == "cannot tell") == bool(words) == (not seen)
    assert found.reason.startswith(words) and (found.height, found.width) == (height, width)
    assert found.kind == "unknown"
    assert bool(found.probabilities) == (not words)


def test_the_smallest_size_may_be_the_calibration_s(finds: Callable[..., Seen]) -> None:
    finds()
    found = analyse(package(calibration=by_hand(70 * 70)), pixels(69, 70), 0.05)
    assert found.reason == "69×70 px are too small: some 70×70 are needed"
    assert analyse(package(calibration=by_hand(70 * 70)), pixels(70, 70), 0.05).result == "native"


def test_reasons_in_the_header_are_found_before_pixels_are_read(finds: Callable[..., Seen]) -> None:
    """The pixels of these files cannot be read."""
    finds()
    small, large, strong = (file(40, 40, cut=True), file(300, 300, cut=True), file(cut=True, quality=44))
    assert "too small" in analyse(package(), small, 0.05).reason
    assert "larger than" in analyse(package(), large, 0.05).reason
    found = analyse(package(), strong, 0.05)
    assert found.result == "cannot tell"
    assert found.reason == "too strongly compressed: JPEG of quality 44, calibrated from 50 on"
    with pytest.raises(PhotographError):
        analyse(package(), file(cut=True, quality=45), 0.05)


def test_without_a_fitting_calibration_nothing_is_said(tmp_path: Path) -> None:
    for calibration in (None, dataclasses.replace(by_hand(), classes=("native", "a", "b", "c", "d")), other_fan()):
        with pytest.raises(PackageError, match=r"^the package('s calibration is that| has no calibration)[^\n]+$"):
            analyse(package(calibration=calibration), tmp_path / "missing.jpg")


def other_fan() -> Calibration:
    """Of a FAN with another number of statistics."""
    scale = by_hand().scales[0]
    familiar = dataclasses.replace(scale.familiarity, mean=torch.zeros(3).double())
    return dataclasses.replace(by_hand(), scales=(dataclasses.replace(scale, familiarity=familiar),))


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, math.nan])
def test_impossible_rates(rate: float) -> None:
    with pytest.raises(ValueError, match="is impossible: give a share between 0 and 1"):
        analyse(package(), pixels(), rate)


def test_a_rate_too_small_for_the_calibration(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError):
        analyse(package(), tmp_path / "missing.jpg", 0.001)


# --- Regions ---


@settings(max_examples=100, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_components_are_those_of_scipy(inside: np.ndarray) -> None:
    found = _components(torch.from_numpy(inside)).numpy()
    wanted, count = scipy.ndimage.label(inside, structure=np.ones((3, 3)))
    assert ((found == 0) == ~inside).all()
    pairs = set(zip(found[inside].tolist(), wanted[inside].tolist(), strict=True))
    assert len(pairs) == count == len({one for one, _ in pairs})


def region_places() -> Tensor:
    """Two parts of 4×3 and of 3×3 places that are altered, each by something else."""
    places = logits_of(-9.0).repeat(8, 12, 1)
    places[1:5, 2:5] = logits_of(30.0, 3)
    places[5:8, 8:11] = logits_of(20.0, 4)
    return places


def test_regions(finds: Callable[..., Seen]) -> None:
    places = region_places()
    finds(-1.0, places=places)
    found = analyse(package(), file(quality=50, subsampling="4:4:4"), 0.05)
    assert found.result == "altered in part"
    assert found.history == "jpeg" and "2 parts of it look altered (jpeg)" in found.reason
    ratios = places[..., 1:].logsumexp(dim=-1) - math.log(4) - places[..., 0]
    above = (smoothed(ratios) > region_limit(by_hand(), 0.05)).numpy()
    labels, count = scipy.ndimage.label(above, structure=np.ones((3, 3)))
    assert count == 2
    boxes = scipy.ndimage.find_objects(labels)
    first = 16 + 4  # the middle of a window of 32 px, and half of the shift between the lattices
    wanted = [
        (
            first - 8 + 16 * rows.start,
            first - 8 + 16 * columns.start,
            16 * (rows.stop - rows.start),
            16 * (columns.stop - columns.start),
            (labels == number).mean(),
        )
        for number, (rows, columns) in enumerate(boxes, start=1)
    ]
    got = [(one.top, one.left, one.height, one.width, one.share) for one in found.regions]
    assert sorted(got) == sorted(wanted)
    assert {one.top: one.history for one in found.regions} == {min(wanted)[0]: "jpeg", max(wanted)[0]: "resample"}


def test_the_map_holds_the_probabilities_of_places(finds: Callable[..., Seen]) -> None:
    finds(-1.0, places=region_places())
    found = analyse(package(), file(kind="webp"), 0.05).map
    assert found is not None
    assert (found.first, found.stride) == (20, 16)
    torch.testing.assert_close(found.probabilities, (-region_places()).softmax(dim=-1).float())  # webp is reversed


def test_regions_decide_nothing_about_the_unfamiliar(finds: Callable[..., Seen]) -> None:
    """But they are shown, unless they are most of the photograph; of a flat photograph nothing is said."""
    everywhere = torch.zeros_like(region_places()) + region_places().amax(dim=(0, 1))
    for reason, places, shown in (
        ({"texture": 0.0}, region_places(), False),
        ({"strange": 50.0}, region_places(), True),
        ({"strange": 50.0}, everywhere, False),
    ):
        finds(-1.0, places=places, **reason)
        found: Analysis = analyse(package(), file(quality=50, subsampling="4:4:4"), 0.05)
        assert found.result == "cannot tell" and bool(found.regions) == ("parts of it" in found.reason) == shown


@pytest.mark.parametrize("turns", [1, 3])
def test_a_turned_photograph_is_looked_at_as_the_sensor_took_it(monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
    """The way counts in which it looks more familiar; its places lie as the file's pixels do."""
    taken = pixels()
    taken[..., 0, 0] = 255  # the sensor's first corner
    places = region_places()[:4, :6]

    def examine(fan: object, received: Tensor, *_: object) -> Evidence:
        assert received.shape == taken.shape
        upright = torch.equal(received, taken)
        statistics = torch.full((STATISTICS,), 0.0 if upright else 2.0)
        return Evidence(places if upright else places * 0, logits_of(12.5 if upright else -1.0), statistics, 9.0)

    monkeypatch.setattr(analyses, "examine", examine)
    found = analyse(package(), taken.rot90(turns, (2, 3)), 0.05)
    assert found.result == "altered" and found.map is not None
    torch.testing.assert_close(found.map.probabilities, places.rot90(turns, (0, 1)).softmax(dim=-1).float())
