"""Confusion matrices of every setting, as in the paper's Table 4."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from study import results
from study.report import plots
from study.report.content import Content, View, groups
from study.report.parts import Part, Section, details, figure_name, matrices, matrix, note, offer
from study.report.tables import Table, as_printed, count, wide

READING = """Percent, mean over seeds, on the {} photographs; rows are the true class, columns the predicted. Entries
below 0.5 % are not shown, entries below 3 % are marked *."""


def section(content: Content) -> Section:
    parts = [note(READING.format(content.view.photographs))]
    if content.real:
        found = results.panel_confusions(content.real.done, content.verdicts)
        pooled = found[found["codec"] == results.PANEL].drop(columns="codec")
        every = confusions(found, "confusions-real", "Confusion matrices behind real encoders: all of them, and each")
        parts += [*_matrices(pooled, content.real, " · real encoders"), offer(every)]
    found = results.confusions(content.snapshot, content.trials)
    own = list(_matrices(found, content.trained, " · dJPEG" if content.real else "", opened=content.real is None))
    return Section("Confusion matrices", [*parts, *own, offer(confusions(found))])


def _matrices(found: pd.DataFrame, view: View, behind: str, opened: bool = True) -> Iterator[Part]:
    """A part per camera × ISP, on the test photographs where there are some: fixed first, then falling λ."""
    if found.empty:
        return
    by = [name for name in found.columns if name not in ("seeds", "classes", "confusion")]
    merged = found.merge(view.reported[[*by, "accuracy"]], on=by, validate="one_to_one")
    for number, (title, group) in enumerate(groups(merged, "camera", "isp")):
        ordered = group.sort_values("lam", ascending=False, na_position="first").to_dict("records")
        together = matrices([_matrix(row, title + behind) for row in ordered], "confusions")
        yield details(title + behind, together, opened=opened and number == 0)


def _matrix(row: Mapping[str, Any], place: str) -> Part:
    title = "fixed" if row["mode"] == results.FIXED else f"λ = {row['lam']:g}"
    aside = f" → {100 * row['accuracy']:.1f} %, {count(row['seeds'], 'seed')}"
    names, shares = row["classes"], row["confusion"]

    def text(i: int, j: int) -> str:
        return percent(shares[i, j])

    shown = matrix(title, names, shares, text, aside=aside, letters=3)
    draw = partial(plots.shaded, names, shares, text, "True", "Predicted (%)")
    return replace(shown, figures={figure_name("confusions", f"{place} {title}"): draw})


def confusions(
    found: pd.DataFrame, name: str = "confusions", caption: str = "Confusion matrices, percent, mean over seeds"
) -> Table:
    """All confusion matrices, one below the other; numbers one entry a row."""
    by = [name for name in found.columns if name not in ("classes", "confusion")]
    numbers = pd.DataFrame(
        [
            (*(record[name] for name in by), true, predicted, share)
            for record in found.to_dict("records")
            for true, line in zip(record["classes"], record["confusion"], strict=True)
            for predicted, share in zip(record["classes"], line, strict=True)
        ],
        columns=[*by, "true", "predicted", "share"],
    )
    names = {name: name for name in by if name not in ("mode", "seeds")} | {"true": "True"}
    rows = wide(numbers, names, ("predicted", "Predicted (%)"), "share", percent)
    return Table(name, caption, as_printed(rows, once=len(names) - 1), numbers)


def percent(share: float) -> str:
    """As in the paper's Table 4: nothing for ≈ 0, * below 3 %."""
    if share < 0.005:
        return ""
    return "*" if share < 0.03 else f"{100 * share:.0f}"
