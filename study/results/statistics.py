"""Statistics over seeds: means and intervals of every setting, gains of joint training, gaps behind real encoders.

Intervals are 95 % percentile bootstrap intervals of the mean over seeds, by scipy.
"""

import math

import numpy as np
import pandas as pd
from scipy import stats

from study.results.runs_table import CODEC, DIFFERENTIABLE, FIXED, METRICS, axes, finished, ordered, setting_columns

AT_ONCE = 200  # settings that are resampled at once: bounds the memory


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Compute statistics over seeds for every setting with at least one result.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes, ``seeds`` (how many), for each of
        accuracy, PSNR and SSIM the mean (``psnr``), sample standard deviation (``psnr_std``) and 95 %
        percentile bootstrap interval of the mean (``psnr_low``, ``psnr_high``), both NaN for one seed, and
        ``run_ids`` and ``trial_keys`` (tuples). Fixed comes last in each group.
    """
    table = finished(table)
    return _over_seeds(table, setting_columns(table), METRICS)


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Compute the means of :func:`summary` alone, which takes a fraction of its time."""
    table = finished(table)
    return ordered(table.groupby(setting_columns(table), dropna=False)[METRICS].mean().reset_index())


def gain(table: pd.DataFrame) -> pd.DataFrame:
    """Compute what joint training changes: joint minus fixed, paired by seed.

    Pairing removes what both share (initialisation of the FAN, data order). Returns the columns of
    :func:`summary`, where ``accuracy``, ``psnr`` and ``ssim`` are differences, ``fixed_accuracy`` and so on
    the means of the fixed partners, and ``seeds`` counts pairs. Settings without a pair are left out.
    """
    table = finished(table).astype({"lam": float})  # an empty column has no type of its own
    by, partners = setting_columns(table), ["camera", "isp", "seed", *axes(table)]
    of_fixed = ["fixed_" + metric for metric in METRICS]
    fixed = table[table["mode"] == FIXED].rename(columns=dict(zip(METRICS, of_fixed, strict=True)))
    pairs = table[table["mode"] != FIXED].merge(fixed[[*partners, *of_fixed]], on=partners)
    pairs[METRICS] -= pairs[of_fixed].to_numpy()
    partners_means = pairs.groupby(by, dropna=False)[of_fixed].mean().reset_index()
    return _over_seeds(pairs, by, METRICS).merge(partners_means, on=by)


def best_within(gains: pd.DataFrame, loss: float) -> pd.DataFrame:
    """Select per camera × ISP the joint setting with the greatest gain in accuracy that costs at most ``loss`` dB.

    Args:
        gains: from :func:`gain`.
        loss: greatest fall of the mean PSNR against fixed, dB; ``inf`` for any.
    """
    by = ["camera", "isp", *axes(gains)]
    affordable = gains[gains["psnr"] >= -loss].sort_values("accuracy", ascending=False, kind="stable")
    return affordable.drop_duplicates(by).sort_values(by, ignore_index=True)


def behind_codecs(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the accuracy of finished trials behind real encoders with that behind their own channel.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes, ``codec`` ("jpeg:50", "jpeg:50 4:2:0"),
        ``seeds``, and for ``accuracy`` (of the same trials and patches behind the trained channel), ``behind`` (the
        encoder) and ``gap`` (behind − accuracy, paired by trial) mean, ``_std``, ``_low`` and ``_high`` as in
        :func:`summary`. Empty where nothing was evaluated.
    """
    table = finished(table)
    by = [*setting_columns(table), "codec"]
    if DIFFERENTIABLE in table:
        table = table.assign(accuracy=table[DIFFERENTIABLE].fillna(table["accuracy"]))
    parts = [
        table.assign(codec=codec_name(column), behind=table[column], gap=table[column] - table["accuracy"])
        for column in table.columns
        if CODEC.fullmatch(column)
    ]
    pairs = pd.concat(parts).dropna(subset="behind") if parts else table.head(0).assign(codec="", behind=0.0, gap=0.0)
    return _over_seeds(pairs, by, ["accuracy", "behind", "gap"])


def codec_name(metric: str) -> str:
    """``accuracy_jpeg_50_420`` → ``jpeg:50 4:2:0``"""
    found = CODEC.fullmatch(metric)
    assert found, metric
    return f"{found[1]}:{found[2]}" + (f" {found[3]}:{found[4]}:{found[5]}" if found[3] else "")


def _over_seeds(table: pd.DataFrame, by: list[str], metrics: list[str]) -> pd.DataFrame:
    """Mean, standard deviation and bootstrap interval of the metrics, and run ids, per group."""
    groups = table.astype(dict.fromkeys(metrics, float)).groupby(by, dropna=False)
    seeds = groups.size()
    low, high = _intervals(table[metrics].to_numpy(float), groups.ngroup().to_numpy(), seeds.to_numpy())
    result = pd.DataFrame({"seeds": seeds})
    for column, metric in enumerate(metrics):
        result[metric] = groups[metric].mean()
        result[metric + "_std"] = groups[metric].std()
        result[metric + "_low"], result[metric + "_high"] = low[:, column], high[:, column]
    result["run_ids"], result["trial_keys"] = groups["run_id"].agg(tuple), groups["trial_key"].agg(tuple)
    return ordered(result.reset_index())


def _intervals(values: np.ndarray, group: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (groups, metrics) of the interval of each group's mean, NaN where a group has one row.

    Args:
        values: (rows, metrics).
        group: (rows,), the number of each row's group.
        sizes: (groups,), how many rows each has.
    """
    low, high = (np.full((len(sizes), values.shape[1]), math.nan) for _ in range(2))
    rows = np.argsort(group, kind="stable")  # group by group
    first = np.cumsum(sizes) - sizes
    # Groups of equal size n are one array (groups, n, metrics), so that one call resamples many.
    for n in np.unique(sizes[sizes > 1]):
        equal = np.flatnonzero(sizes == n)
        for members in np.array_split(equal, -(-len(equal) // AT_ONCE)):
            sample = values[rows[first[members, None] + np.arange(n)]]
            interval = stats.bootstrap(
                (sample,), np.mean, axis=1, method="percentile", batch=500, rng=np.random.default_rng(0)
            ).confidence_interval
            low[members], high[members] = interval.low, interval.high
    return low, high
