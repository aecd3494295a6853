"""What a calibration promises and says: by counting, by loops, and of damaged ones."""

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forensics.analysis import calibration as calibrations
from forensics.analysis.calibration import (
    Calibration,
    CalibrationError,
    Familiarity,
    Reference,
    log_likelihoods,
    peak,
    region_limit,
    share_above,
    smoothed,
    threshold,
)
from forensics.analysis.fitting import fit
from tests.forensics.known_world import (
    CLASSES,
    KINDS,
    PIXELS,
    photographs,
)

FEW = settings(max_examples=60, deadline=None)
rates = st.floats(0.001, 0.999)


def float64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fit(photographs(300, seed=1)[0], CLASSES)


# --- The false-alarm rate ---


@FEW
@given(n=st.integers(1, 60), rate=rates)
def test_of_n_and_one_photographs_no_larger_share_is_above_the_threshold_of_the_others(n: int, rate: float) -> None:
    """Whichever of them is the new one; and one more photograph above would be too many."""
    scores = torch.arange(n + 1, dtype=torch.float64)
    if rate < 1 / (n + 1) - 1e-9:
        with pytest.raises(CalibrationError):
            threshold(scores[:n], rate)
        return
    above = sum(new > threshold(scores[scores != new], rate) for new in scores.tolist())
    assert above <= rate * (n + 1) + 1e-6 < above + 1 + 2e-6 or above == n


@FEW
@given(n=st.integers(0, 20_000))
def test_the_refusal_names_the_smallest_possible_rate(n: int) -> None:
    scores = torch.arange(n, dtype=torch.float64)
    with pytest.raises(
        CalibrationError, match=f"with {n} native photographs, which is enough for ([0-9.]+) or more: allow"
    ):
        threshold(scores, 0.99 / (n + 1))
    try:
        threshold(scores, 0.99 / (n + 1))
    except CalibrationError as error:
        possible = float(str(error).split(" or more")[0].split()[-1])
    assert 1 / (n + 1) <= possible < 1 / (n + 1) + 1e-4 + 1e-9
    if n:
        assert threshold(scores, possible) == n - 1 or possible > 1.999 / (n + 1)


@FEW
@given(values=st.lists(st.integers(-5, 5), min_size=1, max_size=30), score=st.integers(-6, 6))
def test_a_share_above_is_counted(values: list[int], score: int) -> None:
    """The new photograph itself is one of those that score so high."""
    found = share_above(float64(sorted(values)), float(score))
    assert found == (1 + sum(value >= score for value in values)) / (len(values) + 1)


@FEW
@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=30), score=st.floats(-6, 6), rate=rates)
def test_a_score_is_above_the_threshold_where_so_few_score_as_high(
    values: list[float], score: float, rate: float
) -> None:
    scores = float64(sorted(values))
    share = share_above(scores, score)
    if abs(share - rate) > 1e-6 and rate >= 1 / (len(values) + 1):
        assert (score > threshold(scores, rate)) == (share <= rate)


def test_any_rate_up_to_1_has_a_threshold() -> None:
    assert threshold(float64([1.0, 2.0]), 1 - 1e-12) == 1.0


# --- What figures stand for ---


def test_a_step_reaches_from_its_lowest_score_to_the_next() -> None:
    """Scores of 64 bits: as one of 32 bits, 0.1 would lie above itself, and 0.3 below."""
    reference = Reference(float64([0.0]), float64([0.0]), float64([[0.1, -3.0], [0.3, -1.0], [0.7, 2.0]]))
    scores = [-9.0, 0.1, 0.2, np.nextafter(0.3, 0), 0.3, 0.5, np.nextafter(0.7, 0), 0.7, 9.0]
    assert [reference.ratio(float(score)) for score in scores] == [-3, -3, -3, -3, -1, -1, -1, 2, 2]


def test_log_likelihoods_are_the_map_of_the_kind(generator: torch.Generator) -> None:
    maps = torch.rand(3, 2, 3, dtype=torch.float64, generator=generator)
    values = torch.rand(4, 5, 2, generator=generator)
    for kind in range(3):
        found = log_likelihoods(maps, kind, values)
        for i in range(4):
            for j in range(5):
                wanted = maps[kind, :, :2] @ values[i, j].double() + maps[kind, :, 2]
                torch.testing.assert_close(found[i, j], wanted)


# --- The unfamiliar ---


def test_strangeness_by_scipy(generator: torch.Generator) -> None:
    """Mean squared Mahalanobis distance from the nearest class, and what the components leave."""
    random = np.random.default_rng(2)
    basis = np.linalg.qr(random.normal(size=(6, 3)))[0]
    spread = random.uniform(1, 2, 6)
    root = random.normal(size=(3, 3))
    mean, centres, precision = random.normal(size=6), random.normal(size=(2, 4, 3)), root @ root.T + np.eye(3)
    familiar = Familiarity(*map(torch.from_numpy, (mean, spread, basis, centres, precision, np.array([0.7]))))
    statistics = random.normal(size=(9, 6)).astype(np.float32)
    for kind, allowed in ((0, centres.reshape(-1, 3)), (1, centres[0]), (2, centres[1])):
        found = familiar.strangeness(torch.from_numpy(statistics), kind)
        for row, value in zip(statistics, found.tolist(), strict=True):
            scaled = (row - mean) / spread
            near = min(scipy.spatial.distance.mahalanobis(basis.T @ scaled, each, precision) ** 2 for each in allowed)
            left = scaled - basis @ (basis.T @ scaled)
            assert value == pytest.approx(near / 3 + (left**2).mean() / 0.7, rel=1e-6)


