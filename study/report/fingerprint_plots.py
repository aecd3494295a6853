"""Figures of the PRNU experiments, drawn like those of a study: one column wide, as SVG for the page and as PDF."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator

from prnu.experiment import DEVELOPED, PCE_THRESHOLD, RECEIVED, Forgery
from prnu.recovery import Recovery
from study.report.fingerprint_tables import FIXED, JOINT, STANDARD, VIEWS, isp_of
from study.report.plots import COLUMN, INK, PALETTE, RAMP, RULE, STYLE, legend, settle

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


def recovery(recoveries: Sequence[Recovery], lambdas: Mapping[str, float]) -> Figure:
    """Correlation with the true pattern by number of photographs: dots are measured, lines the law that fits them.

    The smaller λ, the darker; below the dotted line (three standard deviations) is chance, of which no law is made.

    Args:
        recoveries: of one camera.
        lambdas: of the jointly trained pipelines, by name.
    """
    views = [view for view in COLOURS if view in {entry.view for entry in recoveries}]
    names = list(dict.fromkeys(entry.pipeline for entry in recoveries))
    looks = dict(zip(names, _looks(names, lambdas), strict=True))
    most = max(max(entry.images) for entry in recoveries)
    with rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 2.5 + 0.15 * -(-len(names) // 3)), layout="constrained")
        panels = figure.subplots(1, len(views), sharey=True, squeeze=False)[0]
        for axes, view in zip(panels, views, strict=True):
            seen = [entry for entry in recoveries if entry.view == view]
            for entry in seen:
                colour, marker = looks[entry.pipeline]
                axes.plot(entry.images, entry.correlations, marker, color=colour, markersize=3, label=entry.pipeline)
                if entry.law is not None:
                    numbers = np.geomspace(1, most, 50).tolist()
                    axes.plot(numbers, [entry.at(N) for N in numbers], color=colour, linewidth=0.9)
            highest = max(entry.correlations[0] for entry in seen)
            axes.plot([1, most], [highest, highest * most**0.5], color=INK, linewidth=0.7, linestyle=(0, (4, 2)))
            axes.annotate("√N", (most**0.5, highest * most**0.25), (-9, 3), textcoords="offset points", fontsize=7)
            axes.axhline(3 * seen[0].chance, color=INK, linewidth=0.8, linestyle=(0, (1, 1.5)))
            axes.set_title(VIEWS[view])
            axes.set_xscale("log", base=2)
            axes.set_yscale("log", nonpositive="mask")
            axes.set_xticks(seen[0].images, [str(N) for N in seen[0].images])
            axes.minorticks_off()
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_xlabel("Photographs N")
        lowest = min(entry.chance for entry in recoveries)
        panels[0].set_ylim(lowest, max(1, max(max(entry.correlations) for entry in recoveries)))
        panels[0].set_ylabel("Correlation with the true pattern")
        legend(figure, panels[0])
        settle(figure)
    return figure


def _looks(pipelines: Sequence[str], lambdas: Mapping[str, float]) -> list[tuple[Any, str]]:
    """Colour and marker: what is jointly trained in the shades of λ, the rest in the colours of its kind."""
    levels = sorted({lambdas[name] for name in pipelines if name in lambdas}, reverse=True)
    shades = LinearSegmentedColormap.from_list("λ", RAMP)(np.linspace(0, 1, len(levels)) if len(levels) > 1 else [1.0])
    others = [name for name in pipelines if name not in lambdas]
    kinds = list(dict.fromkeys(isp_of(name) for name in others))
    return [
        (shades[levels.index(lambdas[name])], "s" if isp_of(name) == "UNet" else "^")
        if name in lambdas
        else (PALETTE[kinds.index(isp_of(name)) % len(PALETTE)], "o")
        for name in pipelines
    ]


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
        legend(figure, upper, 2)
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
        legend(figure, axes, 2)
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
