"""Trials whose training breaks down: their fidelity falls in the second half of training."""

import pandas as pd

LOST = 1.0  # dB below the best of the second half, at any validation there: a breakdown


def breakdowns(psnr: pd.DataFrame) -> pd.DataFrame:
    """Find how far each trial's PSNR falls in the second half of its training.

    Args:
        psnr: from :func:`study.results.curves`: PSNR (dB) on the validation photographs by iteration.

    Returns:
        A row per trial: the columns of its setting, ``seed``, ``run_id``, ``iteration`` (of its worst validation
        there), ``lost`` (dB by which that lies below the half's best, 0 or more) and ``broken`` (whether by more than
        :data:`LOST`). The half begins at half of the last iteration, which counts.
    """
    late = psnr[psnr["iteration"] >= psnr.groupby("run_id")["iteration"].transform("max") / 2]
    late = late.assign(lost=late.groupby("run_id")["value"].transform("max") - late["value"])
    worst = late.sort_values(["lost", "iteration"], ascending=[False, True], kind="stable").drop_duplicates("run_id")
    found = worst.sort_index().drop(columns="value").reset_index(drop=True)
    return found.assign(broken=found["lost"] > LOST)
