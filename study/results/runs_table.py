"""What a study found, out of MLflow alone: runs -> one tidy table -> statistics over seeds.

    trials(uri, experiment)              one row per trial, duplicates resolved, failures named
      ├─ missing(table, planned)         which planned trials have no result, and why
      ├─ summary(table)                  mean, standard deviation and 95 % interval over seeds, per setting
      │    └─ best(summary, min_psnr=…)  the settings that satisfy a wish, ranked; queries(row) leads on to their runs
      ├─ gain(table)                     joint minus fixed, paired by seed
      ├─ behind_codecs(table)            accuracy behind real encoders, paired with that behind dJPEG
      └─ curves, confusions, examples, fusions    what the runs keep beyond their last metrics

Fronts are in :mod:`study.results.fronts`. A *setting* is what seeds repeat: camera × ISP × λ, and whatever else the
study makes an axis. Accuracy and SSIM are fractions of 1, PSNR is in dB.
"""

import json
import math
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow.artifacts
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run
from safetensors.numpy import load_file
from scipy import stats

METRICS = ["accuracy", "psnr", "ssim"]
PRNU_METRICS = ("correlation", "f1_matching", "f1_mismatched", "pce_unet_short")
PROVENANCE = ["git_revision", "hardware", "packages", "data_fingerprint", "nip_sha256", "threads"]  # run tags
FIXED = "fixed"  # the value of the parameter `lambda` where the NIP is frozen: the paper's (F)
PAGE = 1000  # runs per request
REQUESTS = 8  # at once, where a request per run cannot be avoided
DIFFERENTIABLE = "accuracy_dJPEG"  # accuracy of a finished trial behind its own channel, judged once more
CODEC = re.compile(r"accuracy_([a-z][a-z0-9]*)_(\d+)(?:_(\d)(\d)(\d))?")  # … and behind a real encoder

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
    "one seed of everything": "tags.kind = 'trial' and params.seed = '0'",
    "trials behind a certain codec": "tags.kind = 'trial' and params.`channel.codec` = 'jpeg:50'",
    "failed trials": "tags.kind = 'trial' and attributes.status = 'FAILED'",
    "trials that are running": "tags.kind = 'trial' and attributes.status = 'RUNNING'",
    "the pre-training of one ISP": "tags.kind = 'pretrain' and params.isp = 'UNet'",
}


def trials(tracking_uri: str, experiment: str) -> pd.DataFrame:
    """Every trial of a study, one row per trial key.

    Args:
        tracking_uri: any MLflow tracking URI (``sqlite:///…``, ``http://…``).
        experiment: name of the study's experiment.

    Returns:
        Columns ``run_id``, ``trial_key``, ``status`` (MLflow's), ``camera``, ``isp``, ``mode`` ("fixed" or
        "joint"), ``lam`` (float, NaN for fixed), ``seed``, one column per further setting (text; None where a
        run has not logged it), ``accuracy``, ``psnr``, ``ssim``, ``accuracy_dJPEG`` and
        ``accuracy_<codec>_<quality>[_<subsampling>]`` where trials were evaluated behind real encoders, ``seconds``,
        ``failure`` (reason, "" for none), ``superseded`` (ids of the other runs of this key), ``start``, ``end``
        (UTC), ``artifact_uri`` and the provenance tags.

        Where a key has several runs, a finished one counts before a running one before a failed one, then the
        oldest. A finished run without its setting or without finite accuracy, PSNR and SSIM has a
        ``failure``: it never enters a mean.

    Raises:
        ValueError: the experiment does not exist.
    """
    runs = _runs(tracking_uri, experiment, "trial")
    rows = [_trial(run) for run in runs]
    parameters = sorted({name for run in runs for name in run.data.params if _is_axis(name)})
    codecs = sorted(
        {name for run in runs for name in run.data.metrics if name == DIFFERENTIABLE or CODEC.fullmatch(name)}
    )
    for row, run in zip(rows, runs, strict=True):
        row.update({name: run.data.params.get(name) for name in parameters})
        row.update({name: run.data.metrics.get(name, math.nan) for name in codecs})
    columns = [
        "run_id",
        "trial_key",
        "status",
        "camera",
        "isp",
        "mode",
        "lam",
        "seed",
        *parameters,
        *METRICS,
        *codecs,
        "seconds",
        "failure",
        "superseded",
        "start",
        "end",
        "artifact_uri",
        *PROVENANCE,
    ]
    table = pd.DataFrame(rows, columns=[*columns, "rank"])
    table = table.sort_values(["rank", "start", "run_id"])
    superseded = table.groupby("trial_key")["run_id"].agg(lambda ids: tuple(ids)[1:])
    table = table.drop_duplicates("trial_key")
    table["superseded"] = table["trial_key"].map(superseded)
    return _ordered(table[columns])


