"""The picture of rate–distortion curves: bits per pixel against PSNR, SSIM and MS-SSIM, a colour and a mark a codec."""

import io
import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np

from forensics.compression.rates import METRICS, Point, Rate, means

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#7a1f3d")  # Okabe & Ito 2008, the last two darkened
MARKS = "osD^vPX"  # one more than colours: no two of 42 codecs look the same
RATES = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SIMILARITIES = (0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d5d7da",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
}


def curves(rates: Sequence[Rate]) -> bytes:
    """Draws the mean curve of every codec, thick, and its curve of every photograph, thin: a PNG file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    photographs = sorted({rate.photograph for rate in rates})
    many = len(photographs) > 1
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 3.6), dpi=130, layout="constrained")
        panels = figure.subplots(1, len(METRICS))
        for axes, (metric, label) in zip(panels, METRICS.items(), strict=True):
            if metric != "psnr":
                axes.set_yscale("function", functions=(_from_one, _to_one))
            looks = zip(cycle(PALETTE), cycle(MARKS), strict=True)
            for (codec, points), (colour, mark) in zip(means(rates).items(), looks, strict=False):
                for photograph in photographs if many else ():
                    own = [rate for rate in rates if (rate.codec, rate.photograph) == (codec, photograph)]
                    axes.plot(*_line(own, metric), color=colour, linewidth=0.4, alpha=0.15)
                axes.plot(*_line(points, metric), color=colour, marker=mark, markersize=4, label=codec, zorder=3)
            axes.set_xscale("log")
            axes.set_title(f"{label} in dB" if metric == "psnr" else label, loc="left")
            axes.set_xlabel("bits per pixel")
            _limit(axes, rates, metric)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=6)
        title = f"thick: mean over {len(photographs)} photographs" if many else photographs[0]
        figure.suptitle(title, x=0.99, ha="right", fontsize=8)
        content = io.BytesIO()
        figure.savefig(content, format="png", pil_kwargs={"optimize": True})
    return content.getvalue()


def _line(points: Sequence[Rate] | Sequence[Point], metric: str) -> tuple[list[float], list[float]]:
    """Bits per pixel, rising, and a metric; without points where nothing is lost."""
    pairs = sorted((point.bpp, getattr(point, metric)) for point in points)
    finite = [pair for pair in pairs if math.isfinite(pair[1])]
    return [bpp for bpp, _ in finite], [value for _, value in finite]


def _from_one(similarity: np.ndarray) -> np.ndarray:
    """−log₁₀(1 − s): equal steps for each tenth of what is missing to 1, as decibels have."""
    return -np.log10(np.clip(1 - similarity, 1e-9, None))


def _to_one(steps: np.ndarray) -> np.ndarray:
    return 1 - 10.0**-steps


def _limit(axes: Any, rates: Sequence[Rate], metric: str) -> None:
    """Ticks at round numbers, and limits around what was measured."""
    lowest, highest = min(rate.bpp for rate in rates), max(rate.bpp for rate in rates)
    shown = [tick for tick in RATES if lowest <= tick <= highest]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.set_xticks([], minor=True)
    if metric != "psnr":
        values = [value for rate in rates if (value := getattr(rate, metric)) < 1]
        if values:
            axes.set_ylim(min(values), max(values))
        ticks = [tick for tick in SIMILARITIES if not values or min(values) <= tick <= max(values)]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
