"""Fronts of fidelity against accuracy: which settings lie on them, the area below, what they offer at a given point.

    front(points, "psnr")               non-dominated settings
    hypervolume(table, "psnr")          area between the front and a reference point
    accuracy_at(table, "psnr", 42.5)    accuracy that the front offers at 42.5 dB or better
    fidelity_at(table, "psnr", 0.9)     PSNR that it offers at 90 % or better

A front is that of the means over seeds, per camera × ISP and further axes; it includes the setting *fixed*. The
validation photographs decide which settings are on it. With ``on_test`` these settings stand where the test photographs
put them, and what is read off is of the test.

Intervals over seeds are 95 % intervals by the jackknife: Student's t around the value of the front of the means, with a
standard error from the fronts of the means without one seed each (Tukey; Efron & Stein 1981). For a linear measure they
equal Student's intervals. In simulations (tests/study/results/test_coverage.py) they cover the value of the front of
infinitely many seeds in 92 to 97 % of cases, for 2 to 10 seeds; a percentile bootstrap does in 34 to 93 %.
"""

import math
from collections.abc import Callable, Sequence

import moocore
import numpy as np
import pandas as pd

from study.results.runs_table import TEST, axes, finished, one_a_seed
from study.results.statistics import POSSIBLE, interval

# Worse than anything of use, and the same for every study, so that hypervolumes can be compared: 20 dB, SSIM 0.5,
# and one in five classes guessed right. What lies below adds nothing.
REFERENCE = {"psnr": (20.0, 0.2), "ssim": (0.5, 0.2), "ssim_paper": (0.5, 0.2)}

Measure = Callable[[np.ndarray], float]  # of points (k, 2): fidelity, accuracy


def front(points: pd.DataFrame, fidelity: str, within: Sequence[str] | None = None) -> pd.DataFrame:
    """Select the non-dominated rows in (fidelity, accuracy), both to be maximised; equal points all stay.

    Args:
        points: from :func:`study.results.summary`, or from :func:`study.results.trials` for the fronts of single seeds.
        fidelity: "psnr", "ssim" or "ssim_paper".
        within: columns that separate one front from the next; by default camera, ISP and further axes.

    Returns:
        The rows on a front, by group and then by rising fidelity.

    Raises:
        ValueError: no such fidelity.
    """
    _check(fidelity)
    within = ["camera", "isp", *axes(points)] if within is None else list(within)
    points = points.dropna(subset=[fidelity, "accuracy"])
    if points.empty:
        return points
    sets = points.groupby(within, dropna=False).ngroup().to_numpy() if within else np.zeros(len(points), int)
    points = points.iloc[np.argsort(sets, kind="stable")]
    keep = moocore.is_nondominated_within_sets(
        points[[fidelity, "accuracy"]].to_numpy(float), np.sort(sets), maximise=True, keep_weakly=True
    )
    return points[keep].sort_values([*within, fidelity], ignore_index=True)


def hypervolume(table: pd.DataFrame, fidelity: str, each_seed: bool = False, on_test: bool = False) -> pd.DataFrame:
    """Compute the area between each front and the reference point, in units of the fidelity (accuracy is a fraction).

    Args:
        table: from :func:`study.results.trials`.
        fidelity: one of :data:`REFERENCE`, which holds its reference point.
        each_seed: the fronts of single seeds instead of that of their means.
        on_test: the settings of the front stand where the test photographs put them. NaN where a trial has none.

    Returns:
        Columns ``camera``, ``isp``, further axes, then ``seeds`` (how many), ``hypervolume``, ``hypervolume_low`` and
        ``hypervolume_high`` (NaN for one seed); or ``seed`` and ``hypervolume`` for each seed.
    """
    reference = REFERENCE[_check(fidelity)]
    return _over_fronts(
        table,
        fidelity,
        "hypervolume",
        lambda points: float(moocore.hypervolume(points, reference, maximise=True)),
        each_seed,
        on_test,
    )


def accuracy_at(
    table: pd.DataFrame, fidelity: str, at: float, each_seed: bool = False, on_test: bool = False
) -> pd.DataFrame:
    """Read off the accuracy that each front offers where the fidelity is at least ``at``, linear between its settings.

    Args:
        at: dB, or SSIM.

    Returns:
        As :func:`hypervolume`, with ``accuracy``. NaN where the front does not reach ``at``; there is no interval where
        it does not reach without one of the seeds.
    """
    return _over_fronts(table, _check(fidelity), "accuracy", lambda points: along(points, at), each_seed, on_test)


