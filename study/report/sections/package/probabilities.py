"""Are the probabilities right? Reliability diagram, ECE, and the cost of the likelihood ratios."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from study.report import plots
from study.report.package_content import ALL, PackageContent
from study.report.parts import Section, embedded, note, offer, paragraph, picture, show
from study.report.tables import Table, as_printed, number
from study.results.reliability import BINS

TITLE = "Are its probabilities right?"
FOUND = """The expected calibration error (ECE) is {ece}. Cllr is {cllr}, of which {gap} would go if the likelihood
ratios were recalibrated as well as possible."""
READING = """The diagram: of photographs, native and altered, whose most probable history has about this probability,
the share in which it is the true one; on the diagonal probabilities are right. Below: how many photographs there are,
each counted once native and once with each manipulation. ECE is the mean distance from the diagonal. Cllr is the cost
of the likelihood ratios of altered against native: 0 if they are perfect, 1 if they say nothing. Cllr_min is what is
left of it after the best monotonic recalibration, on the same photographs: it is a little too low where they are
few."""


def section(content: PackageContent) -> Section:
    found = content.reliability
    if found is None:
        return Section(TITLE, [paragraph(content.unchecked)])
    values = {name: number(found[name], 3) for name in ("ece", "cllr")}
    bins = reliability(content)
    title = "Reliability, all kinds of file"
    drawn = picture(plot(bins.numbers), "reliability", title, "Accuracy by probability of the most probable history")
    parts = [
        paragraph(FOUND.format(**values, gap=number(found["cllr"] - found["cllr_min"], 3))),
        embedded(drawn),
        offer(bins),
        show(costs(content)),
        note(READING),
    ]
    return Section(TITLE, parts)


def reliability(content: PackageContent) -> Table:
    """The bins of the reliability diagram."""
    bins = pd.DataFrame((content.reliability or {})["bins"])
    printed = [
        {
            ("", "Probability (%)"): number(100 * row["confidence"], 1),
            ("", "Accuracy (%)"): number(100 * row["accuracy"], 1),
            ("", "Photographs"): str(row["photographs"]),
        }
        for row in bins.to_dict("records")
    ]
    return Table("reliability", "Reliability diagram in numbers", as_printed(printed), bins)


def costs(content: PackageContent) -> Table:
    """A row per kind of file: ECE, Cllr and Cllr_min."""
    found = content.reliability or {}
    names = {"ece": "ECE", "cllr": "Cllr", "cllr_min": "Cllr_min"}
    rows = [
        {"files": kind, **{name: float(at[name]) for name in names}}
        for kind, at in {ALL: found, **found["by_kind"]}.items()
    ]
    printed = [
        {
            ("", "Files"): str(row["files"]),
            **{("", heading): number(row[name], 3) for name, heading in names.items()},
            ("", "Cllr − Cllr_min"): number(row["cllr"] - row["cllr_min"], 3),
        }
        for row in rows
    ]
    caption = "Calibration error and cost of the likelihood ratios by kind of file"
    return Table("costs", caption, as_printed(printed), pd.DataFrame(rows))


def plot(bins: pd.DataFrame) -> Figure:
    """Accuracy against confidence of the most probable class, and below the numbers of photographs."""
    with plots.column(3.9) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color=plots.INK, linewidth=0.8, linestyle=plots.DASHED)
        look: dict[str, Any] = {"color": plots.PALETTE[0], "markersize": 4, "linewidth": 1.2, "clip_on": False}
        upper.plot(bins["confidence"], bins["accuracy"], "-o", **look)
        upper.set_xlim(0, 1)
        upper.set_ylim(0, 1.02)
        upper.set_ylabel("Accuracy")
        middles = ((bins["confidence"] * BINS).astype(int).clip(upper=BINS - 1) + 0.5) / BINS
        bars = lower.bar(middles, bins["photographs"], 0.9 / BINS, color=plots.PALETTE[0])
        lower.bar_label(bars, fontsize=6.5, padding=1)
        lower.margins(y=0.25)
        lower.grid(visible=False)
        lower.set_ylabel("Photographs")
        lower.set_xlabel("Probability of the most probable history")
    return figure
