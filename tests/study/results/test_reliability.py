"""How reliable an analysis is said to be: by direct formulas, and in a world whose truth is known."""

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from forensics.analysis.calibration import Calibration, peak, region_limit
from forensics.analysis.decision import decide
from forensics.analysis.fitting import fit
from forensics.analysis.samples import Sample
from study.results import reliability
from study.results.reliability import assess, bins, costs, judged, share
from tests.forensics.known_world import CLASSES, KINDS, photographs

FEW = settings(max_examples=50, deadline=None)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fit(photographs(400, seed=1, crops=1)[0], CLASSES)


@pytest.fixture(scope="module")
def others() -> list[Sample]:
    return photographs(250, seed=2)[0]


@pytest.fixture(scope="module")
def found(calibration: Calibration, others: list[Sample]) -> dict[str, Any]:
    return assess(calibration, others)


# --- Shares ---


@FEW
@given(of=st.integers(0, 200), data=st.data())
def test_shares_have_intervals_of_clopper_and_pearson(of: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, of))
    got = share(pd.Series([True] * count + [False] * (of - count), dtype=bool))
    assert (got["count"], got["of"]) == (count, of)
    if not of:
        assert got["share"] is None and got["interval"] == [0, 1]
        return
    wanted = scipy.stats.binomtest(count, of).proportion_ci(0.95, "exact")
    assert got["share"] == count / of
    assert got["interval"] == pytest.approx([wanted.low, wanted.high], abs=1e-9)


# --- Costs ---


def table(ratios: list[float], labels: list[int], confidence: float = 0.5, right: bool = True) -> pd.DataFrame:
    return pd.DataFrame({"ratio": ratios, "label": labels, "confidence": confidence, "right": right})


def cllr_by_formula(ratios: list[float], labels: list[int]) -> float:
    """Brümmer & du Preez 2006, of natural logarithms."""
    native = [math.log2(1 + math.exp(ratio)) for ratio, label in zip(ratios, labels, strict=True) if label == 0]
    altered = [math.log2(1 + math.exp(-ratio)) for ratio, label in zip(ratios, labels, strict=True) if label > 0]
    return (sum(native) / len(native) + sum(altered) / len(altered)) / 2


def cllr_min_by_formula(ratios: list[float], labels: list[int]) -> float:
    """Of the ratios that a stepwise best monotonic map makes; photographs of equal ratio stay together."""
    native = sum(label == 0 for label in labels)
    altered = len(labels) - native
    blocks: list[tuple[int, int]] = []
    for value in sorted(set(ratios)):
        here = [label for ratio, label in zip(ratios, labels, strict=True) if ratio == value]
        block = (sum(label == 0 for label in here), sum(label > 0 for label in here))
        while blocks and blocks[-1][1] * block[0] >= block[1] * blocks[-1][0]:
            before = blocks.pop()
            block = (block[0] + before[0], block[1] + before[1])
        blocks.append(block)
    cost = 0.0
    for b, a in blocks:
        if a and b:
            odds = Fraction(a * native, altered * b)
            cost += b / native * math.log2(1 + odds) + a / altered * math.log2(1 + 1 / odds)
    return cost / 2


ratios_and_labels = st.lists(st.tuples(st.integers(-6, 6), st.integers(0, 3)), min_size=2, max_size=40).filter(
    lambda pairs: {label > 0 for _, label in pairs} == {True, False}
)


@FEW
@given(ratios_and_labels)
def test_costs_are_those_of_the_formulas(pairs: list[tuple[int, int]]) -> None:
    """Ratios are natural logarithms here."""
    ratios, labels = [ratio / 2 for ratio, _ in pairs], [label for _, label in pairs]
    got = costs(table(ratios, labels))
    assert got["cllr"] == pytest.approx(cllr_by_formula(ratios, labels), rel=1e-6)
    assert got["cllr_min"] == pytest.approx(cllr_min_by_formula(ratios, labels), rel=1e-6, abs=1e-9)


def test_costs_of_what_says_nothing_and_of_what_says_all() -> None:
    nothing, everything = (costs(table(ratios, [0, 0, 1, 2, 2])) for ratios in ([0.0] * 5, [-50.0, -40, 40, 50, 60]))
    assert (nothing["cllr"], nothing["cllr_min"]) == (1, 1)
    assert everything["cllr"] == pytest.approx(0, abs=1e-9) and everything["cllr_min"] == 0


# --- The reliability diagram ---


