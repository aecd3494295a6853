"""Does a fingerprint hold the sensor's pattern? For a simulated camera the pattern is known, so this can be measured.

A high PCE is no proof: a pipeline that leaves the same trace in every photograph matches its own photographs, too.
The correlation of the estimate with the true pattern K does not have this problem. After N photographs the estimate is
K·h + Ξ/√N, where h is the blur of demosaicing and all later processing, so that

    1/ρ² = a + b/N,      that is      ρ²/(1 − ρ²) = N / (b + (a − 1)·N):

ρ grows as √N while N ≪ b/a (Chen, Fridrich, Goljan & Lukáš, IEEE TIFS 2008), and never exceeds 1/√a.
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
    """Correlation of a fingerprint with the sensor's true pattern, by number of photographs.

    pipeline: its name. view: as in `prnu.experiment.Attribution`. images: numbers of photographs, increasing.
    correlations: ρ after these numbers. pixels: of the fingerprint.
    """

    pipeline: str
    view: str
    images: tuple[int, ...]
    correlations: tuple[float, ...]
    pixels: int

    @property
    def chance(self) -> float:
        """Standard deviation of ρ for unrelated patterns."""
        return self.pixels**-0.5

    @cached_property
    def law(self) -> tuple[float, float] | None:
        """a ≥ 1 and b ≥ 0 of 1/ρ² = a + b/N, by least squares of ρ.

        Values of ρ within three standard deviations of chance are left out; None if fewer than three remain.
        """
        from scipy.optimize import curve_fit  # slow to import, and only experiments need it

        rho, N = np.array(self.correlations), np.array(self.images)
        found = rho > 3 * self.chance
        if found.sum() < 3:
            return None
        rho, N = rho[found], N[found]
        start = (1.0, max(1.0, rho[0] ** -2 - 1))
        (a, b), _ = curve_fit(lambda N, a, b: (a + b / N) ** -0.5, N, rho, start, bounds=((1, 0), (np.inf, np.inf)))
        return float(a), float(b)

    def at(self, images: float) -> float:
        """ρ by the law after a number of photographs; NaN without a law."""
        if self.law is None:
            return math.nan
        a, b = self.law
        return (a + b / images) ** -0.5

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the output of `to_json`."""
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
    """Compares fingerprints with the truth during their estimation: after 1, 2, 4, … photographs and the last one.

    truth: the sensor's pattern (h, w) as it lies in the photographs of every view; may be empty.
    images: number of all photographs.
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
        """The recovery in every view."""
        return tuple(
            Recovery(pipeline, view, tuple(found), tuple(found.values()), self.truth[view].numel())
            for view, found in self.found.items()
        )
