"""Rate, fidelity and accuracy behind the codec of a trial's own channel, and what it gains by learning.

A verdict by the member ``own`` leaves ``bpp_own`` (bits per pixel of the files of native photographs), ``psnr_own``
(of what those hold, in dB) and ``accuracy_real_own``. A codec that learns changes its rate, too. So it is compared with
the same codec as it was, at the same rate: between trials of several qualities, or of several weights of the rate,
accuracy and PSNR are interpolated over the logarithm of the rate, seed by seed.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from study.results.runs_table import OWN_CODEC, REAL, TEST, axes, finished, one_a_seed
from study.results.statistics import ON, TEST_SET, VALIDATION_SET, interval

LEARNS, QUALITY, RATE_WEIGHT = "training.codec_lambda", "channel.codec", "channel.rate_weight"
OF_THE_CODEC = (LEARNS, "training.codec_learning_rate", QUALITY, RATE_WEIGHT)
FIGURES = {"bpp": "bpp_own", "psnr": "psnr_own", "accuracy": f"{REAL}_own"}  # PSNR here is what the codec leaves
GAINS = ("accuracy", "psnr")


def own_codecs(table: pd.DataFrame) -> pd.DataFrame:
    """Select the trials that were judged behind their own codec.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes but for those of the codec, ``codec`` (its name,
        and a subsampling that it names), ``quality``, ``rate_weight`` (β), ``codec_lambda`` (λ_c, NaN where the codec
        stays as it is), ``seed``, ``photographs`` ("test" where a trial has such), ``bpp``, ``psnr`` and ``accuracy``.

    Raises:
        ValueError: a seed of a setting comes twice.
    """
    table = one_a_seed(finished(table))
    keep = ["camera", "isp", "mode", "lam", *(name for name in axes(table) if name not in OF_THE_CODEC), "seed"]
    wanted = {*OWN_CODEC, FIGURES["accuracy"]}
    if not wanted <= set(table) or table.empty:
        return pd.DataFrame(columns=[*keep, "codec", "quality", "rate_weight", "codec_lambda", ON, *FIGURES])
    table = table[table["bpp_own"].notna()]
    tested = table.get(f"{TEST}bpp_own", pd.Series(np.nan, table.index)).notna()
    found = table[keep].copy()
    named = table[QUALITY].str.extract(r"(?P<name>[^:]+):(?P<quality>[^:]+)(?P<subsampling>.*)")
    found["codec"], found["quality"] = named["name"] + named["subsampling"], named["quality"]
    found["rate_weight"] = table[RATE_WEIGHT].astype(float)
    found["codec_lambda"] = pd.to_numeric(table[LEARNS], errors="coerce")
    found[ON] = np.where(tested, TEST_SET, VALIDATION_SET)
    for name, metric in FIGURES.items():
        values = table[f"{TEST}{metric}"].where(tested, table[metric]) if tested.any() else table[metric]
        found[name] = values.where(values.abs() < 1e300)  # MLflow's infinity: a codec that loses nothing
    return found.reset_index(drop=True)


def at_equal_rate(rows: pd.DataFrame, reference: float = math.nan) -> pd.DataFrame:
    """Compare every trial whose codec learns with the same codec as it was, at the same rate.

    Args:
        rows: from :func:`own_codecs`.
        reference: compare with the same codec at this λ_c instead; NaN: unchanged.

    Returns:
        The rows whose codec learns, but those of the reference, with ``accuracy_gain`` and ``psnr_gain``: minus what
        the reference reaches at this rate with the same seed; NaN where its rates do not enclose this one.
    """
    weights = rows["codec_lambda"]
    is_reference = weights.isna() if math.isnan(reference) else weights == reference
    learns = weights.notna() & ~is_reference
    same = [name for name in rows.columns if name not in ("quality", "rate_weight", "codec_lambda", *FIGURES)]
    gains = {f"{name}_gain": pd.Series(np.nan, rows.index) for name in GAINS}
    for _, group in rows.groupby(same, dropna=False):
        curve = group[is_reference[group.index]].sort_values("bpp")
        learned = group[learns[group.index]]
        for name in GAINS if len(curve) else ():
            at_its_rate = np.interp(
                np.log(learned["bpp"]), np.log(curve["bpp"]), curve[name], left=np.nan, right=np.nan
            )
            gains[f"{name}_gain"][learned.index] = learned[name] - at_its_rate
    return rows.assign(**gains)[learns].reset_index(drop=True)


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Average rows of either function over seeds: mean, ``_low`` and ``_high`` (Student, 95 %), ``seeds``."""
    values = [*FIGURES, *(f"{name}_gain" for name in GAINS if f"{name}_gain" in rows)]
    by = [name for name in rows.columns if name not in (*values, "seed")]
    groups = rows.groupby(by, dropna=False, sort=False)
    means, deviations, numbers = groups[values].mean(), groups[values].std(), groups[values].count()
    low, high = interval(means.to_numpy(), deviations.to_numpy(), numbers.to_numpy())
    columns: dict[str, Any] = {"seeds": groups.size()}
    for position, name in enumerate(values):
        columns |= {name: means[name], f"{name}_low": low[:, position], f"{name}_high": high[:, position]}
    return pd.DataFrame(columns).reset_index()
