"""Trials that the report leaves out, and why."""

import pandas as pd

from study import results
from study.report.content import Content
from study.report.parts import MACROS, Part, Section, paragraph, show
from study.report.tables import Table, as_printed, count, named


def section(content: Content) -> Section:
    parts = [show(missing(content.missing))]
    superseded = [row for row in content.trials.to_dict("records") if row["superseded"]]
    if superseded:
        have = f"{count(len(superseded), 'trial')} {'has' if len(superseded) == 1 else 'have'}"
        parts.append(paragraph(f"{have} more than one run; the first finished one counts:", "plain"))
        parts.append(Part(MACROS.superseded(superseded, results.axes(content.trials))))
    unplanned = len(content.every_trial) - len(content.trials)
    if unplanned:
        belong, are = ("belongs", "is") if unplanned == 1 else ("belong", "are")
        text = (
            f"{{}} in the tracking store {belong} to another state of the study file and {are} not part of this report."
        )
        parts.append(paragraph(text.format(count(unplanned, "trial")), "plain"))
    return Section("Trials left out", parts, anchor="missing")


def missing(numbers: pd.DataFrame) -> Table:
    """Trials without a result; seeds of the same setting that share a state share a line."""
    by = [name for name in numbers.columns if name not in ("seed", "run_id")]
    rows = []
    for values, group in numbers.groupby(by, dropna=False):
        *place, state = values
        row = named(dict(zip(by[:-1], place, strict=True)))
        row["", "Seeds"] = ", ".join(map(str, sorted(group["seed"].unique())))
        row["", "State"] = state
        rows.append(row)
    return Table("missing", "Trials without a result", as_printed(rows), numbers)
