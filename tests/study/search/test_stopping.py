"""Which points are given up early."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from study.search.stopping import is_poor, milestones, scores
from study.settings import StopEarly

POINTS = arrays(float, st.tuples(st.integers(2, 12), st.just(2)), elements=st.integers(0, 9).map(float))


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a >= b).all() and (a > b).any())


@given(POINTS)
def test_scores_are_negative_exactly_behind_the_front(points: np.ndarray) -> None:
    """Strictly behind in every objective; a point that equals another in one has 0 at least."""
    for point, score in zip(points, scores(points), strict=True):
        assert (score < 0) == any(bool((other > point).all()) for other in points)


@given(POINTS, st.integers(1, 4), st.floats(-50, 50))
def test_units_do_not_matter(points: np.ndarray, factor: int, shift: float) -> None:
    np.testing.assert_allclose(scores(points), scores(points * [1, factor] + [0, shift]), atol=1e-9)


@given(POINTS, st.sampled_from([0.25, 0.5]))
def test_the_front_is_never_poor_and_the_best_share_stays(points: np.ndarray, keep: float) -> None:
    poor = [is_poor(StopEarly(after=1, keep=keep), points, which) for which in range(len(points))]
    assert sum(not one for one in poor) >= min(int(keep * len(points)), len(points))
    for which, one in enumerate(poor):
        if one:
            assert any(dominates(other, points[which]) for other in points)


def test_of_many_in_a_row_the_last_are_poor() -> None:
    points = np.arange(8.0)[:, None] * [1, 1]
    assert [is_poor(StopEarly(after=1, keep=0.5), points, which) for which in range(8)] == [True] * 4 + [False] * 4


def test_too_few_are_not_compared() -> None:
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    assert is_poor(StopEarly(after=1, keep=0.5), points, 0)
    assert not is_poor(StopEarly(after=1, keep=0.3), points, 0)


def test_milestones_are_further_and_further_apart() -> None:
    assert list(milestones(StopEarly(after=90, keep=0.5), 360)) == [90, 180]
    assert list(milestones(StopEarly(after=90, keep=0.25), 1441)) == [90, 360, 1440]
    assert list(milestones(StopEarly(after=90), 90)) == []
