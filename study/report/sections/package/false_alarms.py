"""How often it is wrong: native photographs that are called altered, by nominal false-alarm rate."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.report.package_content import PackageContent, by_kind, named, numbers, percent, refusal
from study.report.parts import Section, note, paragraph, show
from study.report.tables import Cells, Table, as_printed

TITLE = "How often it is wrong"
MEASURES = {
    "above": ("Native photographs (%)", "Above the threshold"),
    "false_alarms": ("Native photographs (%)", "Called altered"),
    "false_regions": ("Native photographs (%)", "With an altered region"),
    "not_judged": ("Native and altered (%)", "Not judged"),
}
FOUND = "At a nominal rate of {rate}, {count} of {of} native photographs are above the threshold: {share} %. {verdict}"
INSIDE = "The nominal rate lies in the interval."
MORE = "The nominal rate lies below the interval: there are more false alarms than it promises."
LESS = "The nominal rate lies above the interval: there are fewer false alarms than it promises."
KINDS = " By kind of file it lies in {} of {} intervals{}."
READING = """The nominal rate is what a user asks for. The threshold is the evidence that no more than this share of
native photographs should exceed. A photograph above it is called altered if it can be judged and its evidence favours
altering. Whether a region of it is altered is a decision of its own, with the same nominal rate. Not judged are
photographs that are too flat or too unlike those that calibrated. The photographs were behind one real encoder each,
drawn by chance; none of them calibrated. Brackets: 95 %, Clopper and Pearson. Of many intervals, one in twenty may
miss."""


def section(content: PackageContent) -> Section:
    if content.reliability is None:
        return Section(TITLE, [paragraph(content.unchecked)])
    said = [paragraph(_verdict(rate, found)) for rate, found in content.rates()]
    return Section(TITLE, [*said, show(false_alarms(content)), note(READING)])


def _verdict(rate: str, found: Mapping[str, Any]) -> str:
    if "refused" in found:
        return refusal(found)
    nominal, above = float(rate.removesuffix(" %")) / 100, found["above"]
    low, high = above["interval"]
    verdict = INSIDE if low <= nominal <= high else MORE if nominal < low else LESS
    text = FOUND.format(rate=rate, count=above["count"], of=above["of"], share=percent(above), verdict=verdict)
    intervals = {kind: at["above"]["interval"] for kind, at in found["by_kind"].items()}
    outside = [kind for kind, (low, high) in intervals.items() if not low <= nominal <= high]
    but = f", not in that of {', '.join(outside)}" if outside else ""
    return text + KINDS.format(len(intervals) - len(outside), len(intervals), but)


def false_alarms(content: PackageContent) -> Table:
    """A row per nominal rate and kind of file."""
    rows, printed = [], []
    for rate, found in content.possible():
        for kind, at in by_kind(found).items():
            cells: Cells = named(rate, kind) | {("", "Native"): str(at["above"]["of"])}
            printed.append(cells | {heading: percent(at[name]) for name, heading in MEASURES.items()})
            rows += [numbers(rate, kind, name, at[name]) for name in MEASURES]
    caption = "False alarms by nominal rate and kind of file, with 95 % intervals"
    return Table("false-alarms", caption, as_printed(printed, once=1), pd.DataFrame(rows))
