"""Runs of a study as tidy tables: trials, pre-trainings and PRNU experiments, one row each.

A *setting* is what seeds repeat: camera × ISP × λ, and whatever else the study makes an axis. Accuracy and SSIM are
fractions of 1, PSNR is in dB. A metric without a prefix is of the validation photographs, which choose among settings;
``test_accuracy`` and so on are of the test photographs, which choose nothing.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from mlflow.entities import Run

from study.tracking import Snapshot

NEEDED = ["accuracy", "psnr", "ssim"]  # of every trial with a result
FIDELITY = ["psnr", "ssim", "ssim_paper"]  # of every pre-training; the last as the paper's authors compute SSIM
METRICS = ["accuracy", *FIDELITY, "flip"]  # of every trial; FLIP says how different two pictures look: less is better
TEST = "test_"  # prefix of metrics on the test photographs
TEST_METRICS = [TEST + metric for metric in METRICS]
PRNU_KINDS = ("prnu", "low_light")  # of jobs
PRNU_METRICS = ("correlation", "f1_matching", "f1_mismatched", "pce_unet_short")
NIP_HASH = "nip_sha256"  # tag of a pre-training, and of the trials that start from its NIP
PROVENANCE = ["git_revision", "hardware", "packages", "data_fingerprint", NIP_HASH, "threads"]  # tags of a run
# Whose names may be an axis.
SECTIONS = ("manipulations", "split", "pretraining", "codec_pretraining", "training", "validation", "channel")
TRAININGS = ("training.", "pretraining.")  # sections that say how an ISP is trained
FIXED = "fixed"  # the value of the parameter `lambda` where the NIP is frozen: the paper's (F)
OWN_CODEC = ("bpp_own", "psnr_own")  # of the verdict behind the codec of the trial's own channel
DIFFERENTIABLE = "accuracy_dJPEG"  # accuracy of a finished trial behind its own channel, from a later evaluation
REAL = "accuracy_real"  # mean over a panel of real encoders, on whole photographs; its members' metrics begin so, too
OWN, GAP = "trained", "gap"  # columns of study.results.encoders.behind: behind the own channel, and the difference
CODEC = re.compile(r"accuracy_([a-z][a-z0-9]*)_(\d+)(?:_(\d)(\d)(\d))?")  # and behind a real encoder


def trials(snapshot: Snapshot) -> pd.DataFrame:
    """Make a table of all trials, one row per trial key.

    Returns:
        Columns ``run_id``, ``trial_key``, ``status`` (MLflow's), ``camera``, ``isp``, ``mode`` ("fixed" or
        "joint"), ``lam`` (float, NaN for fixed), ``seed``, one column per further setting (text; missing where a
        run has not logged it), ``accuracy``, ``psnr``, ``ssim``, ``ssim_paper``, ``flip`` and the same with
        ``test_`` before (NaN where a run has none), ``accuracy_real`` and ``accuracy_real_<member>`` of the verdict
        behind real encoders, ``bpp_own`` and ``psnr_own`` of its member ``own``, ``accuracy_dJPEG`` and
        ``accuracy_<codec>_<quality>[_<subsampling>]``, the same with ``test_`` before, where trials were evaluated
        behind real encoders, ``seconds`` (of the device: training and verdict, no later evaluation), ``failure``
        (reason, "" for none), ``superseded`` (ids of the other runs of this key), ``start``, ``end`` (UTC),
        ``artifact_uri`` and the provenance tags.

        Where a key has several runs, a finished one counts before a running one before a failed one, then the
        oldest. A finished run without its setting or without finite accuracy, PSNR and SSIM has a
        ``failure``: it never enters a mean.
    """
    runs = snapshot.of_kind("trial")
    settings = sorted({name for run in runs for name in run.data.params if is_axis(name)})
    names = {name for run in runs for name in run.data.metrics}
    codecs = sorted(
        name for name in names if is_behind(name.removeprefix(TEST)) or name.removeprefix(TEST) in OWN_CODEC
    )
    head = ["run_id", "trial_key", "status", "camera", "isp", "mode", "lam", "seed"]
    tail = ["seconds", "failure", "superseded", "start", "end", "artifact_uri"]
    columns = [*head, *settings, *METRICS, *TEST_METRICS, *codecs, *tail, *PROVENANCE]

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
    values = {name: metrics.get(name, math.nan) for name in [*METRICS, *TEST_METRICS]}
    values = {name: value if abs(value) < 1e300 else math.nan for name, value in values.items()}  # MLflow's infinity
    failure = ""
    if status in ("FAILED", "KILLED"):
        failure = tags.get("failure") or f"{status.lower()}, no reason logged"
    elif status == "FINISHED":
        unfit = [name for name in ("camera", "isp", "lambda", "seed") if name not in parameters]
        unfit += [name for name in NEEDED if not math.isfinite(values[name])]
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
        "seconds": metrics.get("seconds", math.nan) + metrics.get("verdict_seconds", 0.0),
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
    """Name the study's further axes: settings that take several values in this table.

    How an ISP is trained may be its own affair, such as the rate of Pattern's tile: a setting of a training that has
    one value for every ISP is no axis, and ISPs are compared across it.
    """
    names = [name for name in table.columns if is_axis(name) and table[name].nunique() > 1]
    of_training = [name for name in names if name.startswith(TRAININGS) and "isp" in table]
    own = {name for name in of_training if table.groupby("isp")[name].nunique().max() == 1}
    return _without_parts([name for name in names if name not in own])


def is_axis(name: str) -> bool:
    """Tell whether a parameter or column is a setting, or a named section of them, that may be an axis of a study."""
    return "." in name or name in SECTIONS


def _without_parts(names: list[str]) -> list[str]:
    """Leave out the settings of a section whose names are an axis: they change with the name."""
    return [name for name in names if "." not in name or name.partition(".")[0] not in names]


def is_behind(name: str) -> bool:
    """Tell whether a metric is an accuracy behind a codec."""
    return name == DIFFERENTIABLE or name.startswith(REAL) or CODEC.fullmatch(name) is not None


def is_judged(name: str) -> bool:
    """Tell whether a column is of the verdict behind real encoders: an accuracy, or its gap to that in training."""
    return name.removeprefix(TEST).startswith(REAL) or name.removeprefix(TEST) in (OWN, GAP)


def one_a_seed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table of trials as it is, if no seed of a setting comes twice.

    Raises:
        ValueError: two trials have the same setting and seed: something else tells them apart, and a mean would take
            them for different seeds.
    """
    by = [*setting_columns(table), "seed"]
    twice = table[table.duplicated(by, keep=False)]
    if len(twice):
        values = twice.iloc[0][by]
        same = twice[(twice[by].eq(values) | (twice[by].isna() & values.isna())).all(axis=1)]
        lam = FIXED if math.isnan(values["lam"]) else f"{values['lam']:g}"
        further = [f"{axis} {values[axis]}" for axis in axes(table)]
        setting = " · ".join([values["camera"], values["isp"], *further, f"λ {lam}", f"seed {values['seed']}"])
        raise ValueError(
            f"{len(same)} trials of {setting} have the same settings and seed, so no mean can be taken: "
            f"trial keys {', '.join(same['trial_key'])}"
        )
    return table


