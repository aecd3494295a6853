"""The stopwatch of all benchmarks."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Milliseconds of several works, measured in turn: one value of each for every round."""

    rounds: Mapping[str, tuple[float, ...]]

    def __getitem__(self, name: str) -> float:
        """Median time of a work in ms."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, other: str) -> float:
        """How many times longer ``name`` takes than ``other``: the median over rounds, as a busy machine slows both."""
        return statistics.median(a / b for a, b in zip(self.rounds[name], self.rounds[other], strict=True))


def interleaved(works: Mapping[str, Work], repeats: int, warmup: int = 1, before: Work = lambda: None) -> Times:
    """Time works in rounds, each work once a round, until a GPU has finished what it started.

    Args:
        works: by name.
        repeats: number of rounds that count.
        warmup: rounds before them that do not.
        before: is called before each work and not timed.
    """
    rounds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(warmup + repeats):
        for name, work in works.items():
            before()
            synchronise()
            start = time.perf_counter()
            work()
            synchronise()
            if number >= warmup:
                rounds[name].append(1000 * (time.perf_counter() - start))
    return Times({name: tuple(times) for name, times in rounds.items()})


def milliseconds(function: Work, repeats: int, warmup: int = 1, before: Work = lambda: None) -> float:
    """Median time of a call; see :func:`interleaved`."""
    return interleaved({"": function}, repeats, warmup, before)[""]


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
