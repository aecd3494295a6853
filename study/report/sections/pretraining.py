"""Fidelity of the pre-trained ISPs, as in the paper's Table 1."""

import pandas as pd

from study import results
from study.report.content import Content
from study.report.parts import Section, note, show
from study.report.sections.metrics import KIND, KINDS
from study.report.tables import Cells, Table, as_printed, metric_cells, named
from study.results.claims import table_1

FIDELITY = ["psnr", "ssim", "ssim_paper"]
METRICS: dict[str, tuple[str, float, int]] = {
    "psnr": ("PSNR (dB)", 1, 2),
    "ssim": ("SSIM", 1, 3),
    "ssim_paper": (KIND, 1, 3),
    "seconds": ("Time (min)", 1 / 60, 1),
}
PAPER_METRICS: dict[str, tuple[str, float, int]] = {"psnr": ("PSNR (dB)", 1, 1), "ssim": (KIND, 1, 3)}
READING = """Validation photographs end the pre-training and choose its best weights; test photographs have no part in
it. The paper’s are validation photographs."""
CAPTION = "Fidelity of the pre-trained ISPs that the trials start from; “mean” is the mean over cameras"


def section(content: Content) -> Section:
    table = pretraining(content.pretrained)
    return Section("Pre-training", [show(table), note(f"{READING} {KINDS}")])


def pretraining(pretrained: pd.DataFrame) -> Table:
    """Fidelity of the pre-trained NIPs per camera, their mean over cameras, and the paper's."""
    further = results.axes(pretrained)
    by = ["camera", *further, results.ON]
    judged = results.by_photographs(pretrained, FIDELITY)
    metrics = {name: how for name, how in METRICS.items() if pretrained[name].notna().any()}
    means = judged.groupby([*by, "isp"], as_index=False, dropna=False)[list(METRICS)].mean()
    blocks = [(dict(zip(by, place, strict=True)), found, metrics) for place, found in means.groupby(by, dropna=False)]
    if pretrained["camera"].nunique() > 1 and not further:  # a mean over several settings would mean nothing
        over = means.groupby([results.ON, "isp"], as_index=False)[list(METRICS)].mean()
        blocks += [({"camera": "mean", results.ON: on}, found, metrics) for on, found in over.groupby(results.ON)]
    paper = table_1().reset_index()
    isps = list(pretrained["isp"].unique())
    if set(isps) & set(paper["isp"]):
        blocks.append(
            ({"camera": "paper, mean of 8 cameras", results.ON: results.VALIDATION_SET}, paper, PAPER_METRICS)
        )
    rows = []
    for place, found, known in blocks:
        row: Cells = named(place)
        for isp in isps:
            row |= metric_cells(isp, found[found["isp"] == isp], known)
        rows.append(row)
    return Table("pretraining", CAPTION, as_printed(rows), pretrained)
