"""The mean over photographs, and how far it may be off."""

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns a mean and the bounds of its 95 % interval by Student's t; NaN for bounds of one value or an infinite."""
    from scipy import stats  # slow to import

    mean = float(np.mean(values))
    if len(values) < 2 or not np.isfinite(values).all():
        return mean, np.nan, np.nan
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)
