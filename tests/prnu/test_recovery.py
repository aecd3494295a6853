"""What of a sensor's pattern a fingerprint holds, as theory says, and where nothing of it is there."""

import pytest

from prnu.recovery import Recovery

NUMBERS = (1, 2, 4, 8, 16, 31)


def recovery(*correlations: float) -> Recovery:
    return Recovery("standard", "developed", NUMBERS[: len(correlations)], correlations, 512 * 512)


@pytest.mark.parametrize(("a", "b"), [(1.0, 30.0), (2.3, 80.0), (4.0, 1000.0)])
def test_the_law_is_found(a: float, b: float) -> None:
    exact = recovery(*((a + b / N) ** -0.5 for N in NUMBERS))
    assert exact.law == pytest.approx((a, b), rel=1e-3)


def test_without_a_pattern_there_is_no_law() -> None:
    assert recovery(0.001, -0.002, 0.003, 0.001, 0.002, 0.0).law is None
    hidden = recovery(0.001, *((2.3 + 80 / N) ** -0.5 for N in NUMBERS[1:]))
    assert hidden.law == pytest.approx((2.3, 80), rel=1e-3), "what chance hides is left out"
    assert recovery(0.1, 0.14).law is None, "two numbers fit any law"
    assert recovery(0.1).chance == 1 / 512


def test_json() -> None:
    found = recovery(0.1, 0.2, 0.3)
    assert Recovery.from_json(found.to_json()) == found
