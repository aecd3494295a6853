"""Trials whose training breaks down: what PSNR they lose in the second half of it."""

import pandas as pd

from study import results
from study.report.content import Content
from study.report.parts import Section, note, paragraph, show
from study.report.tables import Table, as_printed, count, named, number

READING = f"""A trial breaks down if any validation in the second half of its training lies more than {results.LOST:g}
dB below the best PSNR of that half. Greatest loss: over the seeds of a setting."""


def section(content: Content) -> Section:
    joint = content.psnr[content.psnr["mode"] != results.FIXED]
    found = results.breakdowns(joint)
    if found.empty:
        return Section("Steady training", [])
    broken = int(found["broken"].sum())
    trials = count(len(found), "joint trial")
    text = f"{broken} of {trials} broke down." if broken else f"None of {trials} broke down."
    worst = f" The greatest loss late in training is {number(found['lost'].max(), 2)} dB."
    return Section("Steady training", [paragraph(text + worst), show(steadiness(found)), note(READING)])


def steadiness(found: pd.DataFrame) -> Table:
    """Settings with trials that broke down, and how many; the numbers hold every trial."""
    by = ["camera", "isp", *results.axes(found), "lam"]
    rows = []
    for place, group in found.groupby(by, dropna=False):
        if group["broken"].any():
            row = named(dict(zip(by, place, strict=True)))
            row["", "Broke down"] = f"{group['broken'].sum()} of {len(group)}"
            row["", "Seeds"] = ", ".join(map(str, sorted(group.loc[group["broken"], "seed"])))
            row["", "Greatest loss (dB)"] = number(group["lost"].max(), 2)
            row["", "at iteration"] = str(group.loc[group["lost"].idxmax(), "iteration"])
            rows.append(row)
    caption = "Settings with trials that broke down"
    return Table("steadiness", caption, as_printed(rows, once=len(by) - 1), found)
