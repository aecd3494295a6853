"""Small numbers of the page that one can ask: a bound separates them as it does the metrics."""

import math

from hypothesis import given
from hypothesis import strategies as st

from study.report.explorer.data import DECIMALS, _on_grid


@given(st.floats(-100, 100), st.integers(-(10**9), 10**9), st.sampled_from(sorted(DECIMALS.values())))
def test_a_bound_separates_small_numbers_as_it_does_the_metrics(value: float, bound: int, decimals: int) -> None:
    text = f"{'-' if bound < 0 else ''}{abs(bound) // 10**decimals}.{abs(bound) % 10**decimals:0{decimals}d}"
    for metric in (value, float(text), math.nextafter(float(text), -math.inf), round(value, 3)):
        assert (metric >= float(text)) == (_on_grid(metric, decimals) >= bound)  # type: ignore[operator]
