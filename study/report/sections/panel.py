"""Accuracy behind every encoder of the panel, those marked that training could not have drawn."""

from collections.abc import Mapping

import pandas as pd

from study import results
from study.report import plots
from study.report.content import Content, groups
from study.report.parts import Section, note, panels, picture, show
from study.report.sections.codecs import METRICS, TRAINED, behind_codecs
from study.report.tables import Cells, Table, as_printed, flat, interval, named, number

MARK = "†"
READING = f"""The verdict at the end of every trial: whole photographs, developed, stored with 8 bits, manipulated,
shrunk, compressed by a real encoder and decoded; then windows of them, on the {{}} photographs. “real” is the mean over
the panel, by which settings are ranked, “worst” its worst member, “own” the codec of the trial’s own channel, by real
files. {MARK}: an encoder, or a quality of it, that the training of at least one of the trials could not have drawn.
Points are means over seeds, bars their 95 % intervals (Student’s t; one seed has none). First row: patches behind
dJPEG, as in training."""
NAMES = {results.PANEL: "real (mean)", results.WORST: "worst"}


def section(content: Content) -> Section:
    gaps = results.behind_panel(content.trials)
    gaps = gaps.assign(unseen=[_unseen(row, content.unseen) for row in gaps.to_dict("records")])
    shown = results.reported(gaps, METRICS)
    marked = shown.assign(codec=[_marked(row["codec"], row["unseen"]) for row in shown.to_dict("records")])
    pictures = [
        picture(behind_codecs(plots.spread(group)), "panel", title, f"Accuracy behind the panel, {title}")
        for title, group in groups(marked, "camera", "isp")
    ]
    reading = READING.format(" or ".join(sorted(shown[results.ON].unique())))
    return Section("Behind every encoder of the panel", [note(reading), panels(pictures), show(panel(gaps))])


def _unseen(row: Mapping[str, object], unseen: Mapping[str, frozenset[str]]) -> bool:
    """Whether the training of any trial of this row could not have drawn its encoder."""
    return any(row["codec"] in unseen.get(run_id, ()) for run_id in row["run_ids"])  # type: ignore[attr-defined]


def _marked(codec: str, unseen: bool) -> str:
    return NAMES.get(codec, codec) + (f" {MARK}" if unseen else "")


def panel(gaps: pd.DataFrame) -> Table:
    """A row per setting: accuracy behind dJPEG as trained, the mean over the panel with its gap, and each member."""
    by = ["camera", "isp", *results.axes(gaps), "lam", results.ON]
    rows = []
    for values, group in results.by_photographs(gaps, METRICS).groupby(by, dropna=False, sort=False):
        row: Cells = named(dict(zip(by, values, strict=True)))
        row[TRAINED, "Accuracy (%)"] = number(100 * group["accuracy"].mean(), 1)
        for found in group.to_dict("records"):
            heading = NAMES.get(found["codec"], found["codec"])
            mark = f" {MARK}" if found["unseen"] else ""
            row[heading, "Accuracy (%)"] = interval(found, "behind", 1, scale=100) + mark
            if found["codec"] == results.PANEL:
                row[heading, "Gap (points)"] = interval(found, results.GAP, 1, scale=100, sign=True)
        rows.append(row)
    caption = f"Accuracy behind real encoders on whole photographs; {MARK}: training could not have drawn it"
    return Table("panel", caption, as_printed(rows, once=len(by) - 2), flat(gaps))
