"""Answers to the claims about the fidelity of the pre-trained NIPs (Table 1)."""

from functools import partial

from study.results.claims.findings import Answer, Answers, Findings
from study.results.claims.published import table_1


def mean_fidelity(findings: Findings, isp: str, metric: str) -> Answer:
    """PSNR (dB) or SSIM of one pre-trained NIP, mean over cameras."""
    rows = findings.pretrained[findings.pretrained["isp"] == isp]
    return (rows[metric].mean(), rows) if len(rows) else None


def smallest_step(findings: Findings) -> Answer:
    """Smallest step in mean PSNR along the paper's NIPs, from the least to the most faithful, in dB.

    The means are over the cameras that have them all.
    """
    isps = list(table_1().index)
    rows = findings.pretrained[findings.pretrained["isp"].isin(isps)]
    wide = rows.pivot_table(index="camera", columns="isp", values="psnr").reindex(columns=isps).dropna()
    return (float(wide.mean().diff().min()), rows) if len(wide) else None


ANSWERS: Answers = {
    f"pretrained-{isp}-{metric}": partial(mean_fidelity, isp=isp, metric=metric)
    for isp in table_1().index
    for metric in ("psnr", "ssim")
} | {"order-of-isps": smallest_step}
