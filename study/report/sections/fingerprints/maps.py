"""What maps of tampering look like, on one forged photograph (paper, Fig. 5c)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from prnu.experiment import CameraResult, Forgery
from study.report import plots
from study.report.fingerprint_statistics import FingerprintContent
from study.report.parts import Part, Section, note, panels, picture, show
from study.report.tables import Table, as_printed, two_digits, wide

READING = """One evaluation photograph with its forged square outlined, the truth, and the map that every pipeline’s
camera model draws, with its best F1 score. Bright means tampered; towards the margins no window has its centre."""
COLUMNS = 3  # maps side by side
THUMBNAIL = 160  # pixels at most, of a photograph and of the truth
MAP = "cividis"  # dark: authentic


def section(content: FingerprintContent) -> Section:
    pictures = [_picture(result) for result in content.cameras]
    return Section(
        "What the maps look like", [note(READING), panels(pictures), show(scores(content.cameras))], "Paper, Fig. 5c"
    )


def _picture(result: CameraResult) -> Part:
    title = f"{result.camera} · developed by {result.example_pipeline}"
    figure = forgery(result.example, result.pipelines)
    return picture(figure, "forgery", title, f"Maps of tampering probability, {title}")


def scores(cameras: Sequence[CameraResult]) -> Table:
    """The best F1 of every camera model on the photograph that is shown."""
    numbers = pd.DataFrame(
        [
            (result.camera, result.example_pipeline, model, f1)
            for result in cameras
            for model, f1 in zip(result.pipelines, result.example.f1.tolist(), strict=True)
        ],
        columns=["camera", "photograph", "model", "best_f1"],
    )
    by = {"camera": "Camera", "photograph": "Developed by"}
    rows = wide(numbers, by, ("model", "Best F1 of the camera model by"), "best_f1", two_digits)
    return Table("example-f1", "Best F1 scores on the photograph that is shown", as_printed(rows), numbers)


def forgery(example: Forgery, pipelines: Sequence[str]) -> Figure:
    """Fig. 5c: the forged photograph, where it is forged, and the map by every pipeline's camera model."""
    height, width = example.truth.shape
    frame = (-0.5, width - 0.5, height - 0.5, -0.5)  # left, right, bottom, top: pixels of the photograph
    rows, columns = example.rows.numpy(), example.columns.numpy()
    step = max(np.diff(rows).min(initial=1), np.diff(columns).min(initial=1)) / 2
    inside = (columns[0] - step, columns[-1] + step, rows[-1] + step, rows[0] - step)
    forged_rows, forged_columns = (np.flatnonzero(example.truth.numpy().any(axis)) for axis in (1, 0))
    panels = -(-(2 + len(pipelines)) // COLUMNS) * COLUMNS
    tall = panels // COLUMNS * (plots.COLUMN / COLUMNS * min(height / width, 2) + 0.16) + 0.4
    with plots.column(tall, ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)) as figure:
        grid = figure.subplots(panels // COLUMNS, COLUMNS, squeeze=False)
        for axes in grid.flat:
            axes.grid(False)
            axes.set(xticks=[], yticks=[], xlim=frame[:2], ylim=frame[2:], aspect="equal")
            axes.spines[:].set(visible=True, color=plots.RULE, linewidth=0.5)
        photograph, truth, *maps = grid.flat
        photograph.imshow(_thumbnail(example.image.numpy()).transpose(1, 2, 0), extent=frame, interpolation="none")
        corner = (forged_columns[0] - 0.5, forged_rows[0] - 0.5)
        sides = (len(forged_columns), len(forged_rows))
        photograph.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=plots.PALETTE[1], linewidth=1.2))
        photograph.set_title("forged photograph", fontsize=7, pad=2.5)
        shades: dict[str, Any] = {"cmap": MAP, "vmin": 0, "vmax": 1, "interpolation": "none"}
        truth.imshow(_thumbnail(example.truth.numpy()[None].astype(float))[0], extent=frame, **shades)
        truth.set_title("where it is forged", fontsize=7, pad=2.5)
        shown = zip(maps, pipelines, example.probability.numpy(), example.f1.tolist(), strict=False)
        for axes, name, probability, f1 in shown:
            drawn = axes.imshow(probability, extent=inside, **shades)
            axes.set_title(f"{_short(name)}: {f1:.2f}", fontsize=7, pad=2.5)
        for axes in maps[len(pipelines) :]:
            axes.set_axis_off()
        bar = figure.colorbar(drawn, ax=grid, location="bottom", aspect=40, shrink=0.9, pad=0.1 / len(grid))
        bar.set_ticks([0, 0.5, 1], labels=["authentic", "tampering probability 0.5", "tampered"])
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=7)
        bar.ax.grid(False)
        first, _, last = bar.ax.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
    return figure


def _short(name: str, letters: int = 16) -> str:
    """A name as a narrow panel has room for it."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """(C,H,W) averaged over square blocks, in its own type."""
    step = math.ceil(max(image.shape[1:]) / THUMBNAIL)
    height, width = (side // step for side in image.shape[1:])
    blocks = image[:, : height * step, : width * step].reshape(len(image), height, step, width, step)
    return blocks.mean(axis=(2, 4)).round(3 if image.dtype.kind == "f" else 0).astype(image.dtype)
