"""How pre-trainings came about: their iterations, why they ended, and how large the NIP is (paper, Table 1)."""

import math
from functools import cache

import pandas as pd

from study.results.artifacts import curves
from study.tracking import Snapshot


def in_detail(snapshot: Snapshot, pretrained: pd.DataFrame) -> pd.DataFrame:
    """Add to each pre-training of :func:`study.results.pretrained` what its last numbers do not tell.

    Returns:
        The rows with three more columns: ``iterations`` (made, NaN where nothing says it), ``stopped`` ("converged",
        "max_iterations", "" where nothing says it) and ``parameters`` (of the NIP, NaN where it is not known here).
    """
    made = curves(snapshot, pretrained, "seconds").groupby("run_id")["iteration"].max()
    reasons = {run.info.run_id: run.data.tags.get("stopped", "") for run in snapshot.runs}
    return pretrained.assign(
        iterations=pretrained["run_id"].map(made).astype(float),
        stopped=pretrained["run_id"].map(reasons).astype(object),
        parameters=pretrained["isp"].map(_parameters).astype(float),
    )


@cache
def _parameters(isp: str) -> float:
    import models  # imports PyTorch

    if isp not in models.NIPS:
        return math.nan
    return float(sum(weights.numel() for weights in models.build(isp).parameters()))
