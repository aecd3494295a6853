"""Accuracy behind real encoders, patch by patch, beside that behind the channel that the trials were trained with."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study import results
from study.report import plots
from study.report.content import Content, groups
from study.report.parts import Section, note, panels, picture, show
from study.report.tables import Cells, Table, as_printed, flat, interval, named, number

READING = """Every finished trial once more, with a real encoder at 8 bits in place of the differentiable one it was
trained with (first row), on the {} photographs. Points are means over seeds, bars their 95 % intervals (Student’s t;
one seed has none). A gap below zero is what the differentiable channel promises too much."""
TRAINED = "dJPEG"
METRICS = ("behind", "gap", "accuracy")


def section(content: Content) -> Section:
    gaps = results.behind_codecs(content.trials)
    shown = results.reported(gaps, METRICS)
    pictures = [
        picture(behind_codecs(plots.spread(group)), "codecs", title, f"Accuracy behind real encoders, {title}")
        for title, group in groups(shown, "camera", "isp")
    ]
    reading = READING.format(" or ".join(sorted(shown[results.ON].unique())))
    return Section("Behind real encoders, patch by patch", [note(reading), panels(pictures), show(codecs(gaps))])


def behind_codecs(gaps: pd.DataFrame) -> Figure:
    """Accuracy behind real encoders of one camera × ISP: a line per codec, a colour per λ, bars of 95 %."""
    rows = [TRAINED, *gaps["codec"].unique()]
    settings = list(plots.by_lambda(gaps))
    with plots.column(0.9 + 0.3 * len(rows)) as figure:
        axes = figure.subplots()
        for number, (label, colour, fixed, chosen) in enumerate(settings):
            shift = 0.5 * (number - (len(settings) - 1) / 2) / len(settings)
            behind = ["behind", "behind_low", "behind_high"]
            trained = chosen[["accuracy", "accuracy_low", "accuracy_high"]].to_numpy()[:1]
            mean, low, high = 100 * np.concatenate([trained, chosen[behind].to_numpy()]).T
            places = [shift, *(rows.index(codec) + shift for codec in chosen["codec"])]
            axes.plot(mean, places, "D" if fixed else "o", color=colour, markersize=4, label=label)
            axes.hlines(places, low, high, color=colour, linewidth=1)
        axes.set_yticks(range(len(rows)), rows)  # text, which another font may widen
        axes.invert_yaxis()
        axes.axhline(0.5, color=plots.INK, linewidth=0.6)
        axes.set_xlabel("Accuracy (%)")
        plots.legend(figure, axes)
    return figure


def codecs(gaps: pd.DataFrame) -> Table:
    """A row per setting: accuracy behind dJPEG as trained, then behind each real encoder, with the gap."""
    by = ["camera", "isp", *results.axes(gaps), "lam", results.ON]
    shown = results.by_photographs(gaps, METRICS)
    rows = []
    for values, group in shown.groupby(by, dropna=False, sort=False):
        row: Cells = named(dict(zip(by, values, strict=True)))
        row[TRAINED, "Accuracy (%)"] = number(100 * group["accuracy"].mean(), 1)
        for found in group.to_dict("records"):
            row[found["codec"], "Accuracy (%)"] = number(100 * found["behind"], 1)
            row[found["codec"], "Gap (points)"] = interval(found, "gap", 1, scale=100, sign=True)
        rows.append(row)
    caption = "Accuracy behind the trained channel and behind real encoders (8 bits)"
    return Table("codecs", caption, as_printed(rows, once=len(by) - 2), flat(gaps))
