"""The paper's claims, and what this study says about them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from study import results
from study.report.content import Content
from study.report.parts import Section, note, show
from study.report.tables import NOTHING, Table
from study.results.claims import NOT_RUN, Findings, verdicts

READING = """Simulated photographs never count as a reproduction of an absolute number; claims that only compare may be
answered by them, and the column Data says so. It names the protocol, too: a short training on small patches is not the
paper’s."""


def section(content: Content) -> Section:
    fingerprints = results.fingerprints(content.snapshot)
    simulated = dict(zip(fingerprints["camera"], fingerprints["simulated"], strict=True))
    simulated |= content.provenance.simulated
    judged = verdicts(Findings(content.trials, content.pretrained, simulated, fingerprints))
    counts = "; ".join(f"{verdict} {count}" for verdict, count in judged["verdict"].value_counts().items())
    text = f"Of {len(judged)} claims: {counts}. {READING}"
    return Section("The paper’s claims", [note(text), show(claims(judged))])


def claims(judged: pd.DataFrame) -> Table:
    """The paper's claims with our numbers and the judged."""
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


def _verdict(row: Mapping[str, Any]) -> str:
    by_simulation = "(simulated)" in row["data"] and not row["absolute"]
    return f"{row['verdict']} (simulated)" if by_simulation else row["verdict"]


def _ours(row: Mapping[str, Any]) -> str:
    if np.isnan(row["ours"]):
        return NOTHING if row["verdict"] == NOT_RUN else "not reached"
    return f"{row['ours']:.3g}".replace("-", "−")