def fidelity_at(
    table: pd.DataFrame, fidelity: str, at: float, each_seed: bool = False, on_test: bool = False
) -> pd.DataFrame:
    """Read off the fidelity where the accuracy is at least ``at`` (fraction of 1), as :func:`accuracy_at` does."""
    return _over_fronts(
        table, _check(fidelity), fidelity, lambda points: along(points[:, ::-1], at), each_seed, on_test
    )


def along(points: np.ndarray, at: float) -> float:
    """Read off the second coordinate on the front of points (k, 2) where the first is ``at``; NaN beyond the front.

    Below the front's smallest first coordinate it is the front's largest second one.
    """
    best = points[moocore.is_nondominated(points, maximise=True, keep_weakly=False)]
    best = best[best[:, 0].argsort()]
    return float(np.interp(at, best[:, 0], best[:, 1], right=math.nan))


def chosen(points: np.ndarray) -> np.ndarray:
    """Select the settings on a front: (k, 2) or (k, 4) -> (m, 2), the last two coordinates of them.

    The first two decide, fidelity and accuracy on the validation photographs. Of four, the last two are on the test.
    """
    points = points[~np.isnan(points).any(axis=1)]
    on_front = moocore.is_nondominated(points[:, :2], keep_weakly=True, maximise=True) if len(points) else []
    return points[on_front][:, -2:]


def _over_fronts(
    table: pd.DataFrame, fidelity: str, name: str, measure: Measure, each_seed: bool, on_test: bool
) -> pd.DataFrame:
    table = one_a_seed(finished(table))
    by = ["camera", "isp", *axes(table)]
    coordinates = [fidelity, "accuracy", *([TEST + fidelity, TEST + "accuracy"] if on_test else [])]
    rows = []
    table = table[[*by, "lam", "seed", *coordinates]]  # groups copy their columns
    for values, group in table.groupby(by, dropna=False):
        head = dict(zip(by, values, strict=True))
        seeds = np.sort(group["seed"].unique())
        cube = _cube(group, coordinates, seeds)
        if np.isnan(group[coordinates[2:]].to_numpy(float)).any():  # means of test and validation would differ in seeds
            cube = np.full_like(cube, math.nan)
        everything = _apply(measure, _mean(cube))
        if each_seed:
            rows += [{**head, "seed": seed, name: _apply(measure, cube[:, i])} for i, seed in enumerate(seeds)]
        else:
            low, high = _interval(cube, measure, everything)
            least, greatest = POSSIBLE.get(name, (-math.inf, math.inf))
            bounds = {name + "_low": max(low, least), name + "_high": min(high, greatest)}
            rows.append({**head, "seeds": len(seeds), name: everything, **bounds})
    columns = [*by, "seed", name] if each_seed else [*by, "seeds", name, name + "_low", name + "_high"]
    return pd.DataFrame(rows, columns=columns)


def _cube(group: pd.DataFrame, coordinates: list[str], seeds: np.ndarray) -> np.ndarray:
    """(settings, seeds, coordinates), NaN where a trial is missing."""
    setting = group.groupby("lam", dropna=False).ngroup().to_numpy()
    values = np.full((setting.max() + 1, len(seeds), len(coordinates)), math.nan)
    values[setting, np.searchsorted(seeds, group["seed"])] = group[coordinates].to_numpy(float)
    return values


def _mean(cube: np.ndarray) -> np.ndarray:
    """Means over the seeds of each setting that there are: (settings, seeds, m) -> (settings, m)."""
    known = ~np.isnan(cube)
    number = known.sum(axis=1)
    return np.divide(
        np.where(known, cube, 0).sum(axis=1), number, out=np.full(number.shape, math.nan), where=number > 0
    )


def _interval(cube: np.ndarray, measure: Measure, value: float) -> tuple[float, float]:
    """95 % jackknife interval over seeds; NaN for one seed, or where the measure is unknown without one of them."""
    n = cube.shape[1]
    without = np.array([_apply(measure, _mean(np.delete(cube, seed, axis=1))) for seed in range(n)])
    # The pseudo-values n·θ − (n − 1)·θ₋ᵢ have n − 1 times the standard deviation of the θ₋ᵢ.
    std = (n - 1) * without.std(ddof=1) if n > 1 else math.nan
    low, high = interval(np.array(value), np.array(std), np.array(n))
    return float(low), float(high)


def _apply(measure: Measure, points: np.ndarray) -> float:
    points = chosen(points)
    return measure(points) if len(points) else math.nan


def _check(fidelity: str) -> str:
    if fidelity not in REFERENCE:
        raise ValueError(f"unknown fidelity {fidelity!r}: use psnr, ssim or ssim_paper")
    return fidelity
