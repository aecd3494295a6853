"""Bjøntegaard's BD-rate: how many more bytes a codec takes than another for the same quality, in per cent.

Between the points of a curve, the logarithm of the rate is Akima's interpolation over the quality, as Herglotz et al.
(ICIP 2022, "Beyond Bjøntegaard") advise; the difference of two curves is averaged over the quality that both reach.
SSIM and MS-SSIM enter in decibels, −10·log₁₀(1 − s): over them, the curves are as straight as over PSNR.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from forensics.compression.rates import METRICS, Rate, decibels
from forensics.interval import mean_interval

MIN_OVERLAP = 0.5  # of the shorter curve's range of quality: below it, two curves say little of each other
ONE_POINT, NO_OVERLAP = "one point", "no overlap"

Curve = list[tuple[float, float]]  # bits per pixel and quality in dB, both rising


@dataclass(frozen=True)
class BDRate:
    """A codec against another: the mean over photographs and its interval of 95 %, by Student's t.

    Attributes:
        codec: its name.
        metric: the measure of quality, one of `METRICS`.
        percent: bytes more than the other codec for the same quality, less where negative; None where it cannot be
            told.
        low, high: the interval; None for one photograph.
        photographs: on which the curves overlap.
        of: all photographs.
        why_not: why it cannot be told: one point, or no overlap.
    """

    codec: str
    metric: str
    percent: float | None
    low: float | None
    high: float | None
    photographs: int
    of: int
    why_not: str | None = None


def bd_rates(rates: Sequence[Rate], against: str) -> list[BDRate]:
    """Returns every other codec against one, by every metric.

    Raises:
        ValueError: there is no such codec.
    """
    names = list(dict.fromkeys(rate.codec for rate in rates))
    if against not in names:
        raise ValueError(f"there is no codec {against!r} to compare with: choose one of {', '.join(names)}")
    return [_compared(rates, name, against, metric) for name in names if name != against for metric in METRICS]


def _compared(rates: Sequence[Rate], codec: str, against: str, metric: str) -> BDRate:
    photographs = list(dict.fromkeys(rate.photograph for rate in rates))
    pairs = [[_curve(rates, name, photograph, metric) for name in (against, codec)] for photograph in photographs]
    found = [percent for anchor, test in pairs if (percent := bd_rate(anchor, test)) is not None]
    n, of = len(found), len(photographs)
    if not found:
        points = min(len({rate.quality for rate in rates if rate.codec == name}) for name in (against, codec))
        return BDRate(codec, metric, None, None, None, 0, of, ONE_POINT if points == 1 else NO_OVERLAP)
    mean, low, high = mean_interval(found)
    return BDRate(codec, metric, mean, low if n > 1 else None, high if n > 1 else None, n, of)


def bd_rate(anchor: Curve, test: Curve) -> float | None:
    """Returns the BD-rate of a curve against an anchor in per cent; None where they overlap too little to tell."""
    if min(len(anchor), len(test)) < 2:
        return None
    (anchor_rates, anchor_quality), (test_rates, test_quality) = (np.array(curve).T for curve in (anchor, test))
    shared = min(anchor_quality[-1], test_quality[-1]) - max(anchor_quality[0], test_quality[0])
    if shared < MIN_OVERLAP * min(np.ptp(anchor_quality), np.ptp(test_quality)):
        return None
    from bjontegaard import bd_rate as of_library  # imports matplotlib

    return float(
        of_library(
            anchor_rates,
            anchor_quality,
            test_rates,
            test_quality,
            method="akima",
            require_matching_points=False,
            min_overlap=0,  # the library would measure it on both ranges together, and only warn
        )
    )


def _curve(rates: Iterable[Rate], codec: str, photograph: str, metric: str) -> Curve:
    """The points of a codec on a photograph, without those for which a cheaper one is as good."""
    points = sorted(
        (rate.bpp, quality)
        for rate in rates
        if (rate.codec, rate.photograph) == (codec, photograph)
        and math.isfinite(quality := decibels(metric, getattr(rate, metric)))
    )
    curve: Curve = []
    for bpp, quality in points:
        if not curve or quality > curve[-1][1]:
            curve.append((bpp, quality))
    return curve