def test_the_calibration_says_what_it_is_of(calibration: Calibration) -> None:
    assert calibration.classes == CLASSES
    assert calibration.kinds == KINDS
    assert [calibration.number(kind) for kind in (*KINDS, "png")] == [1, 2, 3, 0]
    assert calibration.photographs == len(calibration.peaks) == 300
    assert [scale.pixels.item() for scale in calibration.scales] == list(PIXELS)
    large, small = calibration.scales
    found = [calibration.scale(pixels) for pixels in (2_499, 2_500, 9_999, 10_000, 10**9)]
    assert [id(scale) for scale in found] == [id(scale) for scale in (None, small, small, large, large)]
    for scale in calibration.scales:
        assert scale.reference(0) is scale.unknown
        assert scale.reference(3) is scale.known
        for reference in (scale.known, scale.unknown):
            assert (len(reference.native), len(reference.strange)) == (300, 900)
            assert (reference.native.diff() >= 0).all() and (reference.strange.diff() >= 0).all()


# --- Places ---


def test_a_smoothed_place_is_the_mean_of_its_neighbours(generator: torch.Generator) -> None:
    ratios = torch.rand(4, 6, dtype=torch.float64, generator=generator)
    found = smoothed(ratios)
    for i in range(4):
        for j in range(6):
            near = ratios[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            assert found[i, j].item() == pytest.approx(near.mean().item())


def test_peaks_are_of_whole_native_photographs(calibration: Calibration) -> None:
    native = [one for one in photographs(300, seed=1)[0] if one.label == one.scale == 0]
    wanted = sorted(peak(calibration.places, calibration.number(one.kind), one.places) for one in native)
    np.testing.assert_allclose(calibration.peaks, wanted)
    assert [sum(value > region_limit(calibration, rate) for value in wanted) for rate in (0.005, 0.01)] == [0, 2]


def test_what_speaks_against_altering_is_no_region(calibration: Calibration) -> None:
    lower = dataclasses.replace(calibration, peaks=calibration.peaks - 100)
    assert region_limit(lower, 0.05) == 0


# --- As tensors ---


def handed_over(calibration: Calibration) -> tuple[dict[str, Tensor], dict]:
    tensors, document = calibration.to_tensors()
    return dict(tensors), json.loads(json.dumps(document))


def test_tensors_hold_all_of_it(calibration: Calibration) -> None:
    again = Calibration.from_tensors(*handed_over(calibration))
    assert again.to_tensors()[1] == calibration.to_tensors()[1]
    assert again.classes == CLASSES and again.kinds == KINDS
    for name, value in calibration.to_tensors()[0].items():
        assert torch.equal(again.to_tensors()[0][name], value), name
    for one, other in zip(again.scales, calibration.scales, strict=True):
        assert torch.equal(one.known.steps, other.known.steps)
        assert torch.equal(one.familiarity.centres, other.familiarity.centres)


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor], dict], None]:
    return lambda tensors, document: tensors.update({name: change(tensors[name])})


def documented(**values: object) -> Callable[[dict[str, Tensor], dict], None]:
    return lambda tensors, document: document.update(values)


@pytest.mark.parametrize(
    "damage",
    [
        changed("scales/0/maps", lambda value: value[:-1]),
        changed("scales/1/maps", lambda value: value * torch.nan),
        changed("places", lambda value: value[..., :-1]),
        changed("places", lambda value: value.float()),
        changed("peaks", lambda value: value[:0]),
        changed("peaks", lambda value: value.flip(0)),
        changed("scales/0/pixels", lambda value: value.double()),
        changed("scales/0/known/native", lambda value: value.flip(0)),
        changed("scales/0/unknown/strange", lambda value: value[None]),
        changed("scales/0/known/steps", lambda value: value[:, :1]),
        changed("scales/0/known/steps", lambda value: value.flip(0)),
        changed("scales/0/familiarity/centres", lambda value: value[:-1]),
        changed("scales/0/familiarity/precision", lambda value: value[0]),
        changed("scales/0/familiarity/basis", lambda value: value[0]),
        changed("scales/0/familiarity/spread", torch.zeros_like),
        changed("scales/0/familiarity/rest", torch.neg),
        changed("scales/0/texture", lambda value: value[0]),
        lambda tensors, document: tensors.pop("scales/1/unknown/native"),
        lambda tensors, document: document.pop("kinds"),
        documented(kinds=[*KINDS[:2], "jpeg:many"]),
        documented(kinds=[*KINDS[:2], 3]),
        documented(kinds=5),
        documented(classes=["native"]),
        documented(scales=3),
        documented(scales=0),
        documented(scales=10**9),
        documented(scales=True),
        documented(photographs="300"),
    ],
)
def test_damaged_tensors_are_refused_in_one_line(
    calibration: Calibration, damage: Callable[[dict[str, Tensor], dict], None]
) -> None:
    tensors, document = handed_over(calibration)
    damage(tensors, document)
    with pytest.raises(ValueError, match=r"^this is no calibration: [^\n]+$"):
        Calibration.from_tensors(tensors, document)


def test_kinds_of_the_panel_are_kinds() -> None:
    for kind in (*KINDS, "avif", "jpeg:5", "jpeg:100:4:2:0"):
        assert calibrations.KIND.fullmatch(kind)
