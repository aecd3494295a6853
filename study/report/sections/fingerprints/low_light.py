"""Does a fingerprint survive a pipeline for low light? (Paper, Table 3.)"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from prnu.experiment import PCE_THRESHOLD
from prnu.lowlight import LowLight
from study.report import fingerprint_statistics as statistics
from study.report.fingerprint_statistics import FingerprintContent
from study.report.parts import Part, Section, note, paragraph, show
from study.report.tables import NOTHING, Cells, Table, as_printed, interval, number

READING = """Every scene is taken with a long and with a short exposure; a UNet learns to make the short one look like
the long one. A photograph is compared with the fingerprint of its own pipeline, so that a low PCE means that there is
no stable fingerprint left; where photographs of other cameras match as well, it is the pipeline’s pattern and not the
sensor’s. The last rows are the paper’s, and another statistic than ours: here a pixel counts for the PCE by the inverse
variance of its noise (“unweighted” takes all pixels alike, as the paper’s), and the UNet was trained for this study by
an L₂ loss, the paper’s (Chen et al. 2018) by L₁ on other scenes. Compare the order of the rows, not their PCE."""
CAPTION = (
    "Low light: correlations between fingerprints, PCE of photographs with the fingerprint of their own pipeline, "
    f"and shares above {PCE_THRESHOLD:g} with 95 % intervals"
)
PUBLISHED_CAMERA, PUBLISHED_PAIRS = "paper, Sony ILCE-7SM2", 20
PUBLISHED = {  # correlations between the fingerprints, and the average PCE
    "libRAW (long)": ((1.0, 0.06, 0.08), 470),
    "libRAW (short)": ((0.06, 1.0, 0.09), 807),
    "UNet (short)": ((0.08, 0.09, 1.0), 13),
}


def section(content: FingerprintContent) -> Section:
    table, title, aside = low_light(content.low_light), "In low light", "Paper, Table 3"
    if not content.low_light:
        nothing = paragraph("The experiment in low light has not been run for this study.")
        return Section(title, [nothing, Part(files=table.files)], aside)
    return Section(title, [show(table), note(READING)], aside)


def low_light(found: Sequence[LowLight]) -> Table:
    """Table 3, with the paper's below: pipelines of the same name share a column."""
    known = statistics.pooled(statistics.attributions(found, {}), ["camera", "pipeline"]).to_dict("records")
    unweighted = [np.mean(a.same_unweighted or np.nan) for entry in found for a in entry.attributions]
    known = [row | {"mean_pce_unweighted": mean} for row, mean in zip(known, unweighted, strict=True)]
    correlations = [dict(zip(entry.pipelines, line, strict=True)) for entry in found for line in entry.correlations]
    ours = {name.casefold(): name for entry in found for name in entry.pipelines}
    names = [ours.get(name.casefold(), name) for name in PUBLISHED]
    for name, (line, average) in zip(names, PUBLISHED.values(), strict=True):
        pce = {"mean_pce": average, "mean_pce_unweighted": average}
        known.append({"camera": PUBLISHED_CAMERA, "pipeline": name, **pce})
        correlations.append(dict(zip(names, line, strict=True)))
    pairs = list(zip(known, correlations, strict=True))
    numbers = [row | {f"correlation with {name}": rho for name, rho in line.items()} for row, line in pairs]
    return Table("low-light", CAPTION, as_printed([_cells(row, line) for row, line in pairs]), pd.DataFrame(numbers))


def _cells(row: Mapping[str, Any], correlations: Mapping[str, float]) -> Cells:
    cells = {
        ("", "Camera"): row["camera"],
        ("", "Pipeline"): row["pipeline"],
        **{("Correlation with", name): number(rho, 2) for name, rho in correlations.items()},
        ("Same camera", "Pairs"): str(row.get("found_pairs", PUBLISHED_PAIRS)),
        ("Same camera", "Average PCE"): statistics.energy(row["mean_pce"]) if "found" in row else NOTHING,
        ("Same camera", "unweighted"): statistics.energy(row["mean_pce_unweighted"]),
    }
    if "found" not in row:  # the paper's
        return cells
    share = {("Same camera", f"> {PCE_THRESHOLD:g} (%)"): interval(row, "found_share", 1, 100)}
    return cells | share | statistics.other_cells(row)
