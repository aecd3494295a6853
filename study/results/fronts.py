"""Fronts of fidelity against accuracy: which settings lie on them, the area below, what they offer at a given point.

    front(points, "psnr")               non-dominated settings
    hypervolume(table, "psnr")          area between the front and a reference point
    accuracy_at(table, "psnr", 42.5)    accuracy that the front offers at 42.5 dB or better
    fidelity_at(table, "psnr", 0.9)     PSNR that it offers at 90 % or better

A front is that of the means over seeds, per camera × ISP and further axes; it includes the setting *fixed*. Intervals
are 95 % percentile bootstrap intervals over seeds: seeds are drawn with replacement, the same for all λ, and every
draw has means and a front of its own.
"""

import math
from collections.abc import Callable, Sequence

import moocore
import numpy as np
import pandas as pd

from study.results.runs_table import axes, finished

# Worse than anything of use, and the same for every study, so that hypervolumes can be compared: 20 dB, SSIM 0.5,
# and one in five classes guessed right. What lies below adds nothing.
REFERENCE = {"psnr": (20.0, 0.2), "ssim": (0.5, 0.2)}
RESAMPLES = 1000

Measure = Callable[[np.ndarray], float]  # of points (k, 2): fidelity, accuracy


def front(points: pd.DataFrame, fidelity: str, within: Sequence[str] | None = None) -> pd.DataFrame:
    """Select the non-dominated rows in (fidelity, accuracy), both to be maximised; equal points all stay.

    Args:
        points: from :func:`study.results.summary`, or from :func:`study.results.trials` for the fronts of single seeds.
        fidelity: "psnr" or "ssim".
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


def hypervolume(table: pd.DataFrame, fidelity: str, each_seed: bool = False) -> pd.DataFrame:
    """Compute the area between each front and the reference point, in units of the fidelity (accuracy is a fraction).

    Args:
        table: from :func:`study.results.trials`.
        fidelity: "psnr" or "ssim"; :data:`REFERENCE` holds its reference point.
        each_seed: the fronts of single seeds instead of that of their means.

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
    )


def accuracy_at(table: pd.DataFrame, fidelity: str, at: float, each_seed: bool = False) -> pd.DataFrame:
    """Read off the accuracy that each front offers where the fidelity is at least ``at``, linear between its settings.

    Args:
        at: dB, or SSIM.

    Returns:
        As :func:`hypervolume`, with ``accuracy``. NaN where the front does not reach ``at``; a bound of the interval
        is NaN where it lies among the draws that do not reach it.
    """
    return _over_fronts(table, _check(fidelity), "accuracy", lambda points: along(points, at), each_seed)


def fidelity_at(table: pd.DataFrame, fidelity: str, at: float, each_seed: bool = False) -> pd.DataFrame:
    """Read off the fidelity where the accuracy is at least ``at`` (fraction of 1), as :func:`accuracy_at` does."""
    return _over_fronts(table, _check(fidelity), fidelity, lambda points: along(points[:, ::-1], at), each_seed)


def along(points: np.ndarray, at: float) -> float:
    """Read off the second coordinate on the front of points (k, 2) where the first is ``at``; NaN beyond the front.

    Below the front's smallest first coordinate it is the front's largest second one.
    """
    best = points[moocore.is_nondominated(points, maximise=True, keep_weakly=False)]
    best = best[best[:, 0].argsort()]
    return float(np.interp(at, best[:, 0], best[:, 1], right=math.nan))


def _over_fronts(table: pd.DataFrame, fidelity: str, name: str, measure: Measure, each_seed: bool) -> pd.DataFrame:
    table = finished(table)
    by = ["camera", "isp", *axes(table)]
    rows = []
    for values, group in table.groupby(by, dropna=False):
        head = dict(zip(by, values, strict=True))
        seeds = np.sort(group["seed"].unique())
        cube = _cube(group, fidelity, seeds)
        if each_seed:
            rows += [
                {**head, "seed": seed, name: _apply(measure, cube[:, number])} for number, seed in enumerate(seeds)
            ]
        else:
            low, high = _interval(cube, measure)
            mean = _apply(measure, _means(cube, np.ones((1, len(seeds))))[0])
            rows.append({**head, "seeds": len(seeds), name: mean, name + "_low": low, name + "_high": high})
    columns = [*by, "seed", name] if each_seed else [*by, "seeds", name, name + "_low", name + "_high"]
    return pd.DataFrame(rows, columns=columns)


def _cube(group: pd.DataFrame, fidelity: str, seeds: np.ndarray) -> np.ndarray:
    """(settings, seeds, 2) fidelity and accuracy, NaN where a trial is missing."""
    setting = group.groupby("lam", dropna=False).ngroup().to_numpy()
    values = np.full((setting.max() + 1, len(seeds), 2), math.nan)
    values[setting, np.searchsorted(seeds, group["seed"])] = group[[fidelity, "accuracy"]].to_numpy(float)
    return values


def _means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means over seeds, each seed counted so many times: (settings, S, 2), (draws, S) -> (draws, settings, 2)."""
    total = np.einsum("ds,ksm->dkm", counts, np.nan_to_num(values))
    number = np.einsum("ds,ksm->dkm", counts, ~np.isnan(values))
    return np.divide(total, number, out=np.full_like(total, math.nan), where=number > 0)


def _interval(values: np.ndarray, measure: Measure) -> tuple[float, float]:
    """95 % bootstrap interval over seeds; NaN for one seed."""
    seeds = values.shape[1]
    if seeds < 2:
        return math.nan, math.nan
    draws = np.random.default_rng(0).integers(0, seeds, (RESAMPLES, seeds))
    counts = (draws[:, :, None] == np.arange(seeds)).sum(axis=1)
    distinct, which = np.unique(counts, axis=0, return_inverse=True)  # of few seeds there are few different draws
    found = np.array([_apply(measure, means) for means in _means(values, distinct)])[which]
    # A draw whose front does not reach is worse than any that does.
    bounds = np.percentile(np.nan_to_num(found, nan=-math.inf), [2.5, 97.5], method="inverted_cdf")
    low, high = (float(bound) if np.isfinite(bound) else math.nan for bound in bounds)
    return low, high


def _apply(measure: Measure, points: np.ndarray) -> float:
    points = points[~np.isnan(points).any(axis=1)]
    return measure(points) if len(points) else math.nan


def _check(fidelity: str) -> str:
    if fidelity not in REFERENCE:
        raise ValueError(f"unknown fidelity {fidelity!r}: use psnr or ssim")
    return fidelity
