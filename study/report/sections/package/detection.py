"""What it detects: altered photographs that are called altered, by manipulation and kind of file."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.report.package_content import ALL, PackageContent, by_kind, named, numbers, percent, refusal
from study.report.parts import Section, details, note, paragraph, show
from study.report.tables import Cells, Table, as_printed

TITLE = "What it detects"
NAMED_RIGHT = "named right"
FOUND = """At a nominal rate of {rate}, {share} % of the altered photographs are called altered; of these, {named} %
are named right."""
READING = """Whole photographs that were manipulated everywhere. Named right: of those called altered, the share whose
most probable manipulation is the true one. Every photograph was manipulated in each way, so that the manipulations are
not independent of each other: the truth is a little less certain than the intervals of all together. Brackets: 95 %,
Clopper and Pearson."""


def section(content: PackageContent) -> Section:
    if content.reliability is None:
        return Section(TITLE, [paragraph(content.unchecked)])
    said = [paragraph(_said(rate, found)) for rate, found in content.rates()]
    each = detected_by_kind(content)
    return Section(TITLE, [*said, show(detected(content)), note(READING), details("By kind of file", show(each))])


def _said(rate: str, found: Mapping[str, Any]) -> str:
    if "refused" in found:
        return refusal(found)
    return FOUND.format(rate=rate, share=percent(found["detected"]), named=percent(found["named_right"]))


def detected(content: PackageContent) -> Table:
    """A row per nominal rate and manipulation, all kinds of file together."""
    rows, printed = [], []
    for rate, found in content.possible():
        for name, one in {ALL: found["detected"], **found["detected_by_class"]}.items():
            names: Cells = {("", "Rate"): rate, ("", "Manipulation"): name}
            printed.append(names | {("", "Photographs"): str(one["of"]), ("", "Called altered (%)"): percent(one)})
            rows.append(numbers(rate, ALL, name, one))
    caption = "Altered photographs that are called altered, with 95 % intervals"
    return Table("detected", caption, as_printed(printed, once=1), pd.DataFrame(rows))


def detected_by_kind(content: PackageContent) -> Table:
    """A row per nominal rate and kind of file, a column per manipulation."""
    rows, printed = [], []
    for rate, found in content.possible():
        for kind, at in by_kind(found).items():
            every = {"all": at["detected"], **at["detected_by_class"]}
            cells: Cells = named(rate, kind) | {("", "Photographs"): str(at["detected"]["of"])}
            cells |= {("Called altered (%)", name): percent(one) for name, one in every.items()}
            printed.append(cells | {("Of these (%)", NAMED_RIGHT): percent(at["named_right"])})
            shares = every | {NAMED_RIGHT: at["named_right"]}
            rows += [numbers(rate, kind, name, one) for name, one in shares.items()]
    caption = "Altered photographs that are called altered, by kind of file, with 95 % intervals"
    return Table("detected-by-kind", caption, as_printed(printed, once=1), pd.DataFrame(rows))
