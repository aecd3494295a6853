"""Where trials found what was altered: rows of composites, their means over photographs, and gains of joint training.

Intervals are Student's t at 95 % over *photographs*: of each the mean over its composites and over the seeds. They are
about other photographs, judged by the networks of these seeds. Gains list each seed's mean beside.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from study.results.artifacts import _artifact, _documents
from study.results.runs_table import FIXED, axes, finished, one_a_seed, ordered, setting_columns
from study.results.statistics import ON, TEST_SET, exact_interval, interval
from study.tracking import Snapshot

FILE, MAPS, METRIC = "localisation.json", "localisation.safetensors", "localise_auc"
PRISTINE, FAN, TRIED = "pristine", "fan", "tried"
SCORES = ("auc", "f1", "f1_plain", "iou", "everything")  # of composites
COMPOSITE = ["photograph", "kind", "size", "codec"]  # the same in every trial of a camera


def localised(snapshot: Snapshot, table: pd.DataFrame) -> pd.DataFrame:
    """Read every composite of every trial that was tried.

    Args:
        table: from :func:`study.results.trials`.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes, ``seed``, ``run_id``, ``prnu`` ("tried", or why it
        was not), ``photographs`` ("test" alone where a trial has such), and those of a row of
        :class:`forensics.localisation.Result`. Empty where nothing was tried.

    Raises:
        ValueError: a seed of a setting comes twice.
    """
    table = one_a_seed(finished(table))
    tried = [run.info.run_id for run in snapshot.of_kind("trial") if METRIC in run.data.metrics]
    table = table[table["run_id"].isin(tried)]
    columns = [*setting_columns(table), "seed", "run_id"]
    rows = []
    for place, found in zip(table[columns].to_dict("records"), _documents(snapshot, table, FILE), strict=True):
        own = (found or {}).get("rows", [])
        tested = any(row[ON] == TEST_SET for row in own)
        rows += [place | {"prnu": found["prnu"]} | row for row in own if not tested or row[ON] == TEST_SET]  # type: ignore[index]
    return pd.DataFrame(rows, columns=None if rows else [*columns, "prnu", ON, "detector", *COMPOSITE, *SCORES])


def examples(snapshot: Snapshot, artifact_uri: str) -> dict[str, np.ndarray]:
    """The maps that a run has kept, see :mod:`study.jobs.localise`; empty where it has none."""
    return _artifact(snapshot, artifact_uri, load_file, MAPS) or {}


def found(rows: pd.DataFrame, further: Sequence[str] = ()) -> pd.DataFrame:
    """Average composites over photographs, for every setting and detector.

    Args:
        rows: from :func:`localised`.
        further: columns to tell apart as well, such as ``kind``.

    Returns:
        The columns of a setting, ``detector``, ``further``, ``seeds``, ``images`` (photographs), and of each of
        :data:`SCORES` the mean, ``_low`` and ``_high``.
    """
    by = [*setting_columns(rows), "detector", *further]
    return ordered(_over_photographs(rows[rows["kind"] != PRISTINE], by, SCORES))


def pristine(rows: pd.DataFrame) -> pd.DataFrame:
    """Count false alarms in pristine photographs, for every setting and detector.

    Returns:
        The columns of a setting, ``detector``, ``seeds``, ``images``; ``flagged``, the share of their pixels, with
        ``_low`` and ``_high``; ``alarms``, the share of photographs with any flagged pixel, with the exact interval
        (Clopper and Pearson) of photographs and seeds, counted as if all were independent.
    """
    by = [*setting_columns(rows), "detector"]
    untouched = rows[rows["kind"] == PRISTINE].assign(alarms=lambda found: (found["flagged"] > 0).astype(float))
    shares = _over_photographs(untouched, by, ("flagged", "alarms"))
    counts = untouched.groupby(by, dropna=False)["alarms"].agg(["sum", "size"]).reset_index()
    shares = shares.merge(counts, on=by, validate="one_to_one")
    bounds = [exact_interval(int(count), int(size)) for count, size in zip(shares["sum"], shares["size"], strict=True)]
    shares["alarms_low"], shares["alarms_high"] = [low for low, _ in bounds], [high for _, high in bounds]
    return ordered(shares.drop(columns=["sum", "size"]))


def localisation_gain(rows: pd.DataFrame, further: Sequence[str] = ()) -> pd.DataFrame:
    """Joint minus fixed, paired by seed, photograph and composite, for every detector.

    Args:
        rows: from :func:`localised`.
        further: as of :func:`found`.

    Returns:
        As :func:`found`, with differences, and ``by_seed`` and ``f1_by_seed``: tuples of the mean difference of AUC and
        of F1 for each seed. Settings without a fixed partner are left out.
    """
    partners = ["camera", "isp", *axes(rows), "seed", "detector", *COMPOSITE]
    altered = rows[rows["kind"] != PRISTINE]
    fixed = altered.loc[altered["mode"] == FIXED, [*partners, *SCORES]]
    pairs = altered[altered["mode"] != FIXED].merge(fixed, on=partners, suffixes=("", "_fixed"), validate="many_to_one")
    for name in SCORES:
        pairs[name] = pairs[name].astype(float) - pairs[f"{name}_fixed"].astype(float)
    by = [*setting_columns(rows), "detector", *further]
    gains = _over_photographs(pairs, by, SCORES)
    each = pairs.groupby([*by, "seed"], dropna=False)[["auc", "f1"]].mean().groupby(by, dropna=False).agg(tuple)
    each = each.rename(columns={"auc": "by_seed", "f1": "f1_by_seed"}).reset_index()
    return ordered(gains.merge(each, on=by, validate="one_to_one"))


def _over_photographs(rows: pd.DataFrame, by: list[str], names: Sequence[str]) -> pd.DataFrame:
    """Means, and Student's intervals over photographs."""
    values = rows.astype(dict.fromkeys(names, float))
    photographs = values.groupby([*by, "photograph"], dropna=False)[list(names)].mean().groupby(by, dropna=False)
    mean, std, number = photographs.mean(), photographs.std(), photographs.size()
    low, high = interval(mean.to_numpy(), std.to_numpy(), number.to_numpy()[:, None])
    columns: dict[str, Any] = {"seeds": rows.groupby(by, dropna=False)["seed"].nunique(), "images": number}
    for position, name in enumerate(names):
        columns |= {name: mean[name], f"{name}_low": low[:, position], f"{name}_high": high[:, position]}
    return pd.DataFrame(columns).reset_index()