def setting_columns(table: pd.DataFrame) -> list[str]:
    """Name the columns that tell one setting from another."""
    return ["camera", "isp", "mode", "lam", *axes(table)]


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by camera, ISP, further axes, rising λ with fixed last, and seed: the order of the paper's table."""
    columns = ["camera", "isp", *axes(table), "lam", *(["seed"] if "seed" in table else [])]
    return table.sort_values(columns, na_position="last", kind="stable", ignore_index=True)


def of_plan(table: pd.DataFrame, planned: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Select the trials of the present study file: an earlier state of it may have left others in the experiment.

    A planned trial whose ``key`` is None has not run: its NIP is still to be trained. Where the plan names no keys at
    all, all trials stay, because nothing tells them apart. A run that has not logged an axis of the study gets its
    value from the plan.
    """
    if not any("key" in plan for plan in planned):
        return table
    by_key = {plan["key"]: plan for plan in planned if plan.get("key")}
    table = table[table["trial_key"].isin(by_key)].reset_index(drop=True)
    for axis in plan_axes(planned):
        values = table["trial_key"].map({key: str(plan[axis]) for key, plan in by_key.items() if axis in plan})
        table[axis] = table[axis].fillna(values) if axis in table else values
    return ordered(table)


def plan_axes(planned: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the further axes of a plan."""
    names = list(dict.fromkeys(name for plan in planned for name in plan if is_axis(name)))
    return _without_parts([name for name in names if len({str(plan.get(name)) for plan in planned}) > 1])


def missing(table: pd.DataFrame, planned: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """List the planned trials that have no result.

    Args:
        table: from :func:`trials`.
        planned: one mapping per planned trial with ``camera``, ``isp``, ``lambda`` (number or "fixed"),
            ``seed``, any further axes, and ``key``: the trial key, or None where it is not known yet (then
            the other entries identify the trial).

    Returns:
        Columns ``camera``, ``isp``, further axes of the plan, ``lam``, ``seed``, ``run_id`` and ``state``: "not
        started", "running" or "failed: …".
    """
    further = plan_axes(planned)
    by_key = {row["trial_key"]: row for row in table.to_dict("records")}
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
        places = [str(plan.get(axis)) for axis in further]
        rows.append((plan["camera"], plan["isp"], *places, wanted["lam"], int(plan["seed"]), run_id, state))
    return pd.DataFrame(rows, columns=["camera", "isp", *further, "lam", "seed", "run_id", "state"])


def _identity(row: Mapping[str, Any], further: Iterable[str]) -> tuple[str, ...]:
    """What tells one trial from another without a key, comparable between a plan and a row of the table."""
    values = (str(row.get(name)) for name in further)
    return str(row["camera"]), str(row["isp"]), repr(float(row["lam"])), str(int(row["seed"])), *values


def _lam(value: Any) -> float:
    return math.nan if value is None or value == FIXED else float(value)


def pretrained(snapshot: Snapshot) -> pd.DataFrame:
    """Make a table of finished NIP pre-trainings, the newest of each camera × ISP × setting.

    Returns:
        Columns ``camera``, ``isp``, ``seed``, ``psnr``, ``ssim``, ``ssim_paper`` and the same with ``test_`` before,
        ``seconds``, ``run_id``, ``nip_sha256``, and one column per setting (text).
    """
    runs = _newest_first(snapshot, "pretrain")
    settings = sorted({name for run in runs for name in run.data.params if is_axis(name)})
    metrics = [*FIDELITY, *(TEST + name for name in FIDELITY), "seconds"]
    rows = [
        {
            "camera": run.data.params.get("camera", ""),
            "isp": run.data.params.get("isp", ""),
            "seed": int(run.data.params.get("seed", 0)),
            **{metric: run.data.metrics.get(metric, math.nan) for metric in metrics},
            "run_id": run.info.run_id,
            NIP_HASH: run.data.tags.get(NIP_HASH, ""),
            **{name: run.data.params.get(name) for name in settings},
        }
        for run in runs
    ]
    by = ["camera", "isp", "seed", *settings]
    table = pd.DataFrame(rows, columns=["camera", "isp", "seed", *metrics, "run_id", NIP_HASH, *settings])
    return table.drop_duplicates(by).sort_values(by, ignore_index=True)


def used(pretrainings: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Select the pre-trainings whose NIPs these trials start from."""
    return pretrainings[pretrainings[NIP_HASH].isin(set(table[NIP_HASH]) - {""})].reset_index(drop=True)


def fingerprints(snapshot: Snapshot) -> pd.DataFrame:
    """Make a table of finished PRNU experiments, the newest of each camera × kind of experiment.

    Returns:
        Columns ``camera``, ``seed``, ``simulated``, ``run_id``, those of :data:`PRNU_METRICS`, of which a run of
        Fig. 5 has all but the last, and one of Table 3 the last alone (NaN otherwise), and one column per setting
        (text).
    """
    runs = [run for kind in PRNU_KINDS for run in _newest_first(snapshot, kind)]
    settings = sorted({name for run in runs for name in run.data.params if is_axis(name)})
    rows = [
        {
            "camera": run.data.params.get("camera", ""),
            "seed": int(run.data.params.get("prnu.seed", 0)),
            "simulated": run.data.tags.get("simulated") != "False",
            "run_id": run.info.run_id,
            **{metric: run.data.metrics.get(metric, math.nan) for metric in PRNU_METRICS},
            **{name: run.data.params.get(name) for name in settings},
            "low_light": PRNU_METRICS[-1] in run.data.metrics,
        }
        for run in runs
    ]
    columns, by = ["camera", "seed", "simulated", "run_id", *PRNU_METRICS, *settings], ["camera", "low_light"]
    table = pd.DataFrame(rows, columns=[*columns, "low_light"])
    return table.drop_duplicates(by).sort_values(by, ignore_index=True)[columns]


def _newest_first(snapshot: Snapshot, kind: str) -> list[Run]:
    """The finished runs of one kind."""
    return [run for run in reversed(snapshot.of_kind(kind)) if run.info.status == "FINISHED"]
