"""Accuracy behind real encoders, beside that behind the differentiable channel of the training.

Two kinds of runs have it. Every trial ends with a verdict on whole photographs, behind a panel of encoders: metrics
``accuracy_real`` (mean over the panel), ``accuracy_real_worst`` and ``accuracy_real_jpeg_50_420`` (one member), which
:func:`behind` puts in the place of ``accuracy``, so that every function of tables of trials works with it. A later
evaluation on patches adds ``accuracy_jpeg_50`` and so on (:func:`behind_codecs`).
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from study.results.runs_table import (
    CODEC,
    DIFFERENTIABLE,
    GAP,
    OWN,
    REAL,
    TEST,
    finished,
    one_a_seed,
    ordered,
    setting_columns,
)
from study.results.statistics import over_seeds

PANEL, WORST = "real", "worst"  # the mean over the panel, and its worst member
TRAINED = "dJPEG"  # behind the trial's own channel, as its training validates


def metric(channel: str) -> str:
    """The metric on the validation photographs: "real", "worst", "dJPEG", or a member such as "jpeg:50 4:2:0"."""
    if channel in (PANEL, TRAINED):
        return REAL if channel == PANEL else "accuracy"
    member = re.sub(r"_(\d)_(\d)_(\d)$", r"_\1\2\3", re.sub(r"[\s:]+", "_", channel.strip()))
    return f"{REAL}_{member}"


def channel(name: str) -> str:
    """``accuracy_real_jpeg_50_420`` → ``jpeg:50 4:2:0``: the opposite of :func:`metric`."""
    if name in ("accuracy", REAL):
        return TRAINED if name == "accuracy" else PANEL
    member = name.removeprefix(f"{REAL}_")
    return codec_name(f"accuracy_{member}") if CODEC.fullmatch(f"accuracy_{member}") else member


def channels(table: pd.DataFrame) -> list[str]:
    """Name what the finished trials were judged behind: "real" and "worst" first, then the panel, "dJPEG" last."""
    done = finished(table)
    first = [name for name in (PANEL, WORST) if metric(name) in done and done[metric(name)].notna().any()]
    return [*first, *members(table), TRAINED]


def members(table: pd.DataFrame) -> list[str]:
    """Name the encoders of the panel that any finished trial was judged behind."""
    done = finished(table)
    judged = [name for name in done if name.startswith(f"{REAL}_") and done[name].notna().any()]
    return sorted((channel(name) for name in judged if name != metric(WORST)), key=_natural)


def behind(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Select the trials that were judged behind a channel, with that accuracy in the place of ``accuracy``.

    Args:
        table: from :func:`study.results.trials`.
        name: one of :func:`channels`.

    Returns:
        The rows that have it; ``accuracy`` and ``test_accuracy`` are behind this channel, ``trained`` and
        ``test_trained`` behind that of the training, ``gap`` and ``test_gap`` the difference. The table itself, without
        these, for "dJPEG".

    Raises:
        ValueError: no trial was.
    """
    if name == TRAINED:
        return table
    column = metric(name)
    if column not in map(metric, channels(table)):
        raise ValueError(f"no trial was judged behind {name!r}; there are: {', '.join(channels(table))}")
    table = table[table[column].notna()]
    columns: dict[str, Any] = {}
    for prefix in ("", TEST):
        judged = table[prefix + column] if prefix + column in table else np.full(len(table), np.nan)
        trained = table[f"{prefix}accuracy"]
        columns |= {f"{prefix}accuracy": judged, prefix + OWN: trained, prefix + GAP: judged - trained}
    return table.assign(**columns)


def leading(table: pd.DataFrame) -> str:
    """What results are ranked by and shown first: "real" where any trial has a verdict, else "dJPEG"."""
    return PANEL if PANEL in channels(table) else TRAINED


def behind_panel(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the accuracy of finished trials behind each member of the panel with that behind their own channel.

    Returns:
        As :func:`behind_codecs`: ``codec`` is "real", "worst" or a member.
    """
    names = [name for name in channels(table) if name != TRAINED]
    return _compared(table, {metric(name): name for name in names})


def behind_codecs(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the accuracy of finished trials behind real encoders with that behind their own channel, on patches.

    Returns:
        Columns ``camera``, ``isp``, ``mode``, ``lam``, further axes, ``codec`` ("jpeg:50", "jpeg:50 4:2:0"),
        ``seeds``, and for ``accuracy`` (of the same trials and patches behind the trained channel), ``behind`` (the
        encoder) and ``gap`` (behind − accuracy, paired by trial) mean, ``_std``, ``_low`` and ``_high`` as in
        :func:`summary`, and the same with ``test_`` before. Empty where nothing was evaluated.

    Raises:
        ValueError: a seed of a setting comes twice.
    """
    for prefix in ("", TEST):
        if prefix + DIFFERENTIABLE in table:
            trained = table[prefix + DIFFERENTIABLE].fillna(table[f"{prefix}accuracy"])
            table = table.assign(**{f"{prefix}accuracy": trained})
    return _compared(table, {column: codec_name(column) for column in table.columns if CODEC.fullmatch(column)})


def _compared(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    table = one_a_seed(finished(table))
    names = [f"{prefix}{name}" for prefix in ("", TEST) for name in ("behind", GAP)]
    parts = []
    for column, name in columns.items():
        found = table.assign(codec=name)
        for prefix in ("", TEST):
            judged = table.get(prefix + column, np.nan)
            found = found.assign(**{f"{prefix}behind": judged, f"{prefix}{GAP}": judged - table[f"{prefix}accuracy"]})
        parts.append(found)
    pairs = (
        pd.concat(parts).dropna(subset="behind")
        if parts
        else table.head(0).assign(codec="", **dict.fromkeys(names, 0.0))
    )
    by = [*setting_columns(table), "codec"]
    found = over_seeds(pairs, by, [f"{prefix}{name}" for prefix in ("", TEST) for name in ("accuracy", "behind", GAP)])
    order = {name: number for number, name in enumerate(columns.values())}
    found = found.sort_values("codec", key=lambda names: names.map(order), kind="stable")
    return ordered(found)


def codec_name(name: str) -> str:
    """``accuracy_jpeg_50_420`` → ``jpeg:50 4:2:0``"""
    found = CODEC.fullmatch(name)
    assert found, name
    return f"{found[1]}:{found[2]}" + (f" {found[3]}:{found[4]}:{found[5]}" if found[3] else "")


def _natural(name: str) -> tuple[str, float, str]:
    """Order of members: by encoder, then by quality as a number."""
    encoder, _, quality = name.partition(":")
    number = re.match(r"\d+", quality)
    return encoder, float(number[0]) if number else 0, quality
