"""Answers to the claims about the fidelity of the pre-trained NIPs (Table 1)."""

from functools import partial

from study.results.claims.findings import Answer, Answers, Findings, mean_over_cameras, one_setting
from study.results.claims.published import table_1

COMPARED = {"psnr": "psnr", "ssim": "ssim_paper"}  # the paper's metrics, and ours of the same kind


def mean_fidelity(findings: Findings, isp: str, metric: str) -> Answer:
    """PSNR (dB) or SSIM of one pre-trained NIP, mean over cameras."""
    metric = findings.named(COMPARED[metric])
    rows = findings.pretrained[findings.pretrained["isp"] == isp].dropna(subset=metric)
    return (mean_over_cameras(one_setting(rows)[metric], rows["camera"]), rows) if len(rows) else None


def smallest_step(findings: Findings) -> Answer:
    """Smallest step in mean PSNR along the paper's NIPs, from the least to the most faithful, in dB.

    The means are over the cameras that have them all.
    """
    isps = list(table_1().index)
    rows = findings.pretrained[findings.pretrained["isp"].isin(isps)]
    wide = rows.pivot_table(index="camera", columns="isp", values=findings.named("psnr")).reindex(columns=isps).dropna()
    if wide.empty:
        return None
    one_setting(rows)
    return float(wide.mean().diff().min()), rows


ANSWERS: Answers = {
    f"pretrained-{isp}-{metric}": partial(mean_fidelity, isp=isp, metric=metric)
    for isp in table_1().index
    for metric in COMPARED
} | {"order-of-isps": smallest_step}
