"""Fidelity of the pre-trained ISPs, as in the paper's Table 1, and how they came to it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study import results
from study.report import plots
from study.report.content import Content, groups
from study.report.parts import Part, Section, note, panels, picture, show
from study.report.sections.metrics import KIND, KINDS
from study.report.tables import Cells, Table, as_printed, metric_cells, named
from study.results.claims import table_1

FIDELITY = ["psnr", "ssim", "ssim_paper"]
Metrics = Mapping[str, tuple[str, float, int]]
METRICS: Metrics = {
    "psnr": ("PSNR (dB)", 1, 2),
    "ssim": ("SSIM", 1, 3),
    "ssim_paper": (KIND, 1, 3),
    "iterations": ("Iterations", 1, 0),
    "parameters": ("Parameters", 1, 0),
    "seconds": ("Time (min)", 1 / 60, 1),
}
PAPER_METRICS: Metrics = {
    "psnr": ("PSNR (dB)", 1, 1),
    "ssim": (KIND, 1, 3),
    "parameters": ("Parameters", 1, 0),
}
READING = """Validation photographs end the pre-training and choose its best weights; test photographs have no part in
it. The paper’s are validation photographs. Figures: PSNR on the validation photographs, in the course of the
pre-training."""
CAPTION = "Fidelity of the pre-trained ISPs that the trials start from; “mean” is the mean over cameras"


def section(content: Content) -> Section:
    table = pretraining(content.pretrained)
    return Section("Pre-training", [show(table), note(f"{READING} {KINDS}"), panels(_pictures(content))])


def _pictures(content: Content) -> Iterator[Part]:
    """A picture per camera and value of the further axes."""
    points = results.curves(content.snapshot, content.pretrained, "psnr")
    for title, group in groups(points, "camera"):
        yield picture(progress(group), "pretraining", title, f"PSNR in the course of pre-training, {title}")


def progress(points: pd.DataFrame) -> Figure:
    """Validation PSNR by iteration, a line per ISP, from :func:`results.curves` of one camera."""
    with plots.column(2.4) as figure:
        axes = figure.subplots()
        for isp in plots.in_order(points["isp"]):
            for number, (_, run) in enumerate(points[points["isp"] == isp].groupby("run_id")):
                label = None if number else isp
                axes.plot(run["iteration"], run["value"], color=plots.isp_colour(isp), linewidth=1.2, label=label)
        axes.set(xlabel="Iteration", ylabel="PSNR (dB)")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        plots.legend(figure, axes)
    return figure


def pretraining(pretrained: pd.DataFrame) -> Table:
    """Fidelity of the pre-trained NIPs per camera, their mean over cameras, and the paper's."""
    isps = list(pretrained["isp"].unique())
    rows = []
    for place, found, known in blocks(pretrained):
        row: Cells = named(place)
        for isp in isps:
            row |= metric_cells(isp, found[found["isp"] == isp], known)
        rows.append(row)
    return Table("pretraining", CAPTION, as_printed(rows), pretrained)


def summary(pretrained: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`pretraining` with a row for each NIP, and why its training stopped."""
    rows = []
    for place, found, known in blocks(pretrained):
        for isp in found["isp"]:
            one = found[found["isp"] == isp]
            row: Cells = named({**place, "isp": isp}) | metric_cells("", one, known)
            rows.append(row | {("", "Stopped"): one.iloc[0].get("stopped", "")})
    return as_printed(rows)


def blocks(pretrained: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame, Metrics]]:
    """A place, the NIPs found there, and the metrics known of them.

    Places are camera, further axes and photographs; the mean over cameras, where there are several; the paper.
    """
    further = results.axes(pretrained)
    by = ["camera", *further, results.ON]
    judged = results.by_photographs(pretrained, FIDELITY)
    metrics = {name: how for name, how in METRICS.items() if pretrained[name].notna().any()}
    what: dict[str, Any] = {**dict.fromkeys(METRICS, "mean"), "stopped": _several}
    for place, group in judged.groupby(by, dropna=False):
        yield dict(zip(by, place, strict=True)), group.groupby("isp", as_index=False).agg(what), metrics
    if pretrained["camera"].nunique() > 1 and not further:  # a mean over several settings would mean nothing
        means = judged.groupby([*by, "isp"], as_index=False).agg(what)
        for on, group in means.groupby(results.ON):
            over = group.groupby("isp", as_index=False).agg(what)
            yield {"camera": "mean", results.ON: on}, over, metrics
    paper = table_1().reset_index()
    known = paper[paper["isp"].isin(set(pretrained["isp"]))]
    if len(known):
        yield {"camera": "paper, mean of 8 cameras", results.ON: results.VALIDATION_SET}, known, PAPER_METRICS


def _several(reasons: "pd.Series[str]") -> str:
    """The different ones."""
    return ", ".join(sorted({reason for each in reasons for reason in each.split(", ")} - {""}))
