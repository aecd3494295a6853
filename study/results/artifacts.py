"""What runs keep beyond their last metrics: training curves, confusion matrices, decisions about images, patches.

Each takes one request per run: hand in only the trials to be looked at.
"""

import itertools
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow.artifacts
import numpy as np
import pandas as pd
from mlflow.entities import Metric
from mlflow.entities.metric import MetricWithRunId
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.file_utils import local_file_uri_to_path
from safetensors.numpy import load_file

from study.results.encoders import PANEL, TRAINED, channel, metric
from study.results.runs_table import DIFFERENTIABLE, REAL, axes, finished, one_a_seed, ordered, setting_columns
from study.results.statistics import ON, TEST_SET, VALIDATION_SET
from study.tracking import Snapshot, present

REQUESTS = 8  # at once
RUNS = 500  # whose histories a database is asked for at once
EVALUATIONS = ("evaluation/dJPEG.json", "evaluation.json")  # the second is what older runs have


def curves(snapshot: Snapshot, table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Read the history of one metric: setting, ``run_id``, ``seed``, ``iteration``, ``value``.

    A repeated iteration counts once, as logged last.

    Args:
        table: of trials or of pre-trainings; the latter have neither ``mode`` nor ``lam``.
    """
    rows = []
    for run_id, history in _histories(snapshot, list(table["run_id"]), metric):
        last = {point.step: point.value for point in sorted(history, key=lambda point: (point.step, point.timestamp))}
        rows += [(run_id, step, value) for step, value in last.items()]
    points = pd.DataFrame(rows, columns=["run_id", "iteration", "value"])
    of_trials = [name for name in ("mode", "lam") if name in table]
    settings = table[["run_id", "camera", "isp", *of_trials, *axes(table), "seed"]]
    return points.merge(settings, on="run_id", validate="many_to_one")


def _histories(
    snapshot: Snapshot, run_ids: Sequence[str], metric: str
) -> Iterator[tuple[str, Sequence[Metric | MetricWithRunId]]]:
    """Run id and history of each run. A database answers for many runs at once, a server for one at a time."""
    store = snapshot.client._tracking_client.store
    if not isinstance(store, SqlAlchemyStore):
        yield from zip(
            run_ids, _each(lambda run: snapshot.client.get_metric_history(run, metric), run_ids), strict=True
        )
        return
    for start in range(0, len(run_ids), RUNS):
        found = store.get_metric_history_bulk(run_ids[start : start + RUNS], metric, max_results=sys.maxsize)
        for run_id, points in itertools.groupby(found, key=lambda point: point.run_id):
            yield run_id, list(points)


def confusions(snapshot: Snapshot, table: pd.DataFrame) -> pd.DataFrame:
    """Average the confusion matrices of every setting over seeds, behind the channel of the training.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes, ``photographs`` ("validation", and "test" where
        there are test photographs), ``seeds`` (matrices averaged: runs whose artifact is missing do not count),
        ``classes`` (tuple of names) and ``confusion`` ((C, C) float, rows = true class, each sums to 1).

    Raises:
        ValueError: a seed of a setting comes twice.
    """
    table = one_a_seed(finished(table))
    names = {VALIDATION_SET: "confusion", TEST_SET: "test"}
    documents = [
        {on: (content["classes"], {TRAINED: content[name]}) for on, name in names.items() if name in content}
        for content in ((content or {}) for content in _documents(snapshot, table, "confusion.json"))
    ]
    return _averaged(table, documents).drop(columns="codec")


def verdicts(snapshot: Snapshot, table: pd.DataFrame) -> pd.Series:
    """Read the verdicts of the finished trials that have one: ``verdict.json`` by run id."""
    judged = finished(table)
    judged = judged[judged[REAL].notna()] if REAL in judged else judged.head(0)
    documents = _documents(snapshot, judged, "verdict.json")
    return pd.Series(documents, index=judged["run_id"], dtype=object).dropna()


def panel_confusions(table: pd.DataFrame, found: "pd.Series[Any]") -> pd.DataFrame:
    """Average the confusion matrices of verdicts over seeds.

    Args:
        found: from :func:`verdicts`.

    Returns:
        As :func:`confusions`, with a further column ``codec``: "real" (all members together), or one member.
    """
    table = one_a_seed(finished(table))
    documents = []
    for content in (found.get(run_id, {}) for run_id in table["run_id"]):
        parts = {VALIDATION_SET: content, TEST_SET: content.get("test", {})}
        matrices = {on: _by_member(part) for on, part in parts.items() if part}
        documents.append({on: (content["classes"], by_member) for on, by_member in matrices.items()})
    return _averaged(table, documents)


def _by_member(judged: Mapping[str, Any]) -> dict[str, Any]:
    members = {channel(metric(name)): member["confusion"] for name, member in judged["members"].items()}
    return {PANEL: judged["confusion"], **members}


def unseen(found: "pd.Series[Any]") -> dict[str, frozenset[str]]:
    """By run id the members of the panel that training could not have drawn, as :func:`study.results.channels` names
    them; of :func:`verdicts`."""
    return {
        str(run_id): frozenset(channel(metric(name)) for name in content.get("unseen", ()))
        for run_id, content in found.items()
    }


def _averaged(
    table: pd.DataFrame, documents: Sequence[Mapping[str, tuple[Sequence[str], Mapping[str, Any]]]]
) -> pd.DataFrame:
    """Means over seeds of the matrices by photographs and codec that each trial has."""
    by = setting_columns(table)
    rows = [
        (*setting, on, codec, tuple(classes), np.asarray(matrix, float))
        for setting, document in zip(table[by].itertuples(index=False), documents, strict=True)
        for on, (classes, matrices) in document.items()
        for codec, matrix in matrices.items()
    ]
    groups = pd.DataFrame(rows, columns=[*by, ON, "codec", "classes", "confusion"]).groupby(
        [*by, ON, "codec"], dropna=False, sort=False
    )
    means = [
        (*place, len(group), group["classes"].iloc[0], np.mean(list(group["confusion"]), axis=0))
        for place, group in groups
    ]
    return ordered(pd.DataFrame(means, columns=[*by, ON, "codec", "seeds", "classes", "confusion"]))


def fusions(snapshot: Snapshot, table: pd.DataFrame) -> pd.DataFrame:
    """Read the accuracy of decisions about whole images, by the number of patches that are fused into one decision.

    The trials are those that were evaluated behind their own channel.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes, ``photographs`` ("validation", and "test" where
        there are test photographs), ``rule`` ("mean_log_probability", "majority"), ``patches``, ``seeds``, ``images``
        (how many were judged; NaN of older runs), ``accuracy`` (mean over seeds), ``low`` and ``high``: the mean of the
        runs' own 95 % intervals. All seeds judge the same images, so more seeds do not make it narrower.

    Raises:
        ValueError: a seed of a setting comes twice.
    """
    table = one_a_seed(finished(table))
    columns = setting_columns(table)
    table = table[table[DIFFERENTIABLE].notna()] if DIFFERENTIABLE in table else table.head(0)
    settings = table[columns].itertuples(index=False)
    rows = [
        (*setting, photographs, rule, int(patches), judged.get("images", math.nan), *estimate)
        for setting, content in zip(settings, _documents(snapshot, table, *EVALUATIONS), strict=True)
        for photographs, judged in ((VALIDATION_SET, content or {}), (TEST_SET, (content or {}).get("test", {})))
        for rule, by_patches in judged.get("fusion", {}).items()
        for patches, estimate in by_patches.items()
    ]
    by, bounds = [*columns, ON, "rule", "patches"], ["accuracy", "low", "high"]
    groups = pd.DataFrame(rows, columns=[*by, "images", *bounds]).groupby(by, dropna=False)
    estimates = {name: (name, "mean") for name in bounds}
    found = groups.agg(seeds=("accuracy", "size"), images=("images", "max"), **estimates).reset_index()
    return found.sort_values(by, na_position="last", kind="stable", ignore_index=True)


def examples(snapshot: Snapshot, artifact_uri: str) -> dict[str, np.ndarray]:
    """Read the validation patches of one trial, each (k, 3, H, W) uint8; empty where the run kept none.

    ``target``, ``native`` (developed by the pre-trained NIP) and ``developed`` (by the trial's NIP).
    """
    return _artifact(snapshot, artifact_uri, load_file, "examples.safetensors") or {}


def _documents(snapshot: Snapshot, table: pd.DataFrame, *names: str) -> list[dict[str, Any] | None]:
    """The first of the named JSON artifacts that each run of the table has, None where a run has none of them."""

    def document(artifact_uri: str) -> dict[str, Any] | None:
        return _artifact(snapshot, artifact_uri, lambda path: json.loads(path.read_text("utf-8")), *names)

    return _each(document, table["artifact_uri"])


def _artifact(snapshot: Snapshot, artifact_uri: str, read: Callable[[Path], Any], *names: str) -> Any:
    """``read(path)`` of the first of the named artifacts that a run has; None, and a note, where it has none."""
    place = present(snapshot.client.tracking_uri, artifact_uri).rstrip("/")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            with suppress(OSError, MlflowException):
                return read(_file(f"{place}/{name}", folder, snapshot.client.tracking_uri))
    snapshot.missing.add(f"{place}/{names[0]}")
    return None


def _file(address: str, folder: str, tracking_uri: str) -> Path:
    """An artifact as a file of this machine: itself where it is one (MLflow would copy thousands), else a copy."""
    if address.startswith("file://"):
        return Path(local_file_uri_to_path(address))
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=folder, tracking_uri=tracking_uri))


def _each(function: Callable[[str], Any], values: Iterable[str]) -> list[Any]:
    """``function`` of each value, several at a time."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(function, values))
