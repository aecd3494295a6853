"""What becomes of every claim of the paper, given what a study found."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from study.results.claims import pretraining, prnu, trade_offs
from study.results.claims.findings import Answers, Findings, Undecided
from study.results.claims.published import claims
from study.results.runs_table import TEST
from study.results.statistics import ON, TEST_SET, VALIDATION_SET

REPRODUCED, NOT_REPRODUCED, NOT_RUN, UNDECIDED = "reproduced", "not reproduced", "not run", "undecided"
SIMULATED_DATA = "simulated data: not comparable"
OTHER_PROTOCOL = "other training: not comparable"
ANSWERS: Answers = {**trade_offs.ANSWERS, **pretraining.ANSWERS, **prnu.ANSWERS}


def verdicts(findings: Findings) -> pd.DataFrame:
    """Judge every claim.

    Returns:
        Columns ``id``, ``statement``, ``where``, ``number`` (the paper's), ``answered_by``, ``ours`` (NaN where there
        is none, or where a front does not reach), ``photographs`` ("test" where there are some, else "validation"),
        ``on_validation`` (the same number there), ``tolerance``, ``absolute``, ``verdict`` and ``data``.
    """
    table, real = claims(), findings.of_real_cameras()
    comparing = [(findings, "")]
    absolute = [(real.under_the_papers_protocol(), ""), (real, OTHER_PROTOCOL), (findings, SIMULATED_DATA)]
    judged = pd.DataFrame(
        [
            _judge(claim, absolute if claim["absolute"] else comparing, findings.simulated)
            for claim in table.to_dict("records")
        ]
    )
    paper = ["id", "statement", "where", "number", "answered_by"]
    ours = ["ours", ON, "on_validation"]
    return table.join(judged)[[*paper, *ours, "tolerance", "absolute", "verdict", "data"]]


def _judge(
    claim: Mapping[str, Any], sources: Sequence[tuple[Findings, str]], simulated: Mapping[str, bool]
) -> dict[str, Any]:
    """Our number, the verdict and the data.

    The first of the sources that has data answers. Where one is not comparable, the text beside it is the verdict.
    An absolute number takes real cameras under the paper's protocol, where there are any.
    """
    find = ANSWERS[claim["id"]]
    unknown = {"ours": math.nan, ON: "", "on_validation": math.nan}
    for source, incomparable in sources:
        try:
            if (answer := find(source)) is None:
                continue
            ours, rows = answer
            tested = f"{TEST}psnr" in rows and bool(rows[f"{TEST}psnr"].notna().all())
            on_test = find(replace(source, on_test=True)) if tested else None
        except Undecided as reason:
            return {**unknown, "verdict": UNDECIDED, "data": str(reason)}
        headline = ours if on_test is None else on_test[0]
        verdict = REPRODUCED if claim["low"] <= headline <= claim["high"] else NOT_REPRODUCED
        photographs = VALIDATION_SET if on_test is None else TEST_SET
        return {
            "ours": headline,
            ON: photographs if f"{TEST}psnr" in rows else "",
            "on_validation": ours,
            "verdict": incomparable or verdict,
            "data": _data(rows, simulated),
        }
    return {**unknown, "verdict": NOT_RUN, "data": ""}


def _data(rows: pd.DataFrame, simulated: Mapping[str, bool]) -> str:
    """Cameras, number of seeds, and the protocol: what a reader needs to know to believe a verdict."""
    cameras = [
        camera if not simulated.get(camera, True) else f"{camera} (simulated)" for camera in sorted(set(rows["camera"]))
    ]
    seeds = rows["seed"].nunique()
    parts = [", ".join(cameras), f"{seeds} {'seed' if seeds == 1 else 'seeds'}"]
    for name, unit in (("training.iterations", "iterations"), ("training.patch", "RAW patch")):
        if name in rows and rows[name].notna().any():
            parts.append(f"{unit} {'/'.join(sorted(rows[name].dropna().unique()))}")
    return " · ".join(parts)