def of_plan(table: pd.DataFrame, planned: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The trials of the present study file: an earlier state of it may have left others in the experiment.

    Where no planned trial has a key, nothing can be told apart, and all stay.
    """
    keys = {plan.get("key") for plan in planned} - {None}
    return table[table["trial_key"].isin(keys)].reset_index(drop=True) if keys else table


def finished(table: pd.DataFrame) -> pd.DataFrame:
    """The trials with a result: finished, with finite accuracy, PSNR and SSIM."""
    return table[(table["status"] == "FINISHED") & (table["failure"] == "")]


def axes(table: pd.DataFrame) -> list[str]:
    """Further axes of the study: settings that take several values in this table."""
    return [name for name in table.columns if _is_axis(name) and table[name].nunique() > 1]


def _is_axis(name: str) -> bool:
    """Whether a parameter or column is a setting that a study file may make an axis."""
    return "." in name or name == "manipulations"


def missing(table: pd.DataFrame, planned: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Planned trials without a result.

    Args:
        table: from :func:`trials`.
        planned: one mapping per planned trial with ``camera``, ``isp``, ``lambda`` (number or "fixed"),
            ``seed``, any further axes, and ``key``: the trial key, or None where it is not known yet (then
            the other entries identify the trial).

    Returns:
        Columns ``camera``, ``isp``, ``lam``, ``seed``, ``run_id`` and ``state``: "not started", "running" or
        "failed: …".
    """
    by_key = {row["trial_key"]: row for row in table.to_dict("records")}
    by_setting = {_identity(row, axes(table)): row for row in by_key.values()}
    rows = []
    for plan in planned:
        wanted = {**plan, "lam": _lam(plan["lambda"])}
        row = by_key.get(plan["key"]) if plan.get("key") else by_setting.get(_identity(wanted, axes(table)))
        if row is not None and row["status"] == "FINISHED" and not row["failure"]:
            continue
        if row is None:
            state = "not started"
        else:
            state = f"failed: {row['failure']}" if row["failure"] else row["status"].lower()
        rows.append(
            {
                "camera": plan["camera"],
                "isp": plan["isp"],
                "lam": wanted["lam"],
                "seed": int(plan["seed"]),
                "run_id": "" if row is None else row["run_id"],
                "state": state,
            }
        )
    return pd.DataFrame(rows, columns=["camera", "isp", "lam", "seed", "run_id", "state"])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Statistics over seeds for every setting with at least one result.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes, ``seeds`` (how many), for each of
        accuracy, PSNR and SSIM the mean (``psnr``), sample standard deviation (``psnr_std``) and 95 %
        percentile bootstrap interval of the mean (``psnr_low``, ``psnr_high``), both NaN for one seed, and
        ``run_ids`` and ``trial_keys`` (tuples). Fixed comes last in each group.
    """
    table = finished(table)
    by = ["camera", "isp", "mode", "lam", *axes(table)]
    return _ordered(_over_seeds(table, by, METRICS))


def gain(table: pd.DataFrame) -> pd.DataFrame:
    """What joint training changes: joint minus fixed, paired by seed.

    Pairing removes what both share (initialisation of the FAN, data order). Returns the columns of
    :func:`summary`, where ``accuracy``, ``psnr`` and ``ssim`` are differences, ``fixed_accuracy`` and so on
    the means of the fixed partners, and ``seeds`` counts pairs. Settings without a pair are left out.
    """
    table = finished(table).astype({"lam": float})  # an empty column has no type of its own
    partners = ["camera", "isp", "seed", *axes(table)]
    fixed = table[table["mode"] == FIXED][[*partners, *METRICS]]
    pairs = table[table["mode"] != FIXED].merge(fixed, on=partners, suffixes=("", "_fixed"))
    for metric in METRICS:
        pairs["fixed_" + metric] = pairs.pop(metric + "_fixed")
        pairs[metric] -= pairs["fixed_" + metric]
    by = ["camera", "isp", "mode", "lam", *axes(table)]
    differences = _over_seeds(pairs, by, METRICS)
    means = pairs.groupby(by, dropna=False, as_index=False)[["fixed_" + metric for metric in METRICS]].mean()
    return _ordered(differences.merge(means, on=by))


def best(
    summary: pd.DataFrame,
    *,
    min_psnr: float | None = None,
    min_accuracy: float | None = None,
    camera: str | None = None,
    isp: str | None = None,
) -> pd.DataFrame:
    """Settings that satisfy the limits (on the means over seeds), the best first.

    Ranked by accuracy; by PSNR where only an accuracy is demanded. Empty where nothing satisfies the limits.

    Args:
        summary: from :func:`summary`.
        min_psnr: dB.
        min_accuracy: fraction of 1.

    Raises:
        ValueError: no such camera or ISP has a result, or ``min_accuracy`` is no fraction.
    """
    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise ValueError(f"min_accuracy is a fraction of 1, not {min_accuracy:g}")
    chosen = summary
    for column, wanted in (("camera", camera), ("isp", isp)):
        if wanted is not None:
            if wanted not in set(summary[column]):
                known = ", ".join(sorted(set(summary[column]))) or "none"
                raise ValueError(f"no results for {column} {wanted!r}; there are results for: {known}")
            chosen = chosen[chosen[column] == wanted]
    if min_psnr is not None:
        chosen = chosen[chosen["psnr"] >= min_psnr]
    if min_accuracy is not None:
        chosen = chosen[chosen["accuracy"] >= min_accuracy]
    order = ["accuracy", "psnr"] if min_accuracy is None or min_psnr is not None else ["psnr", "accuracy"]
    return chosen.sort_values(order, ascending=False, kind="stable", ignore_index=True)


def best_within(gains: pd.DataFrame, loss: float) -> pd.DataFrame:
    """Per camera × ISP the joint setting with the greatest gain in accuracy that costs at most ``loss`` dB.

    Args:
        gains: from :func:`gain`.
        loss: greatest fall of the mean PSNR against fixed, dB; ``inf`` for any.
    """
    by = ["camera", "isp", *axes(gains)]
    affordable = gains[gains["psnr"] >= -loss].sort_values("accuracy", ascending=False, kind="stable")
    return affordable.drop_duplicates(by).sort_values(by, ignore_index=True)


def queries(row: Mapping[str, Any]) -> dict[str, Any]:
    """How to get from a setting to its trials.

    Args:
        row: of :func:`summary` or :func:`best`.

    Returns:
        ``run_ids`` and ``rerun`` (list of commands), one per seed, and ``filter``: a filter string for MLflow's
        ``search_runs``. It finds every finished run of the setting, so those too that an earlier state of the
        study file or a repeated trial has left in the experiment.
    """
    lam = FIXED if math.isnan(row["lam"]) else str(float(row["lam"]))
    params = {"camera": row["camera"], "isp": row["isp"], "lambda": lam}
    params |= {name: row[name] for name in row if _is_axis(name)}
    names = {name: f"`{name}`" if "." in name else name for name in params}
    conditions = [f"params.{names[name]} = {_quoted(str(value))}" for name, value in params.items()]
    return {
        "run_ids": list(row["run_ids"]),
        "rerun": [f"python -m study rerun {shlex.quote(key)}" for key in row["trial_keys"]],
        "filter": " and ".join(["tags.kind = 'trial'", "attributes.status = 'FINISHED'", *conditions]),
    }


def with_queries(ranked: pd.DataFrame) -> pd.DataFrame:
    """The rows of :func:`best` with their :func:`queries` as text, for CSV: ``run_ids``, ``rerun``, ``filter``."""
    found = pd.DataFrame(
        [queries(row) for row in ranked.to_dict("records")], columns=["run_ids", "rerun", "filter"], index=ranked.index
    )
    return ranked.drop(columns=["run_ids", "trial_keys"]).assign(
        run_ids=found["run_ids"].map(" ".join), rerun=found["rerun"].map("; ".join), filter=found["filter"]
    )


def behind_codecs(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of finished trials behind real encoders, against that behind the channel they were trained with.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes, ``codec`` ("jpeg:50", "jpeg:50 4:2:0"),
        ``seeds``, and for ``accuracy`` (of the same trials and patches behind the trained channel), ``behind`` (the
        encoder) and ``gap`` (behind − accuracy, paired by trial) mean, ``_std``, ``_low`` and ``_high`` as in
        :func:`summary`. Empty where nothing was evaluated.
    """
    table = finished(table)
    by = ["camera", "isp", "mode", "lam", *axes(table), "codec"]
    if DIFFERENTIABLE in table:
        table = table.assign(accuracy=table[DIFFERENTIABLE].fillna(table["accuracy"]))
    parts = [
        table.assign(codec=codec_name(column), behind=table[column], gap=table[column] - table["accuracy"])
        for column in table.columns
        if CODEC.fullmatch(column)
    ]
    pairs = pd.concat(parts).dropna(subset="behind") if parts else table.head(0).assign(codec="", behind=0.0, gap=0.0)
    return _ordered(_over_seeds(pairs, by, ["accuracy", "behind", "gap"]))


def codec_name(metric: str) -> str:
    """``accuracy_jpeg_50_420`` → ``jpeg:50 4:2:0``"""
    found = CODEC.fullmatch(metric)
    assert found, metric
    return f"{found[1]}:{found[2]}" + (f" {found[3]}:{found[4]}:{found[5]}" if found[3] else "")


def fusions(tracking_uri: str, table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of decisions about whole images, by the number of patches fused into one.

    Out of the artifact ``evaluation.json`` of trials evaluated behind real encoders.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes, ``rule`` ("mean_log_probability",
        "majority"), ``patches``, ``seeds``, ``accuracy`` (mean over seeds), ``low`` and ``high``: the mean of
        the runs' own 95 % intervals. All seeds judge the same images, so more seeds do not make it narrower.
    """
    table = finished(table)
    evaluated = [column for column in table.columns if CODEC.fullmatch(column)]
    table = table[table[evaluated].notna().any(axis=1)]
    by = ["camera", "isp", "mode", "lam", *axes(table)]
    columns = [*by, "rule", "patches", "seeds", "accuracy", "low", "high"]
    rows = []
    contents = _artifacts(tracking_uri, table, "evaluation.json")
    for row, content in zip(table[by].to_dict("records"), contents, strict=True):
        fusion = json.loads(content).get("fusion", {}) if content else {}
        rows += [
            {**row, "rule": rule, "patches": int(patches), "accuracy": accuracy, "low": low, "high": high}
            for rule, by_patches in fusion.items()
            for patches, (accuracy, low, high) in by_patches.items()
        ]
    if not rows:
        return pd.DataFrame(columns=columns)
    groups = pd.DataFrame(rows).groupby([*by, "rule", "patches"], dropna=False)
    means = groups.agg(
        seeds=("accuracy", "size"), accuracy=("accuracy", "mean"), low=("low", "mean"), high=("high", "mean")
    )
    return means.reset_index()[columns].sort_values(
        [*by, "rule", "patches"], na_position="last", kind="stable", ignore_index=True
    )


def curves(tracking_uri: str, table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """History of one metric for the given trials: setting, ``run_id``, ``seed``, ``iteration``, ``value``.

    One request per run: hand in only the rows to be looked at. A repeated iteration counts once, as logged
    last.
    """
    client = MlflowClient(tracking_uri=tracking_uri)
    with ThreadPoolExecutor(REQUESTS) as pool:
        histories = list(pool.map(lambda run_id: client.get_metric_history(run_id, metric), table["run_id"]))
    rows = []
    for run_id, history in zip(table["run_id"], histories, strict=True):
        last = {point.step: point.value for point in sorted(history, key=lambda point: (point.step, point.timestamp))}
        rows += [{"run_id": run_id, "iteration": step, "value": value} for step, value in last.items()]
    points = pd.DataFrame(rows, columns=["run_id", "iteration", "value"])
    return points.merge(table[["run_id", "camera", "isp", "mode", "lam", *axes(table), "seed"]], on="run_id")


def confusions(tracking_uri: str, table: pd.DataFrame) -> pd.DataFrame:
    """Confusion matrix of every setting, mean over seeds.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes, ``seeds`` (matrices averaged: runs whose
        artifact is missing do not count), ``classes`` (tuple of names) and ``confusion`` ((C, C) float,
        rows = true class, each sums to 1).
    """
    table = finished(table)
    by = ["camera", "isp", "mode", "lam", *axes(table)]
    contents = _artifacts(tracking_uri, table, "confusion.json")
    rows = []
    for setting, positions in table.reset_index(drop=True).groupby(by, dropna=False).groups.items():
        found = [json.loads(contents[position]) for position in positions if contents[position] is not None]
        if found:
            matrices = np.array([entry["confusion"] for entry in found], dtype=float)
            rows.append(
                dict(
                    zip(by, setting, strict=True),
                    seeds=len(found),
                    classes=tuple(found[0]["classes"]),
                    confusion=matrices.mean(axis=0),
                )
            )
    return _ordered(pd.DataFrame(rows, columns=[*by, "seeds", "classes", "confusion"]))


def examples(tracking_uri: str, artifact_uri: str) -> dict[str, np.ndarray]:
    """Validation patches of one trial, each (k,3,H,W) uint8; empty where the run kept none.

    ``target``, ``native`` (developed by the pre-trained NIP) and ``developed`` (by the trial's NIP).
    """
    return _artifact(tracking_uri, artifact_uri, "examples.safetensors", load_file) or {}


def pretrained(tracking_uri: str, experiment: str) -> pd.DataFrame:
    """Finished NIP pre-trainings, the newest of each camera × ISP × seed.

    Returns:
        Columns ``camera``, ``isp``, ``seed``, ``psnr``, ``ssim``, ``seconds``, ``run_id``.
    """
    columns = ["camera", "isp", "seed", "psnr", "ssim", "seconds", "run_id"]
    rows = [
        {
            "camera": run.data.params.get("camera", ""),
            "isp": run.data.params.get("isp", ""),
            "seed": int(run.data.params.get("seed", 0)),
            "run_id": run.info.run_id,
            **{metric: run.data.metrics.get(metric, math.nan) for metric in ("psnr", "ssim", "seconds")},
            "start": run.info.start_time,
        }
        for run in _runs(tracking_uri, experiment, "pretrain")
        if run.info.status == "FINISHED"
    ]
    table = pd.DataFrame(rows, columns=[*columns, "start"]).sort_values("start", ascending=False)
    table = table.drop_duplicates(["camera", "isp", "seed"])
    return table.sort_values(["camera", "isp", "seed"], ignore_index=True)[columns]


def fingerprints(tracking_uri: str, experiment: str) -> pd.DataFrame:
    """Finished PRNU experiments, the newest of each camera × kind of experiment.

    Returns:
        Columns ``camera``, ``seed``, ``simulated``, ``run_id`` and those of :data:`PRNU_METRICS`, of which a run of
        Fig. 5 has all but the last, and one of Table 3 the last alone (NaN otherwise).
    """
    columns = ["camera", "seed", "simulated", "run_id", *PRNU_METRICS]
    rows = [
        {
            "camera": run.data.params.get("camera", ""),
            "seed": int(run.data.params.get("prnu.seed", 0)),
            "simulated": run.data.tags.get("simulated") != "False",
            "run_id": run.info.run_id,
            **{metric: run.data.metrics.get(metric, math.nan) for metric in PRNU_METRICS},
            "start": run.info.start_time,
            "dark": PRNU_METRICS[-1] in run.data.metrics,
        }
        for run in _runs(tracking_uri, experiment, "prnu")
        if run.info.status == "FINISHED"
    ]
    table = pd.DataFrame(rows, columns=[*columns, "start", "dark"]).sort_values("start", ascending=False)
    table = table.drop_duplicates(["camera", "dark"])
    return table.sort_values(["camera", "dark"], ignore_index=True)[columns]


def _runs(tracking_uri: str, experiment: str, kind: str) -> list[Run]:
    """All runs of one kind, with their last metrics: one request per page, none per run."""
    client = MlflowClient(tracking_uri=tracking_uri)
    found: Experiment | None = client.get_experiment_by_name(experiment)
    if found is None or found.lifecycle_stage != "active":
        raise ValueError(f"no study named {experiment!r} at {tracking_uri}: run it first, or check MLFLOW_TRACKING_URI")
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([found.experiment_id], f"tags.kind = '{kind}'", max_results=PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _trial(run: Run) -> dict[str, Any]:
    """One run as a row; ``rank`` says which of several runs of a key counts (lowest)."""
    parameters, metrics, tags = run.data.params, run.data.metrics, run.data.tags
    lam = _lam(parameters.get("lambda", FIXED))
    values = {name: metrics.get(name, math.nan) for name in METRICS}
    values = {name: value if abs(value) < 1e300 else math.nan for name, value in values.items()}  # MLflow's infinity
    status = run.info.status
    failure = ""
    if status in ("FAILED", "KILLED"):
        failure = tags.get("failure") or f"{status.lower()}, no reason logged"
    elif status == "FINISHED":
        unfit = [name for name in ("camera", "isp", "lambda", "seed") if name not in parameters]
        unfit += [name for name in METRICS if not math.isfinite(values[name])]
        failure = "finished without a valid " + ", ".join(unfit) if unfit else ""
    rank = {"FINISHED": 0, "RUNNING": 1, "SCHEDULED": 1}.get(status, 2)
    return {
        "run_id": run.info.run_id,
        "trial_key": tags.get("trial_key", run.info.run_id),
        "status": status,
        "camera": parameters.get("camera", ""),
        "isp": parameters.get("isp", ""),
        "mode": FIXED if math.isnan(lam) else "joint",
        "lam": lam,
        "seed": int(parameters.get("seed", 0)),
        **values,
        "seconds": metrics.get("seconds", math.nan),
        "failure": failure,
        "start": pd.Timestamp(run.info.start_time, unit="ms", tz="UTC"),
        "end": pd.Timestamp(run.info.end_time, unit="ms", tz="UTC") if run.info.end_time else pd.NaT,
        "artifact_uri": run.info.artifact_uri,
        **{name: tags.get(name, "") for name in PROVENANCE},
        "rank": 2 if failure else rank,
    }


def _over_seeds(table: pd.DataFrame, by: list[str], metrics: list[str]) -> pd.DataFrame:
    """Mean, standard deviation and bootstrap interval of the metrics, and run ids, per group."""
    groups = table.groupby(by, dropna=False)
    result = groups.agg(
        seeds=("run_id", "size"), run_ids=("run_id", tuple), trial_keys=("trial_key", tuple)
    ).reset_index()
    if result.empty:
        return result.assign(**{metric + part: [] for metric in metrics for part in ("", "_std", "_low", "_high")})
    number = groups.ngroup().to_numpy()  # (rows,), in the order of `result`
    values = table[metrics].to_numpy(float)  # (rows, metrics)
    mean, deviation, low, high = (np.full((len(result), len(metrics)), np.nan) for _ in range(4))
    # Groups of equal size n are one array (groups, n, metrics), so that one call resamples them all.
    for n in result["seeds"].unique():
        members = np.flatnonzero(result["seeds"] == n)
        rows = np.concatenate([np.flatnonzero(number == member) for member in members])
        sample = values[rows].reshape(len(members), n, len(metrics))
        mean[members] = sample.mean(axis=1)
        if n > 1:
            deviation[members] = sample.std(axis=1, ddof=1)
            interval = stats.bootstrap(
                (sample,), np.mean, axis=1, method="percentile", batch=500, rng=np.random.default_rng(0)
            ).confidence_interval
            low[members], high[members] = interval.low, interval.high
    for column, metric in enumerate(metrics):
        for part, statistic in (("", mean), ("_std", deviation), ("_low", low), ("_high", high)):
            result[metric + part] = statistic[:, column]
    return result[[*result.columns.drop(["run_ids", "trial_keys"]), "run_ids", "trial_keys"]]


def _artifacts(tracking_uri: str, table: pd.DataFrame, name: str) -> list[bytes | None]:
    """Contents of one artifact of every run in the table, None where a run has none of that name."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(lambda uri: _artifact(tracking_uri, uri, name, Path.read_bytes), table["artifact_uri"]))


def _artifact(tracking_uri: str, artifact_uri: str, name: str, read: Callable[[Path], Any]) -> Any:
    """``read(path)`` of one artifact of a run, or None where the run has none of that name."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{artifact_uri.rstrip('/')}/{name}", dst_path=folder, tracking_uri=tracking_uri
            )
        except (OSError, mlflow.exceptions.MlflowException):
            return None
        return read(Path(path))


def _quoted(value: str) -> str:
    """As MLflow's filters want text: a value may hold either kind of quotation mark, not both."""
    return f'"{value}"' if "'" in value else f"'{value}'"


def _lam(value: Any) -> float:
    return math.nan if value is None or value == FIXED else float(value)


def _identity(row: Mapping[str, Any], further: Iterable[str]) -> tuple[str, ...]:
    """What tells one trial of a study from another, comparable between a plan and a row."""
    return (
        str(row["camera"]),
        str(row["isp"]),
        repr(float(row["lam"])),
        str(int(row["seed"])),
        *(str(row[name]) for name in further if name in row),
    )


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """By camera, ISP, further axes, rising λ with fixed last, and seed: the order of the paper's table."""
    columns = ["camera", "isp", *axes(table), "lam", *(["seed"] if "seed" in table else [])]
    return table.sort_values(columns, na_position="last", kind="stable", ignore_index=True)
