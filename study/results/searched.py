"""A search beside the grid: its points, and how the hypervolume of each grew with device time."""

from collections.abc import Mapping, Sequence
from typing import Any

import moocore
import numpy as np
import pandas as pd

from study.results.fronts import REFERENCE, chosen
from study.results.runs_table import TEST, finished, is_axis

POINT = ["camera", "isp", "search", "point"]  # columns that tell one point from another
FINISHED = "finished"


def of_search(table: pd.DataFrame, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Select the trials of a search, those that were stopped, too.

    Args:
        table: from :func:`study.results.trials`, or judged by :func:`study.results.behind`.
        rows: one for each trial of a point: ``key``, ``search``, ``point``, ``state`` of the point, and the searched
            settings by their names, ``lambda`` among them.

    Returns:
        The rows of the table with ``search``, ``point``, ``state`` and the searched settings.
    """
    if not rows:
        return table.head(0).assign(search="", point=0, state="")
    plan = pd.DataFrame(rows).rename(columns={"key": "trial_key"})
    plan = plan.drop(columns=["camera", "isp", "seed"]).drop_duplicates("trial_key")
    return table.drop(columns=settings(rows), errors="ignore").merge(plan, on="trial_key", validate="one_to_one")


def settings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the searched settings: those that differ among the points of a search."""
    names = dict.fromkeys(name for row in rows for name in row if name == "lambda" or is_axis(name))
    return [name for name in names if len({str(row.get(name)) for row in rows}) > 1]


def points(searched: pd.DataFrame, names: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """List the finished points of a search, in the order in which they were proposed.

    Args:
        searched: from :func:`of_search`.
        names: of the searched settings.
        metrics: whose means over seeds are wanted, such as "accuracy", "psnr", "test_accuracy".

    Returns:
        Columns ``camera``, ``isp``, ``search``, ``point``, the settings, ``seeds``, the metrics, ``seconds`` (of all
        seeds) and ``run_ids``.
    """
    whole = finished(searched[searched["state"] == FINISHED])
    groups = whole.groupby(POINT, sort=True)
    found = groups[[*names]].first().join(groups[[*metrics]].mean())
    extra = {"seeds": groups.size(), "seconds": groups["seconds"].sum(), "run_ids": groups["run_id"].agg(tuple)}
    return found.assign(**extra).reset_index()


def by_device_time(table: pd.DataFrame, by: Sequence[str], fidelity: str, on_test: bool = False) -> pd.DataFrame:
    """Compute how the hypervolume grew as trials finished, in the order in which they did.

    A setting counts from the moment at which the last of its seeds has finished, a point of a search only as a whole.
    What failed or was stopped takes its time, too, as far as it logged that.

    Args:
        table: trials, all of them, with ``end`` and ``seconds``.
        by: the columns that tell one setting of a camera × ISP from another.
        fidelity: one of :data:`study.results.fronts.REFERENCE`.
        on_test: the settings of the front, which the validation chooses, stand where the test puts them.

    Returns:
        Columns ``camera``, ``isp``, ``seconds`` (of devices, one after the other) and ``hypervolume``.
    """
    coordinates = [fidelity, "accuracy", *([TEST + fidelity, TEST + "accuracy"] if on_test else [])]
    rows = []
    for (camera, isp), group in table.dropna(subset="end").groupby(["camera", "isp"]):
        ordered = group.sort_values(["end", "run_id"])
        spent = ordered["seconds"].fillna(0).cumsum()
        whole = finished(ordered)
        whole = whole[whole["state"] == FINISHED] if "state" in whole else whole
        of_setting = whole.groupby([*by], dropna=False)
        means = of_setting[coordinates].mean().to_numpy(float)
        ends = of_setting["end"].max().to_numpy()
        for moment in np.sort(ends):
            found = chosen(means[ends <= moment])
            volume = moocore.hypervolume(found, REFERENCE[fidelity], maximise=True) if len(found) else 0.0
            rows.append((camera, isp, float(spent[(ordered["end"] <= moment)].iloc[-1]), float(volume)))
    return pd.DataFrame(rows, columns=["camera", "isp", "seconds", "hypervolume"])
