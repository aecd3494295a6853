"""How often seeds attain a PSNR and an accuracy at once: the fronts of single seeds as a distribution.

    surfaces(table)               what a quarter, half and three quarters of the seeds attain
    spread(table)                 how far the fronts of seeds lie apart: Vorob'ev deviation
    differences(table, "isp", …)  where one ISP attains more often than another, and by how much

A seed *attains* a point of the plane (PSNR, accuracy) if a setting on its front is at least as good in both. The share
of the seeds that do is the empirical attainment function of the point (Grunert da Fonseca, Fonseca & Hall 2001). What a
given share attains is bounded by a staircase, which is given by its outer corners.

Fronts are those of :mod:`study.results.fronts`, one for each seed: the validation photographs decide which settings are
on them. With ``on_test`` these settings stand where the test photographs put them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
import pandas as pd

from study.results import fronts
from study.results.comparison import matches
from study.results.runs_table import TEST, axes, finished, one_a_seed

SHARES = (0.25, 0.5, 0.75)
LEAST = 3  # seeds that bands need
ROUNDING = 1e-9  # of areas, relatively
EXPECTATION = "expectation"  # the surface of Vorob'ev's expectation

BySeed = Mapping[int, np.ndarray]  # points (k, 2) of the front of every seed: PSNR (dB), accuracy (fraction of 1)


def surfaces(table: pd.DataFrame, on_test: bool = False) -> pd.DataFrame:
    """Compute what given shares of the seeds attain, per camera, ISP and further axes with enough seeds.

    Args:
        table: from :func:`study.results.trials` or :func:`study.results.behind`.
        on_test: on the test photographs; seeds with a trial that lacks them do not count.

    Returns:
        Columns ``camera``, ``isp``, further axes, ``surface`` ("25 %", "50 %", "75 %" or "expectation"), and the
        corners ``psnr`` (dB, rising) and ``accuracy`` (fraction of 1, falling). Empty where no group has
        :data:`LEAST` seeds.
    """
    parts = []
    by = ["camera", "isp", *axes(finished(table))]
    for place, by_seed, _ in _groups(table, on_test):
        if len(by_seed) >= LEAST:
            found = {f"{share:.0%}".replace("%", " %"): attained(by_seed, share) for share in SHARES}
            for name, corners in (found | {EXPECTATION: expectation(by_seed)[0]}).items():
                parts.append(pd.DataFrame(corners, columns=["psnr", "accuracy"]).assign(**place, surface=name))
    columns = [*by, "surface", "psnr", "accuracy"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def spread(table: pd.DataFrame, on_test: bool = False) -> pd.DataFrame:
    """Compute the mean hypervolume of the fronts of seeds and their Vorob'ev deviation.

    Args:
        table, on_test: as in :func:`surfaces`.

    Returns:
        Columns ``camera``, ``isp``, further axes, ``seeds`` and the fewest and most ``trials`` of one of them
        (``trials_low``, ``trials_high``), then, NaN below :data:`LEAST` seeds, ``hypervolume`` (mean, above the
        reference point of :mod:`study.results.fronts`), ``share`` (of the seeds that attain Vorob'ev's expectation)
        and ``deviation`` (in units of the hypervolume). A row for every group, with seeds or without.
    """
    rows = []
    for place, by_seed, trials in _groups(table, on_test):
        row: dict[str, Any] = {**place, "seeds": len(by_seed), "trials_low": min(trials), "trials_high": max(trials)}
        if len(by_seed) >= LEAST:
            corners, share = expectation(by_seed)
            volume = np.mean([_hypervolume(points) for points in by_seed.values()])
            row |= {"hypervolume": volume, "share": share, "deviation": deviation(by_seed, corners)}
        rows.append(row)
    known = ["seeds", "trials_low", "trials_high", "hypervolume", "share", "deviation"]
    return pd.DataFrame(rows, columns=["camera", "isp", *axes(finished(table)), *known])


@dataclass(frozen=True)
class Difference:
    """Where one of two attains more often than the other: of one camera, or whatever else the two share."""

    place: dict[str, Any]  # what they share: camera, ISP, further axes
    seeds: int  # that both have
    rectangles: (
        pd.DataFrame
    )  # psnr_low, accuracy_low (−inf where nothing bounds it), psnr_high, accuracy_high, difference
    medians: tuple[np.ndarray, np.ndarray]  # corners (m, 2) of what half of the seeds of each attain


def differences(table: pd.DataFrame, axis: str, first: str, second: str, on_test: bool = False) -> list[Difference]:
    """Find where ``first`` attains more often than ``second``, two values of an axis, and by how much.

    Places pair as in :func:`study.results.at_equal_psnr`; pairs that share fewer than :data:`LEAST` seeds are left out.
    ``difference`` is the share of the seeds that attain a rectangle with ``first`` minus that with ``second``; where it
    is zero there is no rectangle.
    """
    found = []
    for place, *sides in matches(table, axis, first, second)[1]:
        both = [_by_seed(side, on_test) for side in sides]
        seeds = sorted(both[0].keys() & both[1].keys())
        if len(seeds) >= LEAST:
            left, right = ({seed: side[seed] for seed in seeds} for side in both)
            columns = ["psnr_low", "accuracy_low", "psnr_high", "accuracy_high", "difference"]
            rectangles = pd.DataFrame(difference(left, right), columns=columns)
            found.append(Difference(place, len(seeds), rectangles, (attained(left, 0.5), attained(right, 0.5))))
    return found


def attained(by_seed: BySeed, share: float) -> np.ndarray:
    """Find what at least this share of the seeds attain: the corners (m, 2) of its staircase, by rising PSNR."""
    points, sets = _stacked(by_seed)
    corners = -moocore.eaf(-points, sets, percentiles=[100 * share])[:, :2]  # it minimises
    return corners[corners[:, 0].argsort()]


def expectation(by_seed: BySeed) -> tuple[np.ndarray, float]:
    """Find Vorob'ev's expectation: of all attained by some share, the smallest not below the mean hypervolume.

    moocore.vorob_t stops at either side of the mean, and too early where shares attain the same, so the shares of n
    seeds are tried one by one (Vorob'ev; Binois, Ginsbourger & Roustant 2015).

    Returns:
        The corners (m, 2) of its staircase, and the share.
    """
    mean = np.mean([_hypervolume(points) for points in by_seed.values()])
    for count in range(len(by_seed), 1, -1):
        share = count / len(by_seed)
        corners = attained(by_seed, share)
        if _hypervolume(corners) >= mean * (1 - ROUNDING):
            return corners, share
    return attained(by_seed, 1 / len(by_seed)), 1 / len(by_seed)  # the union of all, which is never below


def deviation(by_seed: BySeed, corners: np.ndarray) -> float:
    """Compute the mean area in which seeds and their expectation differ: one attains it, the other does not.

    Args:
        corners: of the expectation.
    """
    points, sets = _stacked(by_seed)
    return moocore.vorob_dev(-points, sets, ref=-np.array(fronts.REFERENCE["psnr"]), ve=-corners)


def difference(first: BySeed, second: BySeed) -> np.ndarray:
    """Subtract the shares of seeds that attain a point, first − second, of equally many.

    Returns:
        (k, 5) rectangles of constant difference, none of zero: low ends of PSNR and accuracy (−inf where nothing
        bounds it), high ends, difference (−1 to 1).

    Raises:
        ValueError: one has more seeds than the other.
    """
    if len(first) != len(second):  # moocore would count some of one's for the other
        raise ValueError(f"differences need as many seeds on both sides, not {len(first)} and {len(second)}")
    sides = [np.column_stack(_stacked(side)) for side in (first, second)]
    try:
        found = moocore.eafdiff(*sides, intervals=len(first), maximise=True, rectangles=True)
    except ValueError:  # moocore 0.3.2 fails where the two nowhere differ
        return np.empty((0, 5))
    found = found[found[:, 4] != 0]
    ends = np.sort(found[:, :4].reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    return np.column_stack([ends, found[:, 4] / len(first)])


def _groups(table: pd.DataFrame, on_test: bool) -> Iterator[tuple[dict[str, Any], BySeed, "pd.Series[int]"]]:
    """What names each camera, ISP and further axes, the fronts of its seeds, and how many trials a seed has."""
    table = one_a_seed(finished(table))
    by = ["camera", "isp", *axes(table)]
    table = table[[*by, "seed", *_coordinates(on_test)]]  # groups copy their columns
    for values, group in table.groupby(by, dropna=False):
        yield dict(zip(by, values, strict=True)), _by_seed(group, on_test), group.groupby("seed").size()


def _by_seed(group: pd.DataFrame, on_test: bool) -> BySeed:
    """The front of every seed whose trials all have the coordinates."""
    columns = _coordinates(on_test)
    by_seed = {int(seed): rows.to_numpy(float) for seed, rows in group.groupby("seed")[columns]}
    return {seed: fronts.chosen(points) for seed, points in by_seed.items() if not np.isnan(points).any()}


def _coordinates(on_test: bool) -> list[str]:
    """The columns that :func:`study.results.fronts.chosen` takes."""
    return ["psnr", "accuracy", *([f"{TEST}psnr", f"{TEST}accuracy"] if on_test else [])]


def _stacked(by_seed: BySeed) -> tuple[np.ndarray, np.ndarray]:
    """All points (k, 2), and the number of the seed of each (k,), seeds in a row as moocore needs them."""
    return np.concatenate([*by_seed.values()]), np.repeat(np.arange(len(by_seed)), [*map(len, by_seed.values())])


def _hypervolume(points: np.ndarray) -> float:
    return float(moocore.hypervolume(points, fronts.REFERENCE["psnr"], maximise=True))
