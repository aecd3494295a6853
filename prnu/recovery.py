"""Is it the sensor's pattern that a fingerprint holds? Of a simulated camera that is known, and so can be measured.

A high PCE does not tell: a pipeline that leaves the same trace in every photograph matches its own photographs, too.
The correlation of the estimate with the true pattern K has no such trap. After N photographs the estimate is
K·h + Ξ/√N, where h is the blur of demosaicing and all later processing, so that

    1/ρ² = a + b/N,      that is      ρ²/(1 − ρ²) = N / (b + (a − 1)·N):

ρ grows as √N while N ≪ b/a (Chen, Fridrich, Goljan & Lukáš, IEEE TIFS 2008), and to 1/√a at most.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from torch import Tensor

from prnu.fingerprint import Accumulator
from prnu.match import correlation


@dataclass(frozen=True)
class Recovery:
    """Correlation of a fingerprint with the sensor's true pattern, photograph after photograph.

    pipeline: its name. view: as in `prnu.experiment.Attribution`. images: numbers of photographs, rising.
    correlations: ρ after as many. pixels: of the fingerprint.
    """

    pipeline: str
    view: str
    images: tuple[int, ...]
    correlations: tuple[float, ...]
    pixels: int

    @property
    def chance(self) -> float:
        """Standard deviation of ρ where there is nothing in common."""
        return self.pixels**-0.5

    @cached_property
    def law(self) -> tuple[float, float] | None:
        """a ≥ 1 and b ≥ 0 of 1/ρ² = a + b/N, by least squares of ρ.

        What does not exceed three standard deviations of chance is left out; None where fewer than three ρ remain.
        """
        from scipy.optimize import curve_fit

        rho, N = np.array(self.correlations), np.array(self.images)
        found = rho > 3 * self.chance
        if found.sum() < 3:
            return None
        rho, N = rho[found], N[found]
        start = (1.0, max(1.0, rho[0] ** -2 - 1))
        (a, b), _ = curve_fit(lambda N, a, b: (a + b / N) ** -0.5, N, rho, start, bounds=((1, 0), (np.inf, np.inf)))
        return float(a), float(b)

    def at(self, images: float) -> float:
        """What the law says of so many photographs; NaN without one."""
        if self.law is None:
            return math.nan
        a, b = self.law
        return (a + b / images) ** -0.5

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `to_json` made, read again."""
        return cls(
            document["pipeline"],
            document["view"],
            tuple(document["images"]),
            tuple(document["correlations"]),
            document["pixels"],
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Comparison:
    """Compares fingerprints with the truth while they are being estimated: after 1, 2, 4, … photographs, and the last.

    truth: the sensor's pattern (h, w) as it lies in the photographs of every view; may be empty.
    images: number of photographs in all.
    """

    def __init__(self, truth: Mapping[str, Tensor], images: int) -> None:
        self.truth = truth
        self.numbers = {2**k for k in range(images.bit_length())} | {images}
        self.found: dict[str, dict[int, float]] = {view: {} for view in truth}

    def __call__(self, sums: Mapping[str, Accumulator]) -> None:
        for view, K in self.truth.items():
            if (number := sums[view].images) in self.numbers:
                self.found[view][number] = correlation(sums[view].estimate(), K).item()

    def recoveries(self, pipeline: str) -> tuple[Recovery, ...]:
        """One of every view."""
        return tuple(
            Recovery(pipeline, view, tuple(found), tuple(found.values()), self.truth[view].numel())
            for view, found in self.found.items()
        )
