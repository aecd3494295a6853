"""Every finished trial as columns of small numbers, which a page's script reads.

Metrics are whole numbers: units of the last decimal of :data:`DECIMALS`, rounded down. A bound with no more decimals
than these separates them exactly as it separates the metrics themselves.
"""

import json
import math
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import pandas as pd
from mlflow.entities import Run

from study import results
from study.report import plots
from study.report.content import Content

DECIMALS = {"psnr": 6, "ssim": 7, "accuracy": 7}  # of dB, and of fractions of 1
TITLES = {"camera": "Cameras", "isp": "NIPs", "lambda": "λ"}
BEHIND = {
    results.PANEL: "behind real encoders, mean over the panel",
    results.WORST: "behind the worst of the real encoders",
    results.TRAINED: "behind dJPEG, as in training",
}


def asked(content: Content) -> pd.DataFrame:
    """Select the trials with a result of the grid and of the search, as the command ``best`` ranks them."""
    planned = [*content.plan, *content.provenance.search]
    return results.finished(results.of_plan(content.every_trial, planned))


def data(content: Content, done: pd.DataFrame) -> dict[str, Any]:
    """The trials of a study, and what may be asked of them, ready for JSON.

    Args:
        done: from :func:`asked`.

    ``runs`` holds columns: first ``trials`` rows of the trials with a result, then those of the experiment's other
    finished runs, which a filter must not find (of earlier states of the study file, repeated, without valid metrics).
    """
    found = {run.info.run_id: run for run in content.snapshot.of_kind("trial") if run.info.status == "FINISHED"}
    trials = list(done["run_id"])
    others = list(found.keys() - set(trials))
    runs = [found[run_id] for run_id in [*trials, *sorted(others)]]
    channels = {name: results.metric(name) for name in results.channels(done)}
    metrics = {"psnr": "psnr", "ssim": "ssim", **dict.fromkeys(channels.values(), "accuracy")}
    tested = bool(done[results.TEST_METRICS].notna().any(axis=None))
    facets = [
        _facet(name, values, runs)
        for name, values in {
            "camera": done["camera"],
            "isp": done["isp"],
            **{axis: done[axis] for axis in results.axes(done)},
            "lambda": done["lam"].map(results.lambda_text),
        }.items()
    ]
    return {
        "commands": dict(content.provenance.commands),
        "decimals": DECIMALS,
        "tested": tested,
        "leading": results.leading(done),
        "channels": [
            {"name": name, "metric": metric, "title": BEHIND.get(name, f"behind {name}")}
            for name, metric in channels.items()
        ],
        "facets": facets,
        "runs": {
            "trials": len(trials),
            "ids": [run.info.run_id for run in runs],
            "keys": list(done["trial_key"]),
            "seeds": [int(seed) for seed in done["seed"]],
            "metrics": {
                prefix + name: [_on_grid(run.data.metrics.get(prefix + name), DECIMALS[kind]) for run in runs]
                for prefix in ("", *([results.TEST] if tested else []))
                for name, kind in metrics.items()
            },
        },
    }


def _facet(name: str, values: "pd.Series[Any]", runs: Sequence[Run]) -> dict[str, Any]:
    """A setting that trials are picked by.

    ``values``: all that it has, the ``offered`` ones first, which trials with a result have. ``column``: the place of
    every run's value among them, null where it has none. ``told``: whether MLflow knows it of all these trials.
    ``marks``: colours of NIPs.
    """
    trials = ["" if pd.isna(value) else str(value) for value in values]
    logged = [run.data.params.get(name) for run in runs]
    offered = list(dict.fromkeys(trials))
    everything = list(dict.fromkeys([*offered, *(value for value in logged[len(trials) :] if value is not None)]))
    places = {value: place for place, value in enumerate(everything)}
    facet: dict[str, Any] = {
        "name": name,
        "title": TITLES.get(name, name),
        "values": everything,
        "offered": len(offered),
        "column": [places[value] for value in trials] + [places.get(value) for value in logged[len(trials) :]],
        "told": trials == logged[: len(trials)],
    }
    return facet | ({"marks": [plots.place(isp) % len(plots.PALETTE) for isp in offered]} if name == "isp" else {})


def _on_grid(value: float | None, decimals: int) -> int | float | None:
    """A metric in units of its last decimal, rounded down; what MLflow stores for infinity as it is.

    None for NaN: MLflow finds it neither above nor below any bound.
    """
    if value is None or math.isnan(value):
        return None
    if abs(value) > 1e300:
        return value
    return int(Decimal(repr(value)).scaleb(decimals).to_integral_value(ROUND_FLOOR))


def as_json(document: dict[str, Any]) -> str:
    """JSON that may stand in an element ``script``: nothing in it ends the element."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
