"""Attainment over seeds: against counts over a lattice, the definition of Vorob'ev's deviation, and by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import results
from study.results import attainment, fronts
from study.results.attainment import BySeed, attained, deviation, difference, expectation

# Points lie on whole dB from 18 and on twentieths from 0, also beyond the reference point of hypervolumes (20 dB, 20 %)
# and on its edge; between them lie the middles of the cells of a lattice.
PSNRS, ACCURACIES = np.arange(18, 25.0), np.arange(0, 9) / 20
CELL = 1 / 20  # area, dB × fraction
LATTICE = np.stack(np.meshgrid(np.arange(17.5, 25.5), (np.arange(-1, 10) + 0.5) / 20), axis=-1).reshape(-1, 2)
CORNERS = np.stack(np.meshgrid(PSNRS, ACCURACIES), axis=-1).reshape(-1, 2)
COUNTED = np.all(fronts.REFERENCE["psnr"] < LATTICE, axis=1)  # cells that hypervolumes count

point = st.tuples(st.sampled_from(PSNRS), st.sampled_from(ACCURACIES))
points = st.lists(point, min_size=1, max_size=5).map(lambda found: np.array(found, float))  # dominated and equal, too
by_seed = st.lists(points, min_size=1, max_size=6).map(lambda found: dict(enumerate(found)))


def attains(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Whether a point is at least as good in both: (k, 2), (n, 2) -> (n,)."""
    return (points[None] >= places[:, None]).all(axis=2).any(axis=1)


def counts(by_seed: BySeed, places: np.ndarray) -> np.ndarray:
    return np.sum([attains(points, places) for points in by_seed.values()], axis=0)


@given(by_seed)
def test_what_a_share_attains_equals_a_count(by_seed: BySeed) -> None:
    n = len(by_seed)
    for share in {*attainment.SHARES, *(k / n for k in range(1, n + 1))}:
        corners = attained(by_seed, share)
        for places in (LATTICE, CORNERS):  # what lies on an edge is attained
            np.testing.assert_array_equal(attains(corners, places), counts(by_seed, places) >= share * n)
        assert (np.diff(corners[:, 0]) > 0).all()
        assert (np.diff(corners[:, 1]) < 0).all()


