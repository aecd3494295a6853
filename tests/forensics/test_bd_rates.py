"""BD-rates and mean curves of codecs whose curves are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from forensics.compression.bd_rates import BDRate, bd_rate, bd_rates
from forensics.compression.rates import METRICS, Rate, means
from tests.forensics.known_rates import rate


def straight(qualities: list[float], factor: float = 1) -> list[tuple[float, float]]:
    """A codec that needs twice the rate for 6 dB more."""
    return [(factor * 2 ** (quality / 6 - 5), quality) for quality in qualities]


@pytest.mark.parametrize(("factor", "percent"), [(1, 0), (0.5, -50), (2, 100), (1.3, 30)])
def test_bd_rate_of_a_multiple(factor: float, percent: float) -> None:
    anchor, same_range = [24.0, 28, 31, 36, 40], [24.0, 27, 33, 40]
    assert bd_rate(straight(anchor), straight(same_range, factor)) == pytest.approx(percent, abs=1e-6)
    assert bd_rate(straight(anchor), straight([25, 35], factor)) == pytest.approx(percent, abs=1e-6)


def test_bd_rate_is_of_the_quality_that_both_reach() -> None:
    """The test needs half the rate up to 32 dB, which alone the anchor reaches, and four times as much beyond."""
    low, high = straight([24.0, 25, 26, 27, 28, 29, 30, 31, 32], 0.5), straight([36.0, 40], 4)
    assert bd_rate(straight([24, 26, 28, 30]), low + high) == pytest.approx(-50, abs=1e-6)


def test_bd_rate_needs_points_that_overlap() -> None:
    assert bd_rate(straight([24, 30]), straight([31, 40])) is None
    assert bd_rate(straight([20, 30]), straight([26, 36])) is None  # 40 % of either
    assert bd_rate(straight([20, 30]), straight([24, 34])) is not None  # 60 %
    assert bd_rate(straight([20, 40]), straight([30])) is None
    assert bd_rate(straight([30]), straight([20, 40])) is None


def table(factors: dict[str, dict[str, float]], qualities: tuple[float, ...] = (24, 28, 32, 36)) -> list[Rate]:
    """Rates of codecs, which need ``factors[codec][photograph]`` times as much as `straight`."""
    return [
        rate(codec, str(quality), photograph, bpp, quality)
        for codec, by_photograph in factors.items()
        for photograph, factor in by_photograph.items()
        for bpp, quality in straight(list(qualities), factor)
    ]


def by_psnr(found: list[BDRate], codec: str) -> BDRate:
    return next(one for one in found if (one.codec, one.metric) == (codec, "psnr"))


def test_bd_rates_of_a_table_are_means_with_an_interval() -> None:
    found = bd_rates(table({"jpeg": {"a": 1, "b": 3, "c": 9}, "new": {"a": 0.5, "b": 1.8, "c": 8.1}}), "jpeg")
    assert {one.codec for one in found} == {"new"}
    assert {one.metric for one in found} == set(METRICS)
    new = by_psnr(found, "new")
    percents = [-50, -40, -10]
    low, high = stats.t.interval(0.95, 2, np.mean(percents), stats.sem(percents))
    assert (new.percent, new.low, new.high) == pytest.approx((np.mean(percents), low, high))
    assert (new.photographs, new.of, new.why_not) == (3, 3, None)


def test_bd_rates_count_the_photographs_that_overlap() -> None:
    rows = table({"jpeg": {"a": 1, "b": 1}}) + table({"new": {"a": 0.5}}) + table({"new": {"b": 0.5}}, (50, 60))
    new = by_psnr(bd_rates(rows, "jpeg"), "new")
    assert (new.percent, new.low, new.high) == (pytest.approx(-50), None, None)
    assert (new.photographs, new.of) == (1, 2)


def test_bd_rates_say_why_there_is_none() -> None:
    anchor = table({"jpeg": {"a": 1}})
    far = table({"far": {"a": 1}}, (50, 60))
    found = bd_rates([*anchor, *far, rate("one", psnr=30)], "jpeg")
    assert by_psnr(found, "far") == BDRate("far", "psnr", None, None, None, 0, 1, "no overlap")
    assert by_psnr(found, "one") == BDRate("one", "psnr", None, None, None, 0, 1, "one point")
    with pytest.raises(ValueError, match=r"no codec 'avif'.*jpeg, far, one"):
        bd_rates([*anchor, *far, rate("one")], "avif")


def test_points_without_use_are_left_out() -> None:
    """Lossless ones, which no metric can place, and those which cost more than a better one."""
    rows = table({"jpeg": {"a": 1}, "new": {"a": 0.5}})
    worse = [rate("new", "worse", "a", 0.5 * 2 ** (33 / 6 - 5), 27), rate("new", "lossless", "a", 30, math.inf)]
    assert by_psnr(bd_rates(rows + worse, "jpeg"), "new") == by_psnr(bd_rates(rows, "jpeg"), "new")


def test_similarity_counts_in_decibels() -> None:
    """Twice the rate halves what is missing to 1: such a curve is straight, and half its rate is −50 %."""
    rows = [
        replace(rate(codec, str(s), "a", factor / (1 - s)), ssim=s)
        for codec, factor, values in (("jpeg", 1, (0.8, 0.9, 0.95, 0.99)), ("new", 0.5, (0.8, 0.97, 0.99)))
        for s in values
    ]
    new = next(one for one in bd_rates(rows, "jpeg") if one.metric == "ssim")
    assert new.percent == pytest.approx(-50, abs=1e-6)


def test_means_do_not_depend_on_how_bits_are_spread() -> None:
    """Of codecs on the same straight curves, one at equal quality and one at equal rate, the means lie on one line."""
    factors = {"a": 1.0, "b": 4.0}
    equal_quality = table({"quality": factors}, (8, 24))
    equal_rate = [
        rate("rate", str(bpp), photograph, bpp, 6 * (math.log2(bpp / factor) + 5))
        for bpp in (0.5, 3.0)
        for photograph, factor in factors.items()
    ]
    curves = means([*reversed(equal_quality), *equal_rate])
    assert {codec: [point.quality for point in points] for codec, points in curves.items()} == {
        "quality": ["8", "24"],
        "rate": ["0.5", "3.0"],
    }
    for points in curves.values():
        for point in points:
            assert point.psnr == pytest.approx(6 * (math.log2(point.bpp / 2) + 5))
            assert (point.ssim, point.ms_ssim) == pytest.approx((0.9, 0.9))
