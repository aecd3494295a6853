"""From a wish to a setting, and from a setting to its runs: rankings, commands and MLflow filters."""

import math
import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.results.runs_table import FIXED, is_axis

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
    min_accuracy: float | None = None,
    camera: str | None = None,
    isp: str | None = None,
    by: str = "accuracy",
) -> pd.DataFrame:
    """Rank the settings that satisfy the limits (on the means over seeds), the best first.

    They are ranked by accuracy, or by PSNR where only an accuracy is demanded: both on the validation photographs, so
    that the rows' ``test_`` columns remain a fair result. The table is empty where nothing satisfies the limits.

    Args:
        summary: from :func:`study.results.summary`.
        min_psnr: dB.
        min_accuracy: fraction of 1.
        by: the accuracy that ranks and that ``min_accuracy`` limits, such as "accuracy_real", see
            :func:`study.results.encoders.metric`. Settings without it are left out.

    Raises:
        ValueError: no such camera or ISP has a result, or ``min_accuracy`` is no fraction.
    """
    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise ValueError(f"min_accuracy is a fraction of 1, not {min_accuracy:g}")
    chosen = summary[summary[by].notna()]
    for column, wanted in (("camera", camera), ("isp", isp)):
        if wanted is not None:
            if wanted not in set(summary[column]):
                known = ", ".join(sorted(set(summary[column]))) or "none"
                raise ValueError(f"no results for {column} {wanted!r}; there are results for: {known}")
            chosen = chosen[chosen[column] == wanted]
    if min_psnr is not None:
        chosen = chosen[chosen["psnr"] >= min_psnr]
    if min_accuracy is not None:
        chosen = chosen[chosen[by] >= min_accuracy]
    order = [by, "psnr"] if min_accuracy is None or min_psnr is not None else ["psnr", by]
    return chosen.sort_values(order, ascending=False, kind="stable", ignore_index=True)


def queries(row: Mapping[str, Any]) -> dict[str, Any]:
    """Name the ways from a setting to its trials.

    Args:
        row: of :func:`study.results.summary` or :func:`best`.

    Returns:
        ``run_ids`` and ``rerun`` (list of commands), one per seed, and ``filter``: a filter string for MLflow's
        ``search_runs``. It finds every finished run of the setting, those too that an earlier state of the
        study file or a repeated trial has left in the experiment.
    """
    lam = FIXED if math.isnan(row["lam"]) else str(float(row["lam"]))
    params = {"camera": row["camera"], "isp": row["isp"], "lambda": lam}
    params |= {f"`{name}`" if "." in name else name: row[name] for name in row if is_axis(name)}
    conditions = [f"params.{name} = {_quoted(str(value))}" for name, value in params.items()]
    return {
        "run_ids": list(row["run_ids"]),
        "rerun": [f"python -m study rerun {shlex.quote(key)}" for key in row["trial_keys"]],
        "filter": " and ".join(["tags.kind = 'trial'", "attributes.status = 'FINISHED'", *conditions]),
    }


def _quoted(value: str) -> str:
    """Quote text for MLflow's filters: a value may hold either kind of quotation mark, not both."""
    return f'"{value}"' if "'" in value else f"'{value}'"


def with_queries(ranked: pd.DataFrame) -> pd.DataFrame:
    """Add to the rows of :func:`best` their :func:`queries` as text, for CSV: ``run_ids``, ``rerun``, ``filter``."""
    found = pd.DataFrame(
        [queries(row) for row in ranked.to_dict("records")], columns=["run_ids", "rerun", "filter"], index=ranked.index
    )
    return ranked.drop(columns=["run_ids", "trial_keys"]).assign(
        run_ids=found["run_ids"].map(" ".join), rerun=found["rerun"].map("; ".join), filter=found["filter"]
    )
