"""Do pipelines share a fingerprint? Correlations between those of one camera (paper, Fig. 5a)."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from prnu.experiment import CameraResult
from study.report.fingerprint_statistics import STANDARD, FingerprintContent, off_diagonal, samples, shades
from study.report.parts import Part, Section, matrices, matrix, note, offer, paragraph, show
from study.report.tables import Table, as_printed, count, number, two_digits, wide

PUBLISHED = (0.57, 0.96)  # between pipelines: Nikon D90
READING = """The fingerprint is estimated anew from the same images by every pipeline; a cell is the correlation of two
of these estimates. 1 means that the pipeline does not matter, 0 that nothing is shared. Shades run from {low}, the
palest, to {high}. The paper found {0:.2f} to {1:.2f} between pipelines (Nikon D90). Pairs that share a fingerprint are
not independent, so that the truth is a little less certain than the intervals."""
ALONE = "There is only one pipeline, and nothing to compare its fingerprint with."


def section(content: FingerprintContent) -> Section:
    cameras = content.cameras
    shared = np.concatenate([np.empty(0), *(off_diagonal(result.correlations) for result in cameras)])
    low, high = (shared.min(), shared.max()) if len(shared) else (0.0, 1.0)
    text = note(READING.format(*PUBLISHED, low=two_digits(low), high=two_digits(high)))
    found = [show(in_short(cameras, content.lambdas)), text] if len(shared) else [paragraph(ALONE)]
    maps = matrices([_map(result, low, high) for result in cameras], "heats")
    return Section(
        "Do pipelines share a fingerprint?",
        [*found, maps, offer(correlations(cameras))] if cameras else [],
        "Paper, Fig. 5a",
    )


def _map(result: CameraResult, low: float, high: float) -> Part:
    names, rho = result.pipelines, result.correlations.double().numpy()
    return matrix(
        result.camera,
        names,
        shades(rho, low, high),
        lambda i, j: two_digits(rho[i, j]),
        lambda i, j: f"{names[i]}, {names[j]}: {number(rho[i, j], 4)}",
    )


def correlations(cameras: Sequence[CameraResult]) -> Table:
    """Rows and columns are pipelines; numbers are one pair a row."""
    numbers = pd.DataFrame(
        [
            (result.camera, name, other, rho)
            for result in cameras
            for name, line in zip(result.pipelines, result.correlations.tolist(), strict=True)
            for other, rho in zip(result.pipelines, line, strict=True)
        ],
        columns=["camera", "pipeline", "other", "correlation"],
    )
    by = {"camera": "Camera", "pipeline": "Fingerprint by"}
    rows = wide(numbers, by, ("other", "Correlation with"), "correlation", two_digits)
    caption = "Correlations between the fingerprints by different pipelines"
    return Table("correlations", caption, as_printed(rows), numbers)


def in_short(cameras: Sequence[CameraResult], lambdas: Mapping[str, float]) -> Table:
    """Of all pairs of pipelines, and of the standard pipeline with those that are jointly trained or not."""
    pairs = [
        ({a, b}, result.correlations[i, j].item())
        for result in cameras
        for (i, a), (j, b) in itertools.combinations(enumerate(result.pipelines), 2)
    ]
    standard = [(names, rho) for names, rho in pairs if STANDARD in names]
    found = {
        "all": [rho for _, rho in pairs],
        "standard and jointly trained": [rho for names, rho in standard if names & lambdas.keys()],
        "standard and others": [rho for names, rho in standard if not names & lambdas.keys()],
    }
    caption = f"Correlations between the fingerprints of {count(len(cameras), 'camera')} by different pipelines"
    rho = {name: np.array(values) for name, values in found.items()}
    return samples("correlations-in-short", caption, "Pairs of pipelines", rho, 2)
