"""What becomes of every claim of the paper, given what a study found."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.results.claims import pretraining, prnu, trade_offs
from study.results.claims.findings import Answers, Findings
from study.results.claims.published import claims

REPRODUCED, NOT_REPRODUCED, NOT_RUN = "reproduced", "not reproduced", "not run"
NOT_COMPARABLE = "simulated data: not comparable"
ANSWERS: Answers = {**trade_offs.ANSWERS, **pretraining.ANSWERS, **prnu.ANSWERS}


def verdicts(findings: Findings) -> pd.DataFrame:
    """Judge every claim.

    Returns:
        Columns ``id``, ``statement``, ``where``, ``number`` (the paper's), ``answered_by``, ``ours`` (NaN where there
        is none, or where a front does not reach), ``tolerance``, ``absolute``, ``verdict`` and ``data``.
    """
    table, real = claims(), findings.of_real_cameras()
    judged = pd.DataFrame([_judge(claim, findings, real) for claim in table.to_dict("records")])
    paper = ["id", "statement", "where", "number", "answered_by"]
    return table.join(judged)[[*paper, "ours", "tolerance", "absolute", "verdict", "data"]]


def _judge(claim: Mapping[str, Any], findings: Findings, real: Findings) -> dict[str, Any]:
    """Our number, the verdict and the data: an absolute number takes real cameras, where there are any."""
    find = ANSWERS[claim["id"]]
    answer = find(real if claim["absolute"] else findings)
    if answer is not None:
        verdict = REPRODUCED if claim["low"] <= answer[0] <= claim["high"] else NOT_REPRODUCED
    elif claim["absolute"] and (answer := find(findings)) is not None:
        verdict = NOT_COMPARABLE
    else:
        return {"ours": math.nan, "verdict": NOT_RUN, "data": ""}
    return {"ours": answer[0], "verdict": verdict, "data": _data(answer[1], findings.simulated)}


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
