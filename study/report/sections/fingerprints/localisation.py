"""Is tampering found by a camera model of another pipeline? (Paper, Fig. 5b.)"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from prnu.experiment import CameraResult
from study.report.fingerprint_statistics import FingerprintContent, mean_interval, off_diagonal, samples, shades
from study.report.parts import Part, Section, matrices, matrix, note, offer, paragraph, show
from study.report.tables import Table, as_printed, count, estimate, two_digits, wide

PUBLISHED = (0.35, 0.51)  # best F1 scores: Nikon D90
READING = """Where a photograph has been tampered with, the fingerprint is missing or out of place: here a central
square is flipped, which no eye sees. A cell is the best F1 score (over all thresholds, mean over images) of finding the
square with the camera model that was learned from one pipeline (row) in photographs by another (column); the diagonal,
framed, is the match. Shades run from {low} to {high}; rest on a cell for its 95 % interval. To declare every pixel
tampered scores {chance} already; the paper found {0:.2f} to {1:.2f} (Nikon D90; crops of 1 Mpx, windows of 129 px,
squares of 256 px). Ours is another statistic than the paper’s: it leaves out the rim of the map, where no window has
its centre; the row “with the rim” gives each of its places the nearest window. The difference is paired by image: an
interval that holds 0 means that no model is measurably better. Intervals are Student’s t over images. They are about
other photographs of these cameras, and too narrow where nearly all images score alike: in a simulation with six of
seven at 1 they covered the mean in 57 % of cases for 6 images and in 88 % for 30."""
ALONE = "There is only one pipeline, so no mismatch to speak of."


def section(content: FingerprintContent) -> Section:
    cameras, title, aside = content.cameras, "Is tampering found across pipelines?", "Paper, Fig. 5b"
    if not cameras:
        return Section(title, [])
    scores = np.concatenate([result.mean_f1.numpy().ravel() for result in cameras])
    floors = sorted({two_digits(result.example.chance) for result in cameras})
    chance = floors[0] if len(floors) == 1 else f"{floors[0]} to {floors[-1]}"
    low, high = scores.min(), scores.max()
    text = READING.format(*PUBLISHED, low=two_digits(low), high=two_digits(high), chance=chance)
    several = [result for result in cameras if len(result.pipelines) > 1]
    found = show(compared(several)) if several else paragraph(ALONE)
    maps = matrices([_map(result, low, high) for result in cameras], "heats")
    return Section(title, [found, note(text), maps, offer(localisation(cameras))], aside)


def _map(result: CameraResult, low: float, high: float) -> Part:
    names, found = result.pipelines, mean_interval(result.f1.double().numpy())
    return matrix(
        result.camera,
        names,
        shades(found[..., 0], low, high),
        lambda i, j: two_digits(found[i, j, 0]),
        lambda i, j: f"model by {names[i]}, photographs by {names[j]}: {estimate(found[i, j], 3)}",
        aside=f", {count(result.f1.shape[-1], 'image')}",
        corner="model ↓ photos →",
    )


def compared(cameras: Sequence[CameraResult]) -> Table:
    """Best F1 of camera models by the same pipeline and by another, and the difference image by image."""
    same = np.concatenate([result.f1.diagonal().double().numpy().mean(-1) for result in cameras])
    other = np.concatenate([off_diagonal(result.f1).mean(0) for result in cameras])
    scores = {"the same pipeline": same, "another pipeline": other, "difference": same - other}
    with_rim = [result.f1_with_rim for result in cameras if result.f1_with_rim is not None]
    if len(with_rim) == len(cameras):
        whole = [f1.diagonal().double().numpy().mean(-1) for f1 in with_rim]
        scores["the same pipeline, with the rim"] = np.concatenate(whole)
    caption = f"Best F1 score of the images of {count(len(cameras), 'camera')}, by camera model"
    return samples("best-f1-compared", caption, "Camera model by", scores, 3)


def localisation(cameras: Sequence[CameraResult]) -> Table:
    """Rows are the pipeline of the camera model, columns that of the photographs; numbers have intervals."""
    numbers = pd.DataFrame(
        [
            (result.camera, model, name, result.f1.shape[-1], *found)
            for result in cameras
            for model, row in zip(result.pipelines, mean_interval(result.f1.double().numpy()), strict=True)
            for name, found in zip(result.pipelines, row, strict=True)
        ],
        columns=["camera", "model", "photographs", "images", "best_f1", "low", "high"],
    )
    by = {"camera": "Camera", "model": "Model by"}
    rows = wide(numbers, by, ("photographs", "Photographs by"), "best_f1", two_digits)
    caption = "Best F1 score of camera models by one pipeline on photographs by another, mean over images"
    return Table("best-f1", caption, as_printed(rows), numbers)
