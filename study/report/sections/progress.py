"""Accuracy and PSNR in the course of training."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study import results
from study.report import plots
from study.report.content import Content, groups
from study.report.parts import Part, Section, note, panels, picture

READING = (
    "On the fixed validation patches. Thick lines are means over seeds, thin ones single seeds; dashed: fixed ISP."
)


def section(content: Content) -> Section:
    return Section("Training progress", [note(READING), panels(_pictures(content))])


def _pictures(content: Content) -> Iterator[Part]:
    for title, group in groups(content.done, "camera", "isp"):
        chosen = plots.spread(group)
        accuracy = results.curves(content.snapshot, chosen, "accuracy")
        psnr = content.psnr[content.psnr["run_id"].isin(chosen["run_id"])]
        if len(accuracy) and len(psnr):
            yield picture(progress(accuracy, psnr), "progress", title, f"Training progress, {title}")


def progress(accuracy: pd.DataFrame, psnr: pd.DataFrame) -> Figure:
    """Validation accuracy and PSNR by iteration (paper Fig. 8), from :func:`results.curves` of one camera × ISP."""
    with plots.column(3.9) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        for axes, points, scale in ((upper, accuracy, 100), (lower, psnr, 1)):
            for label, colour, fixed, chosen in plots.by_lambda(points):
                for _, run in chosen.groupby("run_id"):
                    axes.plot(run["iteration"], scale * run["value"], color=colour, linewidth=0.5, alpha=0.35)
                mean = scale * chosen.groupby("iteration")["value"].mean()
                dashes = plots.DASHED if fixed else "-"
                axes.plot(mean.index, mean, color=colour, linewidth=1.4, linestyle=dashes, label=label)
        upper.set_ylabel("Accuracy (%)")
        lower.set(xlabel="Iteration", ylabel="PSNR (dB)")
        lower.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        plots.legend(figure, upper, 4)
    return figure
