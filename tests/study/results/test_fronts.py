"""Fronts against brute force, and what is read off them against figures computed by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from study.results import fronts

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30)


def trials(points: dict[float, list[tuple[float, float]]], camera: str = "Alpha", isp: str = "UNet") -> pd.DataFrame:
    """λ -> (PSNR, accuracy) of every seed; NaN for a missing one."""
    rows = [
        {"camera": camera, "isp": isp, "lam": lam, "seed": seed, "psnr": psnr, "ssim": psnr / 50, "accuracy": accuracy}
        for lam, seeds in points.items()
        for seed, (psnr, accuracy) in enumerate(seeds)
        if not math.isnan(psnr)
    ]
    ids = [f"{row['camera']}/{row['isp']}/{row['lam']}/{row['seed']}" for row in rows]
    return pd.DataFrame(rows).assign(mode="joint", status="FINISHED", failure="", trial_key=ids)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_front_equals_brute_force(rows: list[tuple[str, int, int]]) -> None:
    points = pd.DataFrame(rows, columns=["camera", "psnr", "accuracy"]).assign(isp="UNet", number=range(len(rows)))
    expected = {
        number
        for number, (camera, psnr, accuracy) in enumerate(rows)
        if not any(c == camera and p >= psnr and a >= accuracy and (p, a) != (psnr, accuracy) for c, p, a in rows)
    }
    front = fronts.front(points, "psnr")
    assert set(front["number"]) == expected
    assert all(group["psnr"].is_monotonic_increasing for _, group in front.groupby("camera"))


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_hypervolume_equals_the_number_of_dominated_cells(points: list[tuple[int, int]]) -> None:
    """On a grid: PSNR in steps of 1 dB from 17 dB on, accuracy in steps of 0.1 from 0: some lie below the reference."""
    first, least = fronts.REFERENCE["psnr"]
    table = trials({float(k): [(17.0 + x, 0.1 * y)] for k, (x, y) in enumerate(points)})
    below_psnr, below_accuracy = round(first - 17), round(least / 0.1)
    cells = {(x, y) for a, b in points for x, y in itertools.product(range(below_psnr, a), range(below_accuracy, b))}
    found = fronts.hypervolume(table, "psnr").iloc[0]
    assert found["hypervolume"] == pytest.approx(0.1 * len(cells), abs=1e-9)
    assert math.isnan(found["hypervolume_low"])  # one seed


@settings(max_examples=60, deadline=None)
@given(POINTS, st.integers(-1, 10))
def test_what_a_front_offers_lies_between_its_settings(points: list[tuple[int, int]], at: int) -> None:
    found = fronts.along(np.array(points, float), at)
    enough = [y for x, y in points if x >= at]
    if not enough:
        assert math.isnan(found)
        return
    # At least what the settings beyond offer, at most what any before does: and equal on a setting of the front.
    assert found >= max(enough)
    assert found <= max(y for _, y in points)
    beyond = max((y for x, y in points if x > at), default=-1)
    if max(enough) > beyond:  # a setting of the front stands at this very place
        assert found == max(enough)


def test_interpolation_along_the_front() -> None:
    table = trials({1e-3: [(30.0, 0.9)], 1e-2: [(36.0, 0.8)], 0.05: [(35.0, 0.5)], 1.0: [(40.0, 0.4)]})
    for at, expected in ((28, 0.9), (30, 0.9), (33, 0.85), (36, 0.8), (38, 0.6), (40, 0.4), (40.1, math.nan)):
        assert fronts.accuracy_at(table, "psnr", at)["accuracy"].iloc[0] == pytest.approx(expected, nan_ok=True)
    for at, expected in ((0.3, 40), (0.6, 38), (0.85, 33), (0.9, 30), (0.91, math.nan)):
        assert fronts.fidelity_at(table, "psnr", at)["psnr"].iloc[0] == pytest.approx(expected, nan_ok=True)
    assert fronts.fidelity_at(table, "ssim", 0.6)["ssim"].iloc[0] == pytest.approx(38 / 50)


def test_intervals_are_those_of_the_jackknife_over_seeds() -> None:
    table = trials({0.1: [(30.0, 0.9), (32.0, 0.7)], 1.0: [(40.0, 0.5), (40.0, 0.3)]})
    mean, single = fronts.accuracy_at(table, "psnr", 35.0), fronts.accuracy_at(table, "psnr", 35.0, each_seed=True)
    one, other = 0.7, 0.3 + 0.4 * 5 / 8
    assert list(single["accuracy"]) == pytest.approx([one, other])
    row = mean.iloc[0]
    value = 0.4 + 0.4 * 5 / 9  # of the front of the means, (31, 0.8) and (40, 0.4)
    half = 12.7062 * (one - other) / 2  # t of one degree of freedom; without one seed there is the other
    assert row["accuracy"] == pytest.approx(value)
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((max(0, value - half), min(1, value + half)))
    assert row["seeds"] == 2
    volumes = fronts.hypervolume(table, "psnr", each_seed=True)
    expected = [10 * 0.7 + 10 * 0.3, 12 * 0.5 + 8 * 0.1]
    assert list(volumes["hypervolume"]) == pytest.approx(expected)
    row = fronts.hypervolume(table, "psnr").iloc[0]
    bounds = row["hypervolume"] + 12.7062 * (expected[0] - expected[1]) / 2 * np.array([-1, 1])
    assert (row["hypervolume_low"], row["hypervolume_high"]) == pytest.approx(tuple(bounds), rel=1e-5)


def test_the_jackknife_of_one_setting_is_students_interval() -> None:
    """The area of one point is linear in its accuracy."""
    accuracy = np.array([0.5, 0.6, 0.8, 0.55, 0.9])
    row = fronts.hypervolume(trials({0.1: [(30.0, value) for value in accuracy]}), "psnr").iloc[0]
    bounds = stats.t.interval(0.95, 4, 10 * (accuracy.mean() - 0.2), 10 * stats.sem(accuracy))
    assert (row["hypervolume_low"], row["hypervolume_high"]) == pytest.approx(bounds)


def test_where_a_front_does_not_reach_without_a_seed_there_is_no_interval() -> None:
    table = trials({0.1: [(30.0, 0.9), (30.0, 0.9)], 1.0: [(40.0, 0.5), (36.0, 0.3)]})
    row = fronts.accuracy_at(table, "psnr", 37.0).iloc[0]  # the mean front ends at 38 dB, that of the second seed at 36
    assert not math.isnan(row["accuracy"])
    assert math.isnan(row["accuracy_low"])
    assert math.isnan(row["accuracy_high"])


def on_test(table: pd.DataFrame, places: dict[float, tuple[float, float]]) -> pd.DataFrame:
    """λ -> (PSNR, accuracy) on the test photographs, of every seed."""
    psnr, accuracy = (table["lam"].map({lam: place[number] for lam, place in places.items()}) for number in (0, 1))
    return table.assign(test_psnr=psnr, test_ssim=psnr / 50, test_accuracy=accuracy)


def test_validation_decides_which_settings_are_on_a_front() -> None:
    """λ = 0.05 is dominated in validation: on the test it would be the best of all, and must not count."""
    table = trials({0.1: [(30.0, 0.9)], 0.05: [(29.0, 0.8)], 1.0: [(40.0, 0.5)]})
    tested = on_test(table, {0.1: (31.0, 0.7), 0.05: (45.0, 1.0), 1.0: (39.0, 0.5)})
    assert fronts.hypervolume(tested, "psnr", on_test=True)["hypervolume"].iloc[0] == pytest.approx(11 * 0.5 + 8 * 0.3)
    assert fronts.accuracy_at(tested, "psnr", 35.0, on_test=True)["accuracy"].iloc[0] == pytest.approx(0.6)
    assert math.isnan(fronts.accuracy_at(tested, "psnr", 40.0, on_test=True)["accuracy"].iloc[0])
    pd.testing.assert_frame_equal(fronts.hypervolume(tested, "psnr"), fronts.hypervolume(table, "psnr"))


def test_a_trial_without_test_leaves_its_front_without() -> None:
    table = trials({0.1: [(30.0, 0.9), (30.0, 0.8)], 1.0: [(40.0, 0.5), (40.0, 0.5)]})
    tested = on_test(table, {0.1: (31.0, 0.7), 1.0: (39.0, 0.5)})
    tested.loc[1, "test_psnr"] = math.nan
    assert fronts.hypervolume(tested, "psnr", on_test=True)["hypervolume"].isna().all()


def test_a_seed_that_comes_twice_is_not_overwritten() -> None:
    table = trials({0.1: [(30.0, 0.9)]})
    with pytest.raises(ValueError, match=r"2 trials of Alpha · UNet · λ 0\.1 · seed 0"):
        fronts.hypervolume(pd.concat([table, table.assign(trial_key="other", accuracy=0.1)]), "psnr")


def test_a_missing_trial_leaves_the_others() -> None:
    table = trials({0.1: [(30.0, 0.9), (math.nan, math.nan)], 1.0: [(40.0, 0.5), (40.0, 0.3)]})
    assert fronts.accuracy_at(table, "psnr", 30.0)["accuracy"].iloc[0] == pytest.approx(0.9)
    assert fronts.accuracy_at(table, "psnr", 40.0)["accuracy"].iloc[0] == pytest.approx(0.4)
    single = fronts.accuracy_at(table, "psnr", 30.0, each_seed=True)
    assert list(single["accuracy"]) == pytest.approx([0.9, 0.3])


def test_groups_and_failures_stay_apart() -> None:
    table = pd.concat([trials({0.1: [(30.0, 0.9)]}), trials({0.1: [(30.0, 0.6)]}, isp="INet")])
    failed = trials({1.0: [(49.0, 1.0)]}).assign(status="FAILED", failure="killed")
    found = fronts.accuracy_at(pd.concat([table, failed]), "psnr", 25.0)
    assert dict(zip(found["isp"], found["accuracy"], strict=True)) == {"UNet": 0.9, "INet": 0.6}
    codecs = pd.concat([table.assign(**{"channel.codec": codec}) for codec in ("jpeg:50", "jpeg:80")])
    assert set(fronts.hypervolume(codecs, "ssim")["channel.codec"]) == {"jpeg:50", "jpeg:80"}
    assert len(fronts.front(codecs, "psnr")) == 4
    assert set(fronts.front(codecs, "psnr", within=[])["isp"]) == {"UNet"}


def test_nothing_and_nonsense() -> None:
    empty = trials({0.1: [(30.0, 0.9)]}).head(0)
    assert fronts.front(empty, "psnr").empty
    assert fronts.hypervolume(empty, "psnr").empty
    assert list(fronts.accuracy_at(empty, "psnr", 40, each_seed=True).columns) == ["camera", "isp", "seed", "accuracy"]
    with pytest.raises(ValueError, match="use psnr, ssim or ssim_paper"):
        fronts.front(empty, "PSNR")
    with pytest.raises(ValueError, match="use psnr, ssim or ssim_paper"):
        fronts.fidelity_at(empty, "accuracy", 0.5)
