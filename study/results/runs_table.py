"""Runs of a study as tidy tables: trials, pre-trainings and PRNU experiments, one row each.

A *setting* is what seeds repeat: camera × ISP × λ, and whatever else the study makes an axis. Accuracy and SSIM are
fractions of 1, PSNR is in dB.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from mlflow.entities import Run

from study.tracking import Snapshot

METRICS = ["accuracy", "psnr", "ssim"]
PRNU_METRICS = ("correlation", "f1_matching", "f1_mismatched", "pce_unet_short")
PROVENANCE = ["git_revision", "hardware", "packages", "data_fingerprint", "nip_sha256", "threads"]  # tags of a run
FIXED = "fixed"  # the value of the parameter `lambda` where the NIP is frozen: the paper's (F)
DIFFERENTIABLE = "accuracy_dJPEG"  # accuracy of a finished trial behind its own channel, from a later evaluation
CODEC = re.compile(r"accuracy_([a-z][a-z0-9]*)_(\d+)(?:_(\d)(\d)(\d))?")  # and behind a real encoder


def trials(snapshot: Snapshot) -> pd.DataFrame:
    """Make a table of all trials, one row per trial key.

    Returns:
        Columns ``run_id``, ``trial_key``, ``status`` (MLflow's), ``camera``, ``isp``, ``mode`` ("fixed" or
        "joint"), ``lam`` (float, NaN for fixed), ``seed``, one column per further setting (text; missing where a
        run has not logged it), ``accuracy``, ``psnr``, ``ssim``, ``accuracy_dJPEG`` and
        ``accuracy_<codec>_<quality>[_<subsampling>]`` where trials were evaluated behind real encoders, ``seconds``,
        ``failure`` (reason, "" for none), ``superseded`` (ids of the other runs of this key), ``start``, ``end``
        (UTC), ``artifact_uri`` and the provenance tags.

        Where a key has several runs, a finished one counts before a running one before a failed one, then the
        oldest. A finished run without its setting or without finite accuracy, PSNR and SSIM has a
        ``failure``: it never enters a mean.
    """
    runs = snapshot.of_kind("trial")
    settings = sorted({name for run in runs for name in run.data.params if is_axis(name)})
    names = {name for run in runs for name in run.data.metrics}
    codecs = sorted(name for name in names if name == DIFFERENTIABLE or CODEC.fullmatch(name))
    head = ["run_id", "trial_key", "status", "camera", "isp", "mode", "lam", "seed"]
    tail = ["seconds", "failure", "superseded", "start", "end", "artifact_uri"]
    columns = [*head, *settings, *METRICS, *codecs, *tail, *PROVENANCE]

    table = pd.DataFrame([_trial(run, settings, codecs) for run in runs], columns=[*columns, "rank"])
    for moment in ("start", "end"):
        table[moment] = pd.to_datetime(table[moment], unit="ms", utc=True)
    table = table.sort_values(["rank", "start", "run_id"])
    others = table[table.duplicated("trial_key")].groupby("trial_key")["run_id"].agg(tuple).to_dict()
    table = table.drop_duplicates("trial_key")
    table["superseded"] = [others.get(key, ()) for key in table["trial_key"]]
    return ordered(table[columns])


def _trial(run: Run, settings: Sequence[str], codecs: Sequence[str]) -> dict[str, Any]:
    """One run as a row. Of several runs of a key, the one with the lowest ``rank`` counts."""
    parameters, metrics, tags, status = run.data.params, run.data.metrics, run.data.tags, run.info.status
    lam = _lam(parameters.get("lambda", FIXED))
    values = {name: metrics.get(name, math.nan) for name in METRICS}
    values = {name: value if abs(value) < 1e300 else math.nan for name, value in values.items()}  # MLflow's infinity
    failure = ""
    if status in ("FAILED", "KILLED"):
        failure = tags.get("failure") or f"{status.lower()}, no reason logged"
    elif status == "FINISHED":
        unfit = [name for name in ("camera", "isp", "lambda", "seed") if name not in parameters]
        unfit += [name for name in METRICS if not math.isfinite(values[name])]
        failure = "finished without a valid " + ", ".join(unfit) if unfit else ""
    return {
        "run_id": run.info.run_id,
        "trial_key": tags["trial_key"],
        "status": status,
        "camera": parameters.get("camera", ""),
        "isp": parameters.get("isp", ""),
        "mode": FIXED if math.isnan(lam) else "joint",
        "lam": lam,
        "seed": int(parameters.get("seed", 0)),
        **{name: parameters.get(name) for name in settings},
        **values,
        **{name: metrics.get(name, math.nan) for name in codecs},
        "seconds": metrics.get("seconds", math.nan),
        "failure": failure,
        "start": run.info.start_time,
        "end": run.info.end_time,
        "artifact_uri": run.info.artifact_uri,
        **{name: tags.get(name, "") for name in PROVENANCE},
        "rank": 2 if failure else {"FINISHED": 0, "RUNNING": 1, "SCHEDULED": 1}.get(status, 2),
    }


def finished(table: pd.DataFrame) -> pd.DataFrame:
    """Select the trials with a result: finished, with finite accuracy, PSNR and SSIM."""
    return table[(table["status"] == "FINISHED") & (table["failure"] == "")]


def axes(table: pd.DataFrame) -> list[str]:
    """Name the study's further axes: settings that take several values in this table."""
    return [name for name in table.columns if is_axis(name) and table[name].nunique() > 1]


