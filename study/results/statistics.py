"""Statistics over seeds: means and intervals of every setting, gains of joint training.

Intervals are Student's t at 95 %, of differences where values are paired. They are about *other seeds*: other starting
weights of the FAN and another order of the patches, with the same pre-trained NIP and the same photographs. One seed
has none.

Every metric comes on the validation photographs and, with the prefix ``test_``, on the test photographs. Validation
alone chooses (:func:`best_within`); :func:`reported` replaces its numbers by those of the test.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from study.results.runs_table import (
    FIXED,
    GAP,
    METRICS,
    TEST,
    TEST_METRICS,
    axes,
    finished,
    is_judged,
    one_a_seed,
    ordered,
    setting_columns,
)

LEVEL = 0.95
ON = "photographs"  # column of a reported row: which its numbers are of
VALIDATION_SET, TEST_SET = "validation", "test"
# Bounds beyond are cut.
POSSIBLE = {"accuracy": (0.0, 1.0), "ssim": (-1.0, 1.0), "ssim_paper": (-1.0, 1.0), "flip": (0.0, 1.0)}


def interval(mean: np.ndarray, std: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of Student's 95 % interval of means over ``number`` values; NaN for one value.

    Args:
        mean, std: (…), the latter with n − 1.
    """
    number = np.asarray(number, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = stats.t.ppf((1 + LEVEL) / 2, number - 1) * std / np.sqrt(number)
    half = np.where(number > 1, half, math.nan)
    return mean - half, mean + half


def exact_interval(count: int, of: int) -> tuple[float, float]:
    """Bounds of the 95 % interval of a share (Clopper & Pearson 1934); 0 and 1 where nothing was counted."""
    if of == 0:
        return 0.0, 1.0
    found = stats.binomtest(count, of).proportion_ci(LEVEL, method="exact")
    return float(found.low), float(found.high)


def summary(table: pd.DataFrame, each_seed: bool = False) -> pd.DataFrame:
    """Compute statistics over seeds for every setting with at least one result.

    Args:
        table: from :func:`study.results.trials`.
        each_seed: a row for every trial instead, with a column ``seed``.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes, ``seeds`` (how many), for accuracy, PSNR, both
        SSIM and FLIP the mean (``psnr``), sample standard deviation (``psnr_std``) and 95 % interval of the mean
        (``psnr_low``, ``psnr_high``), NaN for one seed, the same on the test photographs (``test_psnr``, …) and for the
        accuracies behind real encoders that the table has (``accuracy_real``, …; NaN where a seed lacks it), and
        ``run_ids`` and ``trial_keys`` (tuples). Fixed comes last in each group.

    Raises:
        ValueError: a seed of a setting comes twice.
    """
    table = one_a_seed(finished(table))
    further = [name for name in table if is_judged(name)]
    by = [*setting_columns(table), *(["seed"] if each_seed else [])]
    found = over_seeds(table, by, [*METRICS, *TEST_METRICS, *further])
    bounds = POSSIBLE | {name.removeprefix(TEST): POSSIBLE["accuracy"] for name in further if not name.endswith(GAP)}
    for metric, (least, greatest) in bounds.items():
        for name in {metric, TEST + metric} & set(found):
            found[f"{name}_low"] = found[f"{name}_low"].clip(lower=least)
            found[f"{name}_high"] = found[f"{name}_high"].clip(upper=greatest)
    return found


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Compute the means of :func:`summary` alone, which takes a fraction of its time."""
    table = one_a_seed(finished(table))
    return ordered(_means(table, setting_columns(table), [*METRICS, *TEST_METRICS]).reset_index())


def gain(table: pd.DataFrame) -> pd.DataFrame:
    """Compute what joint training changes: joint minus fixed, paired by seed.

    Pairing removes what both share (initialisation of the FAN, data order). Returns the columns of :func:`summary`,
    where ``accuracy``, ``test_psnr`` and so on are differences, ``fixed_accuracy``, ``fixed_test_psnr`` and so on the
    means of the fixed partners, and ``seeds`` counts pairs. Settings without a pair are left out.

    Raises:
        ValueError: a seed of a setting comes twice.
    """
    metrics = [*METRICS, *TEST_METRICS]
    table = one_a_seed(finished(table)).astype({"lam": float})  # an empty column has no type of its own
    by, partners = setting_columns(table), ["camera", "isp", "seed", *axes(table)]
    of_fixed = ["fixed_" + metric for metric in metrics]
    fixed = table[table["mode"] == FIXED].rename(columns=dict(zip(metrics, of_fixed, strict=True)))
    joint = table[table["mode"] != FIXED]
    pairs = joint.merge(fixed[[*partners, *of_fixed]], on=partners, validate="many_to_one")
    pairs[metrics] = pairs[metrics].to_numpy(float) - pairs[of_fixed].to_numpy(float)
    return over_seeds(pairs, by, metrics).merge(_means(pairs, by, of_fixed).reset_index(), on=by, validate="one_to_one")


def best_within(gains: pd.DataFrame, loss: float) -> pd.DataFrame:
    """Select per camera × ISP the joint setting with the greatest gain in accuracy that costs at most ``loss`` dB.

    The validation photographs decide, whatever the test says.

    Args:
        gains: from :func:`gain`.
        loss: greatest fall of the mean PSNR against fixed, dB; ``inf`` for any.
    """
    by = ["camera", "isp", *axes(gains)]
    affordable = gains[gains["psnr"] >= -loss].sort_values("accuracy", ascending=False, kind="stable")
    return affordable.drop_duplicates(by).sort_values(by, ignore_index=True)


def reported(found: pd.DataFrame, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """Replace the metrics of the rows that have test photographs by those of the test.

    Args:
        found: with a ``test_`` column beside each of the metrics, such as trials, :func:`summary`, :func:`gain`,
            :func:`study.results.behind_codecs`.
        metrics: the first of them tells which rows have been tested.

    Returns:
        The rows with a further column :data:`ON`: "test" or "validation".
    """
    tested = found[TEST + metrics[0]].notna()
    columns: dict[str, Any] = {ON: np.where(tested, TEST_SET, VALIDATION_SET)}
    for metric in (*metrics, *(name for name in found if is_judged(name) and TEST + name in found)):
        names = {metric + end: TEST + metric + end for end in ("", "_std", "_low", "_high")}
        names["fixed_" + metric] = f"fixed_{TEST}{metric}"
        columns |= {name: found[of].where(tested, found[name]) for name, of in names.items() if of in found}
    return found.assign(**columns)


def by_photographs(found: pd.DataFrame, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """List each row of :func:`reported` that is of the test, and below it the same of validation."""
    test = reported(found, metrics)
    both = pd.concat([test[test[ON] == TEST_SET], found.assign(**{ON: VALIDATION_SET})])
    return both.sort_index(kind="stable").reset_index(drop=True)


def _means(table: pd.DataFrame, by: list[str], metrics: list[str]) -> pd.DataFrame:
    """Means per group, indexed by it: NaN where a row of the group lacks the metric, so that all are of equal seeds."""
    groups = table[[*by, *metrics]].astype(dict.fromkeys(metrics, float)).groupby(by, dropna=False)
    return groups.mean().where(groups.count().eq(groups.size(), axis=0))


def over_seeds(table: pd.DataFrame, by: list[str], metrics: list[str]) -> pd.DataFrame:
    """Mean, standard deviation and interval of the metrics, and run ids, per group."""
    groups = (
        table[[*by, *metrics, "run_id", "trial_key"]].astype(dict.fromkeys(metrics, float)).groupby(by, dropna=False)
    )
    mean, seeds = _means(table, by, metrics), groups.size()
    std = groups[metrics].std().where(mean.notna())
    low, high = interval(mean.to_numpy(), std.to_numpy(), seeds.to_numpy()[:, None])
    statistics = {"": mean.to_numpy(), "_std": std.to_numpy(), "_low": low, "_high": high}
    columns = {
        metric + end: values[:, number] for number, metric in enumerate(metrics) for end, values in statistics.items()
    }
    ids = {"run_ids": groups["run_id"].agg(tuple), "trial_keys": groups["trial_key"].agg(tuple)}
    return ordered(pd.DataFrame({"seeds": seeds, **columns, **ids}).reset_index())
