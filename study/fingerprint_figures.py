"""Figures of the PRNU experiments, drawn like those of a study: one column wide, as SVG for the page and as PDF."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator

from prnu.experiment import DEVELOPED, PCE_THRESHOLD, RECEIVED, Forgery
from study.figures import COLUMN, INK, PALETTE, RULE, STYLE, settle
from study.fingerprint_tables import FIXED, JOINT, STANDARD, VIEWS

COLOURS = {DEVELOPED: PALETTE[0], RECEIVED: PALETTE[1]}
DASHES: dict[str, Any] = {FIXED: (0, (4, 2)), STANDARD: (0, (1, 1.5))}
COLUMNS = 3  # maps side by side
THUMBNAIL = 160  # pixels at most, of a photograph and of the truth
MAP = "cividis"  # dark: authentic


def forgery(example: Forgery, pipelines: Sequence[str]) -> Figure:
    """Fig. 5c: the forged photograph, where it is forged, and the map by every pipeline's camera model.

    Args:
        example: with P maps. Around a map lies what no window is centred on.
        pipelines: the P names.
    """
    height, width = example.truth.shape
    frame = (-0.5, width - 0.5, height - 0.5, -0.5)  # left, right, bottom, top: pixels of the photograph
    rows, columns = example.rows.numpy(), example.columns.numpy()
    step = max(np.diff(rows).min(initial=1), np.diff(columns).min(initial=1)) / 2
    inside = (columns[0] - step, columns[-1] + step, rows[-1] + step, rows[0] - step)
    forged_rows, forged_columns = (np.flatnonzero(example.truth.numpy().any(axis)) for axis in (1, 0))
    panels = -(-(2 + len(pipelines)) // COLUMNS) * COLUMNS
    with rc_context(STYLE):
        engine = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
        tall = panels // COLUMNS * (COLUMN / COLUMNS * min(height / width, 2) + 0.16) + 0.4
        figure = Figure(figsize=(COLUMN, tall), layout=engine)
        grid = figure.subplots(panels // COLUMNS, COLUMNS, squeeze=False)
        for axes in grid.flat:
            axes.grid(False)
            axes.set(xticks=[], yticks=[], xlim=frame[:2], ylim=frame[2:], aspect="equal")
            axes.spines[:].set(visible=True, color=RULE, linewidth=0.5)
        photograph, truth, *maps = grid.flat
        photograph.imshow(_thumbnail(example.image.numpy()).transpose(1, 2, 0), extent=frame, interpolation="none")
        photograph.add_patch(
            Rectangle(
                (forged_columns[0] - 0.5, forged_rows[0] - 0.5),
                len(forged_columns),
                len(forged_rows),
                fill=False,
                edgecolor=PALETTE[1],
                linewidth=1.2,
            )
        )
        photograph.set_title("forged photograph", fontsize=7, pad=2.5)
        shades: dict[str, Any] = {"cmap": MAP, "vmin": 0, "vmax": 1, "interpolation": "none"}
        truth.imshow(_thumbnail(example.truth.numpy()[None].astype(float))[0], extent=frame, **shades)
        truth.set_title("where it is forged", fontsize=7, pad=2.5)
        for axes, name, probability, f1 in zip(
            maps, pipelines, example.probability.numpy(), example.f1.tolist(), strict=False
        ):
            shown = axes.imshow(probability, extent=inside, **shades)
            axes.set_title(f"{_short(name)}: {f1:.2f}", fontsize=7, pad=2.5)
        for axes in maps[len(pipelines) :]:
            axes.set_axis_off()
        bar = figure.colorbar(shown, ax=grid, location="bottom", aspect=40, shrink=0.9, pad=0.1 / len(grid))
        bar.set_ticks([0, 0.5, 1], labels=["authentic", "tampering probability 0.5", "tampered"])
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=7)
        bar.ax.grid(False)
        first, _, last = bar.ax.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
        settle(figure)
    return figure


def survival(points: pd.DataFrame) -> Figure:
    """PCE (median, bars: quartiles) and AUC (bars: 95 %) against λ, before and after the distribution channel.

    Args:
        points: from :func:`fingerprint_tables.pooled`, of one camera: a jointly trained ISP, it fixed, and the
            standard pipeline, which are the dashed and the dotted lines.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 4.1), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        views = [view for view in COLOURS if view in set(points["view"])]
        for view, aside in zip(views, _aside(len(views), 0.05), strict=True):
            seen = points[points["view"] == view]
            joint = seen[seen["setting"] == JOINT].sort_values("lam")
            for axes, statistic in ((upper, "pce"), (lower, "auc")):
                colour, x = COLOURS[view], joint["lam"] * 10**aside
                axes.plot(x, joint[statistic], "-o", color=colour, markersize=3.5, linewidth=1.2)
                axes.vlines(x, joint[f"{statistic}_low"], joint[f"{statistic}_high"], color=colour, linewidth=1)
                for setting, dashes in DASHES.items():
                    for value in seen[seen["setting"] == setting][statistic]:
                        axes.axhline(value, color=colour, linewidth=1, linestyle=dashes)
        for view in views:
            upper.plot([], [], "-o", color=COLOURS[view], markersize=3.5, linewidth=1.2, label=VIEWS[view])
        for setting, dashes in DASHES.items():
            if setting in set(points["setting"]):
                upper.plot([], [], color=INK, linewidth=1, linestyle=dashes, label=setting)
        upper.set_yscale("symlog", linthresh=1)
        upper.set_ylim(min(0, 1.5 * points["pce_low"].min()), 3 * max(points["pce_high"].max(), PCE_THRESHOLD))
        upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
        upper.axhline(PCE_THRESHOLD, color=INK, linewidth=0.6)
        upper.annotate(
            f"{PCE_THRESHOLD:g}",
            (1, PCE_THRESHOLD),
            (-1, 1.5),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            fontsize=7,
        )
        upper.set_ylabel("PCE, same camera")
        lower.axhline(0.5, color=INK, linewidth=0.6)
        lower.set_ylim(min(0.45, points["auc_low"].min() - 0.02), 1.02)
        lower.set_ylabel("AUC")
        _lambda_axis(lower, points["lam"])
        figure.legend(
            *upper.get_legend_handles_labels(),
            loc="outside upper left",
            ncols=2,
            columnspacing=1.2,
            handletextpad=0.5,
            borderaxespad=0.2,
        )
        settle(figure)
    return figure


