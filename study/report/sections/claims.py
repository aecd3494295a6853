"""The paper's claims, and what this study says about them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from study import results
from study.report.content import Content
from study.report.parts import Section, details, note, show
from study.report.tables import NOTHING, Table
from study.results.claims import NOT_RUN, UNDECIDED, Findings, deviations, verdicts

READING = """The paper’s claims are about its own channel, so that all accuracies here are behind dJPEG, not behind
real encoders. A claim is answered by trials of this study file with the paper’s manipulations and channel, in all
settings of both; where a study varies a further setting, nothing is averaged over it. Absolute numbers need real
cameras under the paper’s protocol; claims that only compare may be answered by simulated photographs and by a shorter
training, and the column Data says so. Ours is measured on the test photographs where there are some, with the number
on the validation photographs in parentheses; whatever a claim chooses, the validation photographs choose. SSIM is
compared as the paper’s authors compute it."""
DEVIATIONS = "Where this code deviates from the paper and its authors’ code, and why"


def section(content: Content) -> Section:
    judged = verdicts(_findings(content))
    counts = "; ".join(f"{verdict} {count}" for verdict, count in judged["verdict"].value_counts().items())
    text = f"Of {len(judged)} claims: {counts}. {READING}"
    parts = [note(text), show(claims(judged)), details(DEVIATIONS, show(deviating()))]
    return Section("The paper’s claims", parts)


def _findings(content: Content) -> Findings:
    """What answers the claims: planned trials, the NIPs that they start from, fingerprints of the study's cameras."""
    fingerprints = results.fingerprints(content.snapshot)
    cameras = {planned["camera"] for planned in content.plan}
    fingerprints = fingerprints[fingerprints["camera"].isin(cameras)].reset_index(drop=True)
    simulated = dict(zip(fingerprints["camera"], fingerprints["simulated"], strict=True))
    simulated |= content.provenance.simulated
    pretrained = results.used(content.pretrained, content.trials)
    return Findings(content.trials, pretrained, simulated, fingerprints)


def claims(judged: pd.DataFrame) -> Table:
    """The paper's claims with our numbers and the verdicts."""
    rows = judged.to_dict("records")
    printed = pd.DataFrame(
        {
            "Claim": judged["statement"],
            "Verdict": [_verdict(row) for row in rows],
            "Paper": judged["number"],
            "Ours": [_ours(row) for row in rows],
            "Tolerance": judged["tolerance"],
            "Answered by": judged["answered_by"],
            "Data": judged["data"],
            "Where": judged["where"],
        }
    )
    return Table("claims", "The paper’s claims and what this study says about them", printed, judged)


def deviating() -> Table:
    """What deviates from the paper."""
    found = deviations()
    headings = {"subject": "Subject", "paper": "Paper, or its authors’ code", "here": "Here", "why": "Why"}
    return Table("deviations", DEVIATIONS, found.rename(columns=headings), found)


def _verdict(row: Mapping[str, Any]) -> str:
    by_simulation = "(simulated)" in row["data"] and not row["absolute"]
    return f"{row['verdict']} (simulated)" if by_simulation else row["verdict"]


def _ours(row: Mapping[str, Any]) -> str:
    """Our number; of the test photographs with that of the validation photographs in parentheses."""
    if row["verdict"] in (NOT_RUN, UNDECIDED):
        return NOTHING
    ours, validation = (
        "not reached" if np.isnan(number) else f"{number:.3g}".replace("-", "−")
        for number in (row["ours"], row["on_validation"])
    )
    return f"{ours} ({validation})" if row[results.ON] == results.TEST_SET else ours
