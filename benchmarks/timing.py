"""The stopwatch of all benchmarks."""

import statistics
import time
from collections.abc import Callable

import torch


def milliseconds(
    function: Callable[[], object], repeats: int, warmup: int = 1, before: Callable[[], object] = lambda: None
) -> float:
    """Median time of a call, until a GPU has finished what it started; ``before`` runs before each and is not timed."""
    times = []
    for _ in range(warmup + repeats):
        before()
        synchronise()
        start = time.perf_counter()
        function()
        synchronise()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[warmup:])


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