@FEW
@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=60))
def test_bins_by_loops(photographs: list[tuple[int, bool]]) -> None:
    confidences = [thousandths / 1000 for thousandths, _ in photographs]
    given_ = table([0.0] * len(photographs), [0] * len(photographs), 0.0)
    given_ = given_.assign(confidence=confidences, right=[right for _, right in photographs])
    wanted = []
    for number in range(10):
        here = [
            (thousandths / 1000, right) for thousandths, right in photographs if number == min(thousandths // 100, 9)
        ]
        if here:
            wanted.append((sum(c for c, _ in here) / len(here), sum(r for _, r in here) / len(here), len(here)))
    got = bins(given_)
    assert got["photographs"].tolist() == [count for *_, count in wanted]
    np.testing.assert_allclose(got[["confidence", "accuracy"]], [row[:2] for row in wanted])
    both = pd.concat([given_.assign(label=0), given_.assign(label=1)])  # costs need both
    gap = sum(count * abs(confidence - accuracy) for confidence, accuracy, count in wanted) / len(photographs)
    assert costs(both)["ece"] == pytest.approx(gap)


# --- Photographs ---


def test_whole_photographs_are_judged_one_by_one(calibration: Calibration, others: list[Sample]) -> None:
    few = others[:60]
    rows = judged(calibration, few, 0.05).to_dict("records")
    whole = [one for one in few if one.scale == 0]
    assert len(rows) == len(whole) == 30
    for row, one in zip(rows, whole, strict=True):
        kind = 1 + KINDS.index(one.kind)
        wanted = decide(calibration.scales[0], kind, one.logits, one.statistics, one.texture, 0.05)
        assert (row["photograph"], row["kind"], row["label"]) == (one.photograph, one.kind, one.label)
        assert (row["result"], row["ratio"], row["above"]) == (wanted.result, wanted.ratio, wanted.above)
        assert row["history"] == wanted.history
        assert row["confidence"] == wanted.probabilities.max().item()
        assert row["right"] == (wanted.probabilities.tolist()[one.label] == row["confidence"])
        limit = region_limit(calibration, 0.05)
        in_part = one.places is not None and peak(calibration.places, kind, one.places) > limit
        assert row["region"] == in_part


def test_in_a_known_world_the_analysis_is_reliable(found: dict[str, Any]) -> None:
    assert found["photographs"] == 250
    assert found["ece"] < 0.05
    assert 0 <= found["cllr"] - found["cllr_min"] < 0.05
    assert found["cllr"] < 0.6
    for rate in (0.01, 0.05):
        at = found["rates"][f"{rate:g}"]
        rank = math.ceil(401 * (1 - rate))  # what a threshold lets through is beta distributed
        low, high = scipy.stats.betabinom(250, 401 - rank, rank).interval(0.99)
        assert low <= at["above"]["count"] <= high
        assert at["false_alarms"]["count"] <= at["above"]["count"]
        assert at["detected"]["share"] > rate
        assert at["not_judged"]["share"] < 0.08


def test_what_is_counted_is_counted(calibration: Calibration, others: list[Sample], found: dict[str, Any]) -> None:
    rows = judged(calibration, others, 0.05).to_dict("records")
    at = found["rates"]["0.05"]

    def count(name: str, hits: list[bool]) -> None:
        assert (at[name]["count"], at[name]["of"]) == (sum(hits), len(hits)), name

    native, altered = [row for row in rows if row["label"] == 0], [row for row in rows if row["label"] > 0]
    assert (len(native), len(altered)) == (250, 500)
    count("above", [row["above"] for row in native])
    count("false_alarms", [row["result"] == "altered" for row in native])
    count("false_regions", [row["region"] for row in native])
    count("not_judged", [row["result"] in ("flat", "unfamiliar") for row in rows])
    count("detected", [row["result"] == "altered" for row in altered])
    count("detected_above", [row["above"] for row in altered])
    count("named_right", [row["history"] == row["label"] for row in altered if row["result"] == "altered"])
    assert at["false_alarms"]["count"] > 0 and at["false_regions"]["count"] > 0
    for number, name in ((1, "sharpen"), (2, "median")):
        of_class = [row["result"] == "altered" for row in altered if row["label"] == number]
        assert at["detected_by_class"][name]["count"] == sum(of_class)
    assert set(at["detected_by_class"]) == set(CLASSES[1:])


def test_kinds_make_up_the_whole(found: dict[str, Any]) -> None:
    assert set(found["by_kind"]) == set(KINDS)
    for at in found["rates"].values():
        assert set(at["by_kind"]) == set(KINDS)
        for name in ("above", "false_alarms", "false_regions", "not_judged", "detected", "detected_above"):
            for figure in ("count", "of"):
                assert sum(kind[name][figure] for kind in at["by_kind"].values()) == at[name][figure]


def test_the_result_is_json(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert sum(each["photographs"] for each in found["bins"]) == 3 * found["photographs"]


def test_a_rate_that_cannot_be_promised_is_named(calibration: Calibration, others: list[Sample]) -> None:
    small = fit(photographs(40, seed=3, crops=1)[0], CLASSES)
    got = assess(small, others[:60])
    assert set(got["rates"]["0.01"]) == {"refused"}
    assert "calibrated with 40 native photographs" in got["rates"]["0.01"]["refused"]
    assert "above" in got["rates"]["0.05"]
    assert set(reliability.RATES) == {0.01, 0.05}