@given(st.integers(1, 5).flatmap(lambda n: st.tuples(*2 * [st.lists(points, min_size=n, max_size=n)])))
def test_differences_equal_counts(sides: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    first, second = (dict(enumerate(side)) for side in sides)
    found = np.zeros(len(LATTICE))
    for psnr_low, accuracy_low, psnr_high, accuracy_high, value in difference(first, second):
        psnr, accuracy = LATTICE.T
        inside = (psnr > psnr_low) & (psnr < psnr_high) & (accuracy > accuracy_low) & (accuracy < accuracy_high)
        assert value != 0
        assert (np.isin(found[inside], [0, value])).all()
        found[inside] = value
    np.testing.assert_allclose(found, (counts(first, LATTICE) - counts(second, LATTICE)) / len(first))


@given(by_seed)
def test_expectation_and_deviation_are_those_of_the_definition(by_seed: BySeed) -> None:
    cells = LATTICE[COUNTED]
    count = counts(by_seed, cells)
    mean = sum(attains(points, cells).sum() for points in by_seed.values()) / len(by_seed)
    # Of the sets that k of the seeds attain, the smallest that is not smaller than the mean.
    k = max(k for k in range(1, len(by_seed) + 1) if (count >= k).sum() >= mean - 1e-9)
    corners, share = expectation(by_seed)
    np.testing.assert_array_equal(attains(corners, cells), count >= k)
    assert share == pytest.approx(k / len(by_seed))
    differs = [(attains(points, cells) != (count >= k)).sum() for points in by_seed.values()]
    assert deviation(by_seed, corners) == pytest.approx(CELL * np.mean(differs), abs=1e-9)


def test_seeds_with_the_same_front_do_not_deviate() -> None:
    front = np.array([[30, 0.8], [35, 0.5]])
    same = dict.fromkeys(range(4), front)
    corners, share = expectation(same)
    np.testing.assert_array_equal(corners, front)
    assert share == 1
    assert deviation(same, corners) == pytest.approx(0)
    assert difference(same, same).shape == (0, 5)


def test_deviation_by_hand() -> None:
    """Areas 6, 4 and 2 dB: two of three seeds attain the middle one, from which the others differ by 2."""
    by_seed = {seed: np.array([[20 + psnr, 1.2]]) for seed, psnr in enumerate((6, 4, 2))}
    corners, share = expectation(by_seed)
    np.testing.assert_allclose(corners, [[24, 1.2]])
    assert share == pytest.approx(2 / 3)
    assert deviation(by_seed, corners) == pytest.approx(4 / 3)


def test_differences_need_as_many_seeds_on_both_sides() -> None:
    one = {0: np.array([[30, 0.8]])}
    with pytest.raises(ValueError, match="as many seeds on both sides, not 1 and 2"):
        difference(one, {0: one[0], 1: one[0]})


def trials(seeds: dict[int, float], isp: str = "UNet", camera: str = "Alpha", **axes: str) -> pd.DataFrame:
    """Two settings for each seed: 30 dB with this accuracy, 34 dB with 30 points less; on the test the other way up."""
    rows = [
        {"camera": camera, "isp": isp, "mode": "joint", "lam": lam, "seed": seed, "psnr": psnr, "accuracy": accuracy}
        | {"test_psnr": psnr - 1, "test_accuracy": 0.9 - accuracy}
        | axes
        for seed, top in seeds.items()
        for lam, psnr, accuracy in ((1e-3, 30.0, top), (1e-1, 34.0, top - 0.3), (1e-2, 29.0, top - 0.3))
    ]
    table = pd.DataFrame(rows)
    ids = [f"{camera} {isp} {sorted(axes.values())} {number}" for number in range(len(table))]
    others = dict.fromkeys({*results.METRICS, *results.TEST_METRICS} - set(table), math.nan)
    return table.assign(status="FINISHED", failure="", run_id=ids, trial_key=ids, **others)


FOUR = {1: 0.8, 2: 0.7, 3: 0.6, 4: 0.5}


def test_surfaces_and_spread_of_a_table() -> None:
    table = pd.concat([trials(FOUR), trials({1: 0.8, 2: 0.7}, "INet")])
    found = attainment.surfaces(table)
    assert set(found["isp"]) == {"UNet"}
    corners = found.groupby("surface")[["psnr", "accuracy"]].agg(list)
    for name, top in (("25 %", 0.8), ("50 %", 0.7), ("75 %", 0.6)):
        assert corners.loc[name, "psnr"] == [30, 34]
        assert corners.loc[name, "accuracy"] == pytest.approx([top, top - 0.3])
    spread = attainment.spread(table).set_index("isp")
    assert spread["seeds"].to_dict() == {"UNet": 4, "INet": 2}
    assert spread.loc["INet", ["hypervolume", "share", "deviation"]].isna().all()
    whole = fronts.hypervolume(trials(FOUR), "psnr", each_seed=True)["hypervolume"].mean()
    assert spread.loc["UNet", "hypervolume"] == pytest.approx(whole)


def test_a_seed_in_progress_is_told() -> None:
    table = trials(FOUR).iloc[:-1]
    found = attainment.spread(table).iloc[0]
    assert (found["trials_low"], found["trials_high"]) == (2, 3)


def test_on_the_test_photographs_validation_decides_what_is_on_a_front() -> None:
    """The setting of 29 dB is on no front, though on the test it is the best in accuracy."""
    table = trials(FOUR)
    found = attainment.surfaces(table, on_test=True)
    median = found[found["surface"] == "50 %"]
    assert list(median["psnr"]) == [33]
    assert list(median["accuracy"]) == pytest.approx([0.9 - 0.3])  # half of 0.9 − (top − 0.3), which rises as top falls
    table.loc[table["seed"].isin([1, 2]) & (table["lam"] == 1e-3), "test_psnr"] = math.nan
    assert attainment.spread(table, on_test=True)["seeds"].tolist() == [2]
    assert attainment.surfaces(table, on_test=True).empty


def test_differences_count_the_seeds_that_both_have() -> None:
    table = pd.concat([trials(FOUR), trials({2: 0.4, 3: 0.4, 4: 0.65, 5: 0.9}, "INet"), trials(FOUR, "INet", "Beta")])
    (found,) = attainment.differences(table, "isp", "UNet", "INet")
    assert found.place == {"camera": "Alpha"}
    assert found.seeds == 3
    assert [median[0, 1] for median in found.medians] == pytest.approx([0.6, 0.4])
    rectangles = found.rectangles
    assert rectangles["difference"].max() == pytest.approx(2 / 3)  # two of three seeds, without seed 1 and seed 5
    there = rectangles[(rectangles["psnr_low"] < 30) & (rectangles["psnr_high"] >= 30)]
    for accuracy, expected in ((0.75, 0), (0.68, 1 / 3), (0.62, 0), (0.55, 1 / 3), (0.45, 2 / 3), (0.35, 0)):
        inside = there[(there["accuracy_low"] < accuracy) & (there["accuracy_high"] > accuracy)]
        assert inside["difference"].sum() == pytest.approx(expected)
    back = attainment.differences(table, "isp", "INet", "UNet")[0].rectangles
    assert sorted(back["difference"]) == pytest.approx(sorted(-rectangles["difference"]))


def test_differences_of_an_axis_are_within_camera_and_isp() -> None:
    table = pd.concat(
        [
            trials({seed: top + gain for seed, top in FOUR.items()}, isp, **{"channel.rounding": rounding})
            for isp in ("UNet", "INet")
            for rounding, gain in (("sin", 0), ("straight-through", 0.1 if isp == "UNet" else -0.1))
        ]
    )
    found = attainment.differences(table, "channel.rounding", "straight-through", "sin")
    assert [pair.place for pair in found] == [{"camera": "Alpha", "isp": "INet"}, {"camera": "Alpha", "isp": "UNet"}]
    signs = [np.sign(pair.rectangles["difference"]) for pair in found]
    assert (signs[0] < 0).all()
    assert (signs[1] > 0).all()
    few = table[table["seed"] < 3]
    assert attainment.differences(few, "channel.rounding", "straight-through", "sin") == []