def is_axis(name: str) -> bool:
    """Tell whether a parameter or column is a setting that a study file may make an axis."""
    return "." in name or name == "manipulations"


def setting_columns(table: pd.DataFrame) -> list[str]:
    """Name the columns that tell one setting from another."""
    return ["camera", "isp", "mode", "lam", *axes(table)]


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by camera, ISP, further axes, rising λ with fixed last, and seed: the order of the paper's table."""
    columns = ["camera", "isp", *axes(table), "lam", *(["seed"] if "seed" in table else [])]
    return table.sort_values(columns, na_position="last", kind="stable", ignore_index=True)


def of_plan(table: pd.DataFrame, planned: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Select the trials of the present study file: an earlier state of it may have left others in the experiment.

    Where no planned trial has a key, all trials stay, because nothing tells them apart.
    """
    keys = {plan.get("key") for plan in planned} - {None}
    return table[table["trial_key"].isin(keys)].reset_index(drop=True) if keys else table


def missing(table: pd.DataFrame, planned: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """List the planned trials that have no result.

    Args:
        table: from :func:`trials`.
        planned: one mapping per planned trial with ``camera``, ``isp``, ``lambda`` (number or "fixed"),
            ``seed``, any further axes, and ``key``: the trial key, or None where it is not known yet (then
            the other entries identify the trial).

    Returns:
        Columns ``camera``, ``isp``, ``lam``, ``seed``, ``run_id`` and ``state``: "not started", "running" or
        "failed: …".
    """
    further = axes(table)
    known = table[["camera", "isp", "lam", "seed", *further, "trial_key", "run_id", "status", "failure"]]
    by_key = {row["trial_key"]: row for row in known.to_dict("records")}
    by_setting = {_identity(row, further): row for row in by_key.values()}
    rows = []
    for plan in planned:
        wanted = {**plan, "lam": _lam(plan["lambda"])}
        row = by_key.get(plan["key"]) if plan.get("key") else by_setting.get(_identity(wanted, further))
        if row is None:
            state = "not started"
        elif row["failure"]:
            state = f"failed: {row['failure']}"
        elif row["status"] == "FINISHED":
            continue
        else:
            state = row["status"].lower()
        run_id = "" if row is None else row["run_id"]
        rows.append((plan["camera"], plan["isp"], wanted["lam"], int(plan["seed"]), run_id, state))
    return pd.DataFrame(rows, columns=["camera", "isp", "lam", "seed", "run_id", "state"])


def _identity(row: Mapping[str, Any], further: Iterable[str]) -> tuple[str, ...]:
    """What tells one trial from another without a key, comparable between a plan and a row of the table."""
    values = (str(row[name]) for name in further if name in row)
    return str(row["camera"]), str(row["isp"]), repr(float(row["lam"])), str(int(row["seed"])), *values


def _lam(value: Any) -> float:
    return math.nan if value is None or value == FIXED else float(value)


def pretrained(snapshot: Snapshot) -> pd.DataFrame:
    """Make a table of finished NIP pre-trainings, the newest of each camera × ISP × seed.

    Returns:
        Columns ``camera``, ``isp``, ``seed``, ``psnr``, ``ssim``, ``seconds``, ``run_id``.
    """
    by, metrics = ["camera", "isp", "seed"], ["psnr", "ssim", "seconds"]
    rows = [
        {
            "camera": run.data.params.get("camera", ""),
            "isp": run.data.params.get("isp", ""),
            "seed": int(run.data.params.get("seed", 0)),
            "run_id": run.info.run_id,
            **{metric: run.data.metrics.get(metric, math.nan) for metric in metrics},
        }
        for run in _newest_first(snapshot, "pretrain")
    ]
    table = pd.DataFrame(rows, columns=[*by, *metrics, "run_id"])
    return table.drop_duplicates(by).sort_values(by, ignore_index=True)


def fingerprints(snapshot: Snapshot) -> pd.DataFrame:
    """Make a table of finished PRNU experiments, the newest of each camera × kind of experiment.

    Returns:
        Columns ``camera``, ``seed``, ``simulated``, ``run_id`` and those of :data:`PRNU_METRICS`, of which a run of
        Fig. 5 has all but the last, and one of Table 3 the last alone (NaN otherwise).
    """
    rows = [
        {
            "camera": run.data.params.get("camera", ""),
            "seed": int(run.data.params.get("prnu.seed", 0)),
            "simulated": run.data.tags.get("simulated") != "False",
            "run_id": run.info.run_id,
            **{metric: run.data.metrics.get(metric, math.nan) for metric in PRNU_METRICS},
            "low_light": PRNU_METRICS[-1] in run.data.metrics,
        }
        for run in _newest_first(snapshot, "prnu")
    ]
    columns, by = ["camera", "seed", "simulated", "run_id", *PRNU_METRICS], ["camera", "low_light"]
    table = pd.DataFrame(rows, columns=[*columns, "low_light"])
    return table.drop_duplicates(by).sort_values(by, ignore_index=True)[columns]


def _newest_first(snapshot: Snapshot, kind: str) -> list[Run]:
    """The finished runs of one kind."""
    return [run for run in reversed(snapshot.of_kind(kind)) if run.info.status == "FINISHED"]
