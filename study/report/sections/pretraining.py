"""Fidelity of the pre-trained ISPs, as in the paper's Table 1."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.report.content import Content
from study.report.parts import Section, show
from study.report.tables import NOTHING, Cells, Table, as_printed, number
from study.results.claims import table_1


def section(content: Content) -> Section:
    return Section("Pre-training", [show(pretraining(content.pretrained))])


def pretraining(pretrained: pd.DataFrame) -> Table:
    """Fidelity of the pre-trained NIPs per camera, their mean, and the paper's."""
    isps = list(pretrained["isp"].unique())
    means = pretrained.groupby(["camera", "isp"], as_index=False)[["psnr", "ssim", "seconds"]].mean()
    blocks = {camera: group.set_index("isp").to_dict("index") for camera, group in means.groupby("camera")}
    if len(blocks) > 1:
        blocks["mean"] = means.groupby("isp")[["psnr", "ssim", "seconds"]].mean().to_dict("index")
    rows = [_row(camera, found, isps) for camera, found in blocks.items()]
    theirs = table_1()[["psnr", "ssim"]].to_dict("index")
    if theirs.keys() & set(isps):
        rows.append(_row("paper, mean of 8 cameras", theirs, isps, psnr_digits=1))
    return Table("pretraining", "Fidelity of the pre-trained ISPs", as_printed(rows), pretrained)


def _row(camera: str, found: Mapping[str, Mapping[str, Any]], isps: list[str], psnr_digits: int = 2) -> Cells:
    row: Cells = {("", "Camera"): camera}
    for isp in isps:
        known = found.get(isp, {})
        row[isp, "PSNR (dB)"] = number(known["psnr"], psnr_digits) if known else NOTHING
        row[isp, "SSIM"] = number(known["ssim"], 3) if known else NOTHING
        row[isp, "Time (min)"] = number(known["seconds"] / 60, 1) if "seconds" in known else NOTHING
    return row
