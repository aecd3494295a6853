"""Which trials are too poor to go on: asynchronous successive halving (ASHA, Li et al. 2020) for several objectives.

A trial is compared at fixed iterations with all that came as far. Its score is how far it lies before the front of the
others (positive) or behind it (negative): the least factor-free shift that would bring it onto the front, the additive
ε-indicator of Zitzler et al. (2003), each objective in units of its range there. What lies on the front is never poor.
"""

from collections.abc import Iterator

import numpy as np

from study.settings import StopEarly


def milestones(stop: StopEarly, iterations: int) -> Iterator[int]:
    """The iterations at which trials are compared, the end apart."""
    at = float(stop.after)
    while at < iterations:
        yield int(at)
        at /= stop.keep


def scores(points: np.ndarray) -> np.ndarray:
    """How far each of some points lies before the front of the others: (k, objectives), maximised -> (k,)."""
    span = np.ptp(points, axis=0)
    scaled = points / np.where(span > 0, span, 1)
    ahead = (scaled[:, None] - scaled[None, :]).max(axis=2)  # of i before j, where it leads most
    np.fill_diagonal(ahead, np.inf)
    return ahead.min(axis=1)


def is_poor(stop: StopEarly, points: np.ndarray, which: int) -> bool:
    """Whether one of the points at a milestone is not among the best ``keep`` of them, and behind their front."""
    if len(points) * stop.keep < 1:  # too few to tell
        return False
    found = scores(points)
    better = int((found > found[which]).sum())
    return bool(found[which] < 0) and better >= max(int(len(points) * stop.keep), 1)
