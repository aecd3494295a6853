"""What is decided of a photograph: the order of reasons, and figures by hand."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from calibration_by_hand import by_hand, float64, logits_of
from hypothesis import given, settings
from hypothesis import strategies as st

from forensics.analysis.calibration import (
    CalibrationError,
    share_above,
    threshold,
)
from forensics.analysis.decision import Decision, decide
from forensics.analysis.evidence import STATISTICS


def judged(
    score: float, strange: float = 0.0, texture: float = 9.0, rate: float = 0.05, kind: int = 1, **changes: Any
) -> Decision:
    statistics = torch.zeros(STATISTICS)
    statistics[0] = math.sqrt(strange)
    scale = dataclasses.replace(by_hand().scales[0], **changes)
    return decide(scale, kind, logits_of(score), statistics, texture, rate)


# --- Decide ---


@pytest.mark.parametrize(
    ("evidence", "result"),
    [
        ({"score": 2.0}, "altered"),
        ({"score": 0.965}, "altered"),
        ({"score": 0.955}, "unsure"),  # the threshold of 5 %: the 96th of 100
        ({"score": 0.51}, "unsure"),
        ({"score": 0.49}, "native"),
        ({"score": -9.0}, "native"),
        ({"score": 2.0, "texture": 3.9}, "flat"),
        ({"score": 2.0, "texture": 4.0}, "altered"),
        ({"score": 2.0, "strange": 99.0}, "unfamiliar"),
        ({"score": -2.0, "strange": 99.0}, "unfamiliar"),
        ({"score": 2.0, "strange": 9.95}, "unfamiliar"),  # 2 of 101 are as strange
        ({"score": 2.0, "strange": 9.85}, "altered"),  # 3 of 101
        ({"score": 2.0, "strange": 99.0, "texture": 0.0}, "flat"),
        ({"score": 2.0, "kind": 0}, "native"),  # of unknown kind, scores are larger
        ({"score": 12.0, "kind": 0}, "altered"),
        ({"score": 10.7, "kind": 0}, "unsure"),
        ({"score": 0.6, "rate": 0.5}, "altered"),
        ({"score": 0.4, "rate": 0.7}, "native"),  # above the threshold, but it speaks for native
    ],
)
def test_reasons_have_an_order(evidence: dict[str, Any], result: str) -> None:
    assert judged(**evidence).result == result


def test_what_speaks_for_native_is_never_altered() -> None:
    """However few native photographs score so high."""
    found = judged(0.4, rate=0.7)
    assert found.above and found.ratio == -1
    assert found.limit == 0


@settings(max_examples=60, deadline=None)
@given(score=st.floats(-3, 5), rate=st.floats(0.01, 0.99), strange=st.floats(0, 12))
def test_figures_of_a_decision(score: float, rate: float, strange: float) -> None:
    found, reference = judged(score, strange, rate=rate), by_hand().scales[0].known
    limit = threshold(reference.native, rate)
    assert found.score == pytest.approx(score, abs=1e-9)
    assert found.above == (found.score > limit)
    assert found.ratio == next((r for s, r in ((3, 5), (0.95, 2), (0.5, 0.4)) if found.score >= s), -1)
    assert found.limit == max(reference.ratio(limit), 0)
    assert found.as_high == share_above(reference.native, found.score)
    assert found.probabilities.tolist() == pytest.approx(logits_of(score).softmax(dim=0).tolist())
    # strangeness is the distance, and nothing is left beside the only component
    assert found.as_strange == pytest.approx((1 + sum(k / 10 >= strange for k in range(1, 101))) / 101, abs=0.01)
    assert (found.result == "altered") == (found.above and found.ratio > 0 and found.as_strange > 0.02)


@pytest.mark.parametrize("history", [1, 2, 3, 4])
def test_the_history_is_the_most_probable_manipulation(history: int) -> None:
    scale = by_hand().scales[0]
    for score in (-5.0, 5.0):
        found = decide(scale, 1, logits_of(score, history), torch.zeros(STATISTICS), 9.0, 0.05)
        assert found.history == history


def test_each_kind_has_its_own_map() -> None:
    """That of webp reverses the logits."""
    scale, logits = by_hand().scales[0], logits_of(2.0)
    assert decide(scale, 4, -logits, torch.zeros(STATISTICS), 9.0, 0.05).score == pytest.approx(2.0)
    assert decide(scale, 3, -logits, torch.zeros(STATISTICS), 9.0, 0.05).score < 0


def test_strangeness_is_that_of_the_kind() -> None:
    """A photograph that looks like another kind's is strange, unless its own kind is unknown."""
    familiar = dataclasses.replace(by_hand().scales[0].familiarity, centres=float64([0, 3, 6, 9]).view(4, 1, 1))
    familiar = dataclasses.replace(familiar, centres=familiar.centres.expand(4, 5, 1).contiguous())
    results = [judged(-1.0, 81.0, kind=kind, familiarity=familiar).result == "unfamiliar" for kind in range(5)]
    assert results == [False, True, True, False, False]


def test_a_rate_that_cannot_be_promised_is_refused() -> None:
    promised = r"^a false-alarm rate of 0.005 cannot be promised: .* 0.01 or more: allow that .* \(--photographs\)$"
    with pytest.raises(CalibrationError, match=promised):
        judged(0.0, rate=0.005)
