"""Fidelity of the pre-trained ISPs, as in the paper's Table 1."""

import pandas as pd

from study.report.content import Content
from study.report.parts import Section, show
from study.report.tables import Cells, Table, as_printed, metric_cells
from study.results.claims import table_1

METRICS = {"psnr": ("PSNR (dB)", 1, 2), "ssim": ("SSIM", 1, 3), "seconds": ("Time (min)", 1 / 60, 1)}
PAPER_METRICS = METRICS | {"psnr": ("PSNR (dB)", 1, 1)}  # the paper prints one digit


def section(content: Content) -> Section:
    return Section("Pre-training", [show(pretraining(content.pretrained))])


def pretraining(pretrained: pd.DataFrame) -> Table:
    """Fidelity of the pre-trained NIPs per camera, their mean, and the paper's."""
    means = pretrained.groupby(["camera", "isp"], as_index=False)[list(METRICS)].mean()
    blocks = [(camera, found, METRICS) for camera, found in means.groupby("camera")]
    if len(blocks) > 1:
        blocks.append(("mean", means.groupby("isp", as_index=False)[list(METRICS)].mean(), METRICS))
    paper = table_1().reset_index()
    isps = list(pretrained["isp"].unique())
    if set(isps) & set(paper["isp"]):
        blocks.append(("paper, mean of 8 cameras", paper, PAPER_METRICS))
    rows = []
    for name, found, metrics in blocks:
        row: Cells = {("", "Camera"): name}
        for isp in isps:
            row |= metric_cells(isp, found[found["isp"] == isp], metrics)
        rows.append(row)
    return Table("pretraining", "Fidelity of the pre-trained ISPs", as_printed(rows), pretrained)
