"""From a wish to a setting, and from a setting to its runs: rankings, commands and MLflow filters."""

import math
import shlex
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from study.results.runs_table import FIXED, TEST, axes, is_axis
from study.results.statistics import TEST_SET, VALIDATION_SET

RERUN = "python -m study rerun"  # its call, before the key of a trial
# Filter strings for MLflow's search_runs, or for the search box of its web page.
QUESTIONS = {
    "all finished trials": "tags.kind = 'trial' and attributes.status = 'FINISHED'",
    "joint UNet trials of one camera above 40 dB": (
        "tags.kind = 'trial' and attributes.status = 'FINISHED' and params.camera = 'Nikon D90' "
        "and params.isp = 'UNet' and params.lambda != 'fixed' and metrics.psnr > 40"
    ),
    "trials with a fixed ISP": "tags.kind = 'trial' and params.lambda = 'fixed'",
    "one λ, all cameras and ISPs": "tags.kind = 'trial' and params.lambda = '0.1'",
    "at least 90 % accuracy at 42 dB or better": (
        "tags.kind = 'trial' and attributes.status = 'FINISHED' and metrics.accuracy >= 0.9 and metrics.psnr >= 42"
    ),
    "at least 60 % behind real encoders at 30 dB or better": (
        "tags.kind = 'trial' and attributes.status = 'FINISHED' and metrics.accuracy_real >= 0.6 and metrics.psnr >= 30"
    ),
    "at least 60 % behind JPEG 50 with 4:2:0": "tags.kind = 'trial' and metrics.accuracy_real_jpeg_50_420 >= 0.6",
    "one seed of everything": "tags.kind = 'trial' and params.seed = '0'",
    "trials behind a certain codec": "tags.kind = 'trial' and params.`channel.codec` = 'jpeg:50'",
    "failed trials": "tags.kind = 'trial' and attributes.status = 'FAILED'",
    "trials that are running": "tags.kind = 'trial' and attributes.status = 'RUNNING'",
    "the pre-training of one ISP": "tags.kind = 'pretrain' and params.isp = 'UNet'",
}


def best(
    summary: pd.DataFrame,
    *,
    min_psnr: float | None = None,
    max_psnr: float | None = None,
    min_ssim: float | None = None,
    max_ssim: float | None = None,
    min_accuracy: float | None = None,
    max_accuracy: float | None = None,
    where: Mapping[str, Collection[str]] = {},
    by: str = "accuracy",
    on: str = VALIDATION_SET,
) -> pd.DataFrame:
    """Rank the settings that satisfy the limits (on the means over seeds), the best first.

    They are ranked by accuracy, or by PSNR where only an accuracy is demanded: both on the validation photographs, so
    that the rows' ``test_`` columns remain a fair result. The table is empty where nothing satisfies the limits.

    Args:
        summary: from :func:`study.results.summary`.
        min_psnr, max_psnr: dB. Every ``max_`` is itself excluded, so that neighbouring regions share no setting.
        min_ssim, max_ssim: from -1 to 1.
        min_accuracy, max_accuracy: fractions of 1.
        where: values by "camera", "isp", "lambda" ("fixed" or a number) or a further axis: a setting has one of them.
        by: the accuracy that ranks and that is limited, such as "accuracy_real", see
            :func:`study.results.encoders.metric`. Settings without it are left out.
        on: "test" limits and ranks on the test photographs, to look up what stands there: a choice by them looks
            better than it is.

    Raises:
        ValueError: no such camera, ISP, λ or axis has a result, an accuracy is no fraction, or there are no test
            photographs.
    """
    for name, limit in (("min_accuracy", min_accuracy), ("max_accuracy", max_accuracy)):
        if limit is not None and not 0 <= limit <= 1:
            raise ValueError(f"{name} is a fraction of 1, not {limit:g}")
    by, psnr, ssim = (TEST + name if on == TEST_SET else name for name in (by, "psnr", "ssim"))
    if on == TEST_SET and (by not in summary or summary[by].isna().all()):
        raise ValueError("there are no results on test photographs: leave out --on test")
    chosen = summary[summary[by].notna()]
    for name, wanted in where.items():
        chosen = chosen[_has_one_of(summary, name, wanted).loc[chosen.index]]
    for column, least, below in (
        (psnr, min_psnr, max_psnr),
        (ssim, min_ssim, max_ssim),
        (by, min_accuracy, max_accuracy),
    ):
        if least is not None:
            chosen = chosen[chosen[column] >= least]
        if below is not None:
            chosen = chosen[chosen[column] < below]
    order = [by, psnr] if min_accuracy is None or min_psnr is not None else [psnr, by]
    return chosen.sort_values(order, ascending=False, kind="stable", ignore_index=True)


def _has_one_of(summary: pd.DataFrame, name: str, wanted: Collection[str]) -> "pd.Series[bool]":
    """Tell for every row whether its camera, ISP, λ or further axis has one of these values."""
    known = ["camera", "isp", "lambda", *axes(summary)]
    if name not in known:
        raise ValueError(f"no axis {name!r}; there are: {', '.join(known)}")
    values = summary["lam"].map(lambda_text) if name == "lambda" else summary[name]
    for value in wanted:
        if value not in set(values):
            there = ", ".join(sorted(set(values.dropna()))) or "none"
            raise ValueError(f"no results for {name} {value!r}; there are results for: {there}")
    return values.isin(wanted)


def lambda_text(lam: float) -> str:
    """λ as MLflow's parameter ``lambda`` has it: "fixed" for NaN, "0.1", "1.0"."""
    return FIXED if math.isnan(lam) else str(float(lam))


def queries(row: Mapping[str, Any], rerun: str = RERUN) -> dict[str, Any]:
    """Name the ways from a setting to its trials.

    Args:
        row: of :func:`study.results.summary` or :func:`best`, with a ``seed`` where it is of a single trial.
        rerun: how the command is called for this study, with its storage where that is not the default.

    Returns:
        ``run_ids`` and ``rerun`` (list of commands), one per seed, and ``filter``: a filter string for MLflow's
        ``search_runs``. It finds every finished run of the setting, those too that an earlier state of the
        study file or a repeated trial has left in the experiment.
    """
    params = {"camera": row["camera"], "isp": row["isp"], "lambda": lambda_text(row["lam"])}
    params |= {"seed": row["seed"]} if "seed" in row else {}
    params |= {f"`{name}`" if "." in name else name: row[name] for name in row if is_axis(name)}
    conditions = [f"params.{name} = {_quoted(str(value))}" for name, value in params.items()]
    return {
        "run_ids": list(row["run_ids"]),
        "rerun": [f"{rerun} {shlex.quote(key)}" for key in row["trial_keys"]],
        "filter": " and ".join(["tags.kind = 'trial'", "attributes.status = 'FINISHED'", *conditions]),
    }


def _quoted(value: str) -> str:
    """Quote text for MLflow's filters: a value may hold either kind of quotation mark, not both."""
    return f'"{value}"' if "'" in value else f"'{value}'"


def with_queries(ranked: pd.DataFrame, rerun: str = RERUN) -> pd.DataFrame:
    """Add to the rows of :func:`best` their :func:`queries` as text, for CSV: ``run_ids``, ``rerun``, ``filter``."""
    ways = [queries(row, rerun) for row in ranked.to_dict("records")]
    found = pd.DataFrame(ways, columns=["run_ids", "rerun", "filter"], index=ranked.index)
    return ranked.drop(columns=["run_ids", "trial_keys"]).assign(
        run_ids=found["run_ids"].map(" ".join), rerun=found["rerun"].map("; ".join), filter=found["filter"]
    )
