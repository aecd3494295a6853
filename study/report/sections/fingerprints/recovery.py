"""Is it the sensor's pattern that a fingerprint holds? Of a simulated camera that is known."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from prnu.experiment import CameraResult
from prnu.recovery import Recovery
from study.report import fingerprint_statistics as statistics
from study.report import plots
from study.report.fingerprint_statistics import FingerprintContent
from study.report.parts import Section, details, note, panels, picture, show
from study.report.tables import NOTHING, Cells, Table, as_printed, interval, number

COMPARED = """Compare a jointly trained pipeline with the same ISP fixed. Where its ρ is smaller, joint training costs
part of the sensor’s pattern; where it lies within three standard deviations of chance, nothing of the pattern is
left."""
READING = """Of a simulated camera the pattern is known, so that the fingerprint can be compared with it directly, and
nothing that a pipeline adds passes for a match. Dots: correlation ρ after N photographs. Lines: 1/ρ² = a + b/N, the law
of theory; dashed: growth as √N, the regime of few photographs. Demosaicing and all that follows blur the pattern, so
that ρ ends at 1/√a. Below the dotted line (three standard deviations) is chance."""
IN_SHORT = """Correlation ρ of the fingerprint of all photographs with the sensor’s true pattern: mean over cameras with
95 % interval, and its standard deviation where nothing is shared"""
IN_NUMBERS = """Correlation ρ of the fingerprint with the sensor’s true pattern, its standard deviation where nothing is
shared, the law that fits, and how far ρ is off it at most"""
MARKERS = "sv^D"  # of jointly trained ISPs, by place in the registry


def section(content: FingerprintContent) -> Section:
    found = recoveries(content.cameras, content.lambdas)
    description = "Correlation with the true pattern by number of photographs, {}"
    pictures = [
        picture(plot(result.recoveries, content.lambdas), "recovery", result.camera, description.format(result.camera))
        for result in content.cameras
        if result.recoveries
    ]
    numbers = details("All pipelines in numbers", show(recovery(found)))
    parts = [show(in_short(found)), note(COMPARED), note(READING), panels(pictures), numbers]
    return Section("Is it the sensor’s pattern?", parts if pictures else [])


def recoveries(cameras: Sequence[CameraResult], lambdas: Mapping[str, float]) -> pd.DataFrame:
    """A row per simulated camera × pipeline × view × number of photographs; a and b are those of the law that fits."""
    rows = [
        (result.camera, entry.pipeline, entry.view, entry.chance, N, rho, *(entry.law or (math.nan, math.nan)))
        for result in cameras
        for entry in result.recoveries
        for N, rho in zip(entry.images, entry.correlations, strict=True)
    ]
    columns = ["camera", "pipeline", "view", "chance", "images", "correlation", "a", "b"]
    found = pd.DataFrame(rows, columns=columns)
    deviation = ((found["a"] + found["b"] / found["images"]) ** -0.5 / found["correlation"] - 1).abs()
    return statistics.with_settings(found.assign(deviation=deviation), lambdas)


def in_short(found: pd.DataFrame) -> Table:
    """ρ after all photographs, mean over cameras, of every ISP × setting × view."""
    last = found.groupby(["camera", "pipeline", "view"], sort=False).tail(1)
    rows = []
    for values, group in last.groupby(statistics.SETTING, sort=False, dropna=False):
        rho = group.groupby("camera")["correlation"].mean().to_numpy()
        rows.append((*values, len(rho), *statistics.mean_interval(rho), group["chance"].max()))
    numbers = pd.DataFrame(rows, columns=[*statistics.SETTING, "cameras", "rho", "rho_low", "rho_high", "chance"])
    printed = [
        {
            **statistics.setting_cells(row),
            ("", "Cameras"): str(row["cameras"]),
            ("", "Mean ρ"): interval(row, "rho", 3),
            ("", "By chance"): f"± {number(row['chance'], 3)}",
        }
        for row in numbers.to_dict("records")
    ]
    return Table("recovery-in-short", IN_SHORT, as_printed(printed), numbers)


def recovery(found: pd.DataFrame) -> Table:
    """How a fingerprint comes near the sensor's true pattern: a row per camera × pipeline × view."""
    printed: list[Cells] = []
    for _, group in found.groupby(["camera", "pipeline", "view"], sort=False):
        row = group.iloc[0]
        reached = zip(group["images"], group["correlation"], strict=True)
        law = f"{number(row['a'], 1)} + {number(row['b'], 0 if row['b'] >= 10 else 1)}/N"
        printed.append(
            {
                **statistics.pipeline_cells(row),
                **{("ρ after N photographs, N =", str(N)): number(rho, 3) for N, rho in reached},
                ("", "By chance"): f"± {number(row['chance'], 3)}",
                ("", "1/ρ²"): NOTHING if math.isnan(row["a"]) else law,
                ("", "Largest deviation (%)"): number(100 * group["deviation"].max(), 1),
            }
        )
    return Table("recovery", IN_NUMBERS, as_printed(printed), found)


def plot(recoveries: Sequence[Recovery], lambdas: Mapping[str, float]) -> Figure:
    """Correlation with the true pattern of one camera by number of photographs; the smaller λ, the darker."""
    views = [view for view in statistics.VIEWS if view in {entry.view for entry in recoveries}]
    names = list(dict.fromkeys(entry.pipeline for entry in recoveries))
    looks = dict(zip(names, _looks(names, lambdas), strict=True))
    most = max(max(entry.images) for entry in recoveries)
    with plots.column(2.5 + 0.15 * -(-len(names) // 3)) as figure:
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
            axes.plot([1, most], [highest, highest * most**0.5], color=plots.INK, linewidth=0.7, linestyle=plots.DASHED)
            axes.annotate("√N", (most**0.5, highest * most**0.25), (-9, 3), textcoords="offset points", fontsize=7)
            axes.axhline(3 * seen[0].chance, color=plots.INK, linewidth=0.8, linestyle=plots.DOTTED)
            axes.set_title(statistics.VIEWS[view])
            axes.set_xscale("log", base=2)
            axes.set_yscale("log", nonpositive="mask")
            axes.set_xticks(seen[0].images, [str(N) for N in seen[0].images])
            axes.minorticks_off()
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_xlabel("Photographs N")
        lowest = min(entry.chance for entry in recoveries)
        panels[0].set_ylim(lowest, max(1, max(max(entry.correlations) for entry in recoveries)))
        panels[0].set_ylabel("Correlation with the true pattern")
        plots.legend(figure, panels[0])
    return figure


def _looks(pipelines: Sequence[str], lambdas: Mapping[str, float]) -> list[tuple[Any, str]]:
    """Colour and marker: what is jointly trained in the shades of λ, the rest in a colour per ISP."""
    levels = sorted({lambdas[name] for name in pipelines if name in lambdas}, reverse=True)
    shades = LinearSegmentedColormap.from_list("λ", plots.RAMP)(
        np.linspace(0, 1, len(levels)) if len(levels) > 1 else [1.0]
    )
    kinds = list(dict.fromkeys(statistics.isp_of(name) for name in pipelines if name not in lambdas))
    return [
        (shades[levels.index(lambdas[name])], MARKERS[plots.place(statistics.isp_of(name)) % len(MARKERS)])
        if name in lambdas
        else (plots.PALETTE[kinds.index(statistics.isp_of(name)) % len(plots.PALETTE)], "o")
        for name in pipelines
    ]
