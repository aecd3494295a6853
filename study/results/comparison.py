"""Two ISPs, or two values of another axis, at equal PSNR: the accuracy that their fronts offer, paired by seed.

For every seed the accuracies are read off the two fronts of that seed (:mod:`study.results.fronts`) at the same
PSNRs, and subtracted. Intervals are Student's t at 95 % of these differences.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from study.results import fronts
from study.results.runs_table import TEST, TRAININGS, axes, finished, one_a_seed
from study.results.statistics import interval, means

STEPS = (0.5, 1.0, 2.0, 5.0, 10.0)  # dB between the PSNRs compared: the smallest with at most
PLACES = 6  # of them

Match = tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]  # what two groups of trials share, and the two


def at_equal_psnr(table: pd.DataFrame, axis: str, first: str, second: str, on_test: bool = False) -> pd.DataFrame:
    """Compare ``first`` with ``second``, two values of the axis, along their fronts.

    The PSNRs are round numbers that both fronts of the means, and the fronts of all seeds that the two share, offer; or
    those of the seeds themselves, where one of the two has but one setting.
    Further axes pair as camera and ISP do. A setting of the training that varies within one of the two values alone
    makes a comparison for each of its values.

    Args:
        table: from :func:`study.results.trials` or :func:`study.results.behind`.
        axis: "isp", or a further axis of the study, such as "channel.rounding".
        on_test: as in :func:`study.results.fronts.accuracy_at`.

    Returns:
        A row per seed: what the pair shares (``camera``, ``isp``, further axes), ``at`` (dB), ``seed``, ``first`` and
        ``second`` (accuracies, fractions of 1) and ``difference`` (first − second). Empty where the fronts share no
        PSNR or no seed.
    """
    shared, pairs = matches(table, axis, first, second)
    parts = [_pairs(left, right, on_test).assign(**place) for place, left, right in pairs]
    columns = [*shared, "at", "seed", "first", "second", "difference"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def matches(table: pd.DataFrame, axis: str, first: str, second: str) -> tuple[list[str], list[Match]]:
    """Pair the finished trials of two values of an axis where all else is the same, see :func:`at_equal_psnr`.

    Returns:
        The names of what pairs share (``camera``, ``isp``, further axes), and for every pair its values of these, the
        trials of ``first`` and those of ``second``.
    """
    table = one_a_seed(finished(table))
    sides = [table[table[axis] == value] for value in (first, second)]
    own = [[name for name in ["camera", "isp", *axes(side)] if name != axis] for side in sides]
    names = [*dict.fromkeys([*own[0], *own[1]])]
    shared = [name for name in names if (name in own[0] and name in own[1]) or _must_be_equal(name, sides)]
    pairs = []
    for key, left in sides[0].groupby(own[0], dropna=False):
        for other, right in sides[1].groupby(own[1], dropna=False):
            if all(str(left[name].iloc[0]) == str(right[name].iloc[0]) for name in shared):
                pairs.append((dict(zip(own[1], other, strict=True)) | dict(zip(own[0], key, strict=True)), left, right))
    return names, pairs


def _must_be_equal(name: str, sides: Sequence[pd.DataFrame]) -> bool:
    """Whether an axis of one side alone pairs nevertheless: a channel does, how an ISP is trained is its own affair."""
    first, second = (set(side[name].map(str)) for side in sides)
    return not name.startswith(TRAININGS) and bool(first & second)


def over_all(pairs: pd.DataFrame, within: Sequence[str] = ()) -> pd.DataFrame:
    """Compute the mean difference and its interval over seeds, at every PSNR and over all of them.

    Args:
        pairs: from :func:`at_equal_psnr`.
        within: the columns that tell comparisons apart; what differs besides, such as the camera, is averaged first,
            for each seed that all of them have.

    Returns:
        Columns ``within``, ``at`` (dB; NaN for the mean over all), ``seeds``, the means ``first`` and ``second``,
        ``difference``, ``difference_low`` and ``difference_high`` (NaN for one seed). Where several cameras are
        averaged, they may offer different PSNRs: then only the mean over all of each camera's is there.
    """
    names = ["first", "second", "difference"]
    place = [name for name in pairs if name not in ("at", "seed", *names)]
    rows = []
    for values, group in pairs.groupby(list(within), dropna=False) if len(within) else [((), pairs)]:
        group = group.assign(comparison=group.groupby(place, dropna=False).ngroup())
        comparisons = group["comparison"].nunique()
        for at in [*(sorted(group["at"].unique()) if comparisons == 1 else []), math.nan]:
            chosen = group if np.isnan(at) else group[group["at"] == at]
            seeds = chosen.groupby(["comparison", "seed"])[names].mean().groupby("seed")  # means over PSNRs
            by_seed = seeds.mean()[seeds.size() == comparisons]
            if by_seed.empty:
                continue
            mean, std = by_seed.mean(), by_seed["difference"].std()
            low, high = interval(np.array(mean["difference"]), np.array(std), np.array(len(by_seed)))
            bounds = {"difference_low": float(low), "difference_high": float(high)}
            rows.append({**dict(zip(within, values, strict=True)), "at": at, "seeds": len(by_seed), **mean, **bounds})
    columns = [*within, "at", "seeds", *names, "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=columns)


def _pairs(left: pd.DataFrame, right: pd.DataFrame, on_test: bool) -> pd.DataFrame:
    """The two sides at every PSNR that they share, by seed; each side is of one camera, ISP and further axes.

    A side of one setting has no front: its seeds are compared each at its own PSNR, and ``at`` is their mean.
    """
    seeds = sorted(set(left["seed"]) & set(right["seed"]))
    sides = [side[side["seed"].isin(seeds)] for side in (left, right)]
    single = next((side for side in sides if side["lam"].nunique(dropna=False) == 1), None)
    found = []
    if single is not None:
        own = single.set_index("seed")[f"{TEST}psnr" if on_test else "psnr"]
        each = [_at([side[side["seed"] == seed] for side in sides], own[seed], on_test) for seed in seeds]
        found = [pd.concat(each).assign(at=own.mean())] if each else []
    elif seeds:
        found = [_at(sides, at, on_test) for at in _places(sides, on_test)]
    found = [both for both in found if both.notna().all(axis=None)]
    pairs = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["seed", "first", "second", "at"])
    return pairs.assign(difference=pairs["first"].astype(float) - pairs["second"].astype(float))


def _at(sides: Sequence[pd.DataFrame], at: float, on_test: bool) -> pd.DataFrame:
    """What the two sides offer at a PSNR, by seed; NaN where the front of a seed does not reach it."""
    read = [fronts.accuracy_at(side, "psnr", at, each_seed=True, on_test=on_test) for side in sides]
    first, second = (found.set_index("seed")["accuracy"] for found in read)
    return pd.DataFrame({"first": first, "second": second}).reset_index().assign(at=at)


def _places(sides: Sequence[pd.DataFrame], on_test: bool) -> list[float]:
    """Round PSNRs between the ends of the fronts of the means; the middle where there is no round one."""
    columns = ["psnr", "accuracy", *([f"{TEST}psnr", f"{TEST}accuracy"] if on_test else [])]
    reach = [fronts.chosen(means(side)[columns].to_numpy(float))[:, 0] for side in sides]
    if not all(len(found) for found in reach):
        return []
    low, high = max(found.min() for found in reach), min(found.max() for found in reach)
    if low > high:
        return []
    for step in STEPS:
        found = step * np.arange(math.ceil(low / step), math.floor(high / step) + 1)
        if 0 < len(found) <= PLACES:
            return [float(at) for at in found]
    return [float((low + high) / 2)]