def mistakes(points: pd.DataFrame) -> Figure:
    """Pairs of different cameras above the threshold, with Wilson's 95 % intervals: a row per setting.

    Args:
        points: from :func:`fingerprint_tables.pooled`, in the order of the rows: the standard pipeline, an ISP fixed,
            and jointly trained at several λ.
    """
    names = list(dict.fromkeys(_setting(row) for row in points.to_dict("records")))
    with rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 0.95 + 0.3 * len(names)), layout="constrained")
        axes = figure.subplots()
        views = [view for view in COLOURS if view in set(points["view"])]
        for view, aside in zip(views, _aside(len(views), 0.28), strict=True):
            seen = points[points["view"] == view].to_dict("records")
            places = [names.index(_setting(row)) + aside for row in seen]
            shares = [100 * row["mistaken"].share for row in seen]
            low, high = zip(*(row["mistaken"].interval for row in seen), strict=True)
            axes.plot(shares, places, "o", color=COLOURS[view], markersize=4, label=VIEWS[view], clip_on=False)
            axes.hlines(places, 100 * np.array(low), 100 * np.array(high), color=COLOURS[view], linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"Pairs of different cameras above PCE {PCE_THRESHOLD:g} (%)")
        figure.legend(loc="outside upper left", ncols=2, handletextpad=0.3, borderaxespad=0.2)
        settle(figure)
    return figure


def _setting(row: dict[str, Any]) -> str:
    """A row's name in a figure of one ISP."""
    return f"λ = {row['lam']:g}" if row["setting"] == JOINT else row["setting"]


def _aside(count: int, distance: float) -> list[float]:
    """Places of so many points side by side, around 0."""
    return [distance * (number - (count - 1) / 2) for number in range(count)]


def _lambda_axis(axes: Axes, lambdas: pd.Series) -> None:
    """Every λ is named where there is room, else powers of ten."""
    values = sorted(lambdas.dropna().unique())
    axes.set_xscale("log")
    axes.set_xlim(values[0] / 1.6, values[-1] * 1.6)
    if len(values) <= 4 and all(b / a >= 3 for a, b in itertools.pairwise(values)):
        axes.set_xticks(values, [f"{value:g}" for value in values])
    else:
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_xlabel("λ")


def _short(name: str, letters: int = 16) -> str:
    """A name as a narrow panel has room for it."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """(C,H,W) averaged over square blocks, in its own type."""
    step = math.ceil(max(image.shape[1:]) / THUMBNAIL)
    height, width = (side // step for side in image.shape[1:])
    blocks = image[:, : height * step, : width * step].reshape(len(image), height, step, width, step)
    return blocks.mean(axis=(2, 4)).round(3 if image.dtype.kind == "f" else 0).astype(image.dtype)
