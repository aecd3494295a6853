"""Composites, maps and metrics of localisation, against oracles; and what the experiment must not depend on."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats
from small_trials import small_trial
from torch import Tensor

from cameras.pairs import Pairs
from channel import encode
from forensics import FAN, dense
from forensics.localisation import (
    FOREIGN,
    PRISTINE,
    SHAPES,
    STANDARD,
    Localisation,
    Photograph,
    Result,
    Rule,
    at_pixels,
    auc,
    cases,
    choose,
    composites,
    evidence,
    f1_curve,
    fan_detector,
    fan_scores,
    judged,
    kinds,
    localise,
    of_pairs,
    region,
)
from forensics.panel import shrunk_to_8_bits
from models.nip import NIP

SETTINGS = Localisation(sizes=(1 / 16, 1 / 4))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- Regions and composites ---


@given(st.sampled_from(sorted(SHAPES)), st.integers(40, 90), st.integers(40, 90), st.floats(0.02, 0.3), st.integers(0))
def test_a_region_has_its_area_and_is_connected(shape: str, height: int, width: int, size: float, seed: int) -> None:
    found = region(shape, height, width, size, generator(seed % 2**31))
    assert found.shape == (height, width)
    ring = 4 * (math.sqrt(size * height * width) + 2)  # pixels that are equally far away, at most
    assert size * height * width - 1 <= found.sum() <= size * height * width + ring
    assert ndimage.label(found.numpy(), np.ones((3, 3)))[1] == 1


def test_shapes_differ() -> None:
    """By how much of the box around them they fill."""
    filled = {}
    for shape in SHAPES:
        shares = []
        for seed in range(30):
            found = region(shape, 200, 200, 0.03, generator(seed))
            down, across = (found.any(dim=dim).sum() for dim in (1, 0))
            shares.append(found.sum() / (down * across))
        filled[shape] = torch.stack(shares).median().item()
    assert filled["square"] > 0.97
    assert filled["ellipse"] == pytest.approx(math.pi / 4, abs=0.03)
    assert filled["free"] < 0.72


def test_a_composite_is_altered_in_its_region_alone() -> None:
    native, altered = torch.zeros(1, 3, 40, 60, dtype=torch.uint8), {"a": torch.full((1, 3, 40, 60), 7).byte()}
    altered["b"] = altered["a"] + 1
    first, *others = composites(native, altered, (0.1, 0.2), ("square", "free"), generator())
    assert first.kind == PRISTINE
    assert not first.truth.any()
    assert torch.equal(first.pixels, native)
    assert [(one.kind, one.size) for one in others] == [("a", 0.1), ("b", 0.1), ("a", 0.2), ("b", 0.2)]
    for one in others:
        assert torch.equal(one.pixels[0], one.truth * altered[one.kind][0])
        assert one.truth.float().mean().item() == pytest.approx(one.size, rel=0.2)


# --- Maps ---


def test_evidence_is_the_likelihood_ratio() -> None:
    """Classes have equal shares in training: posterior odds of the altered ones are K − 1 times the ratio."""
    logits = torch.randn(5, 7, 5, generator=generator())
    posterior = logits.double().softmax(dim=-1)
    ratio = posterior[..., 1:].mean(dim=-1) / posterior[..., 0]
    torch.testing.assert_close(evidence(logits), ratio.log().float())


@given(st.integers(1, 6), st.integers(1, 6), st.floats(0, 20), st.floats(0, 20), st.integers(1, 20), st.integers(0))
def test_pixels_are_interpolated(h: int, w: int, top: float, left: float, stride: int, seed: int) -> None:
    scores = torch.randn(h, w, generator=generator(seed % 2**31))
    rows = np.array([np.interp(np.arange(30) + 0.5, top + stride * np.arange(h), line) for line in scores.T.numpy()])
    both = np.array([np.interp(np.arange(40) + 0.5, left + stride * np.arange(w), line) for line in rows.T])
    np.testing.assert_allclose(at_pixels(scores, (top, left), stride, 30, 40).numpy(), both, atol=1e-4)


def test_scores_lie_where_the_windows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A FAN that tells how bright a window is draws a map of a bright square that is centred on it."""

    def means_of(fan: FAN, received: Tensor, window: int) -> Tensor:
        means = dense.over_windows(torch.nn.functional.avg_pool2d(received / 255, 16), window)[..., :1]
        return torch.cat((torch.zeros_like(means), means), dim=-1)

    monkeypatch.setattr("forensics.localisation.maps.dense_logits", means_of)
    for top, left in ((40, 56), (45, 61), (64, 70)):
        received = torch.zeros(1, 3, 160, 192, dtype=torch.uint8)
        received[..., top : top + 48, left : left + 48] = 255
        found = fan_scores(FAN(2), received, 32).double()
        rows, columns = (torch.arange(extent).double() + 0.5 for extent in (160, 192))
        assert (found.sum(1) @ rows / found.sum()).item() == pytest.approx(top + 24, abs=1)
        assert (found.sum(0) @ columns / found.sum()).item() == pytest.approx(left + 24, abs=1)


# --- Metrics ---


def grid(seed: int) -> tuple[Tensor, Tensor]:
    """Scores with many ties, and a truth that has both."""
    truth = torch.rand(12, 9, generator=generator(seed + 1)) < 0.3
    truth[0], truth[-1] = True, False
    return torch.randint(5, (12, 9), generator=generator(seed)).float(), truth


grids = st.integers(0, 2**31).map(grid)


@given(grids)
def test_auc_is_that_of_mann_and_whitney(pair: tuple[Tensor, Tensor]) -> None:
    scores, truth = pair
    u = stats.mannwhitneyu(scores[truth].numpy(), scores[~truth].numpy(), method="asymptotic").statistic
    assert auc(scores, truth) == pytest.approx(u / (truth.sum() * (~truth).sum()).item())


@given(grids, st.integers(0, 5))
def test_counts(pair: tuple[Tensor, Tensor], threshold: int) -> None:
    scores, truth = pair
    flags = (scores >= threshold).numpy().ravel().tolist()
    marks = truth.numpy().ravel().tolist()
    hits = sum(flag and mark for flag, mark in zip(flags, marks, strict=True))
    wrong = sum(flag and not mark for flag, mark in zip(flags, marks, strict=True))
    missed = sum(mark and not flag for flag, mark in zip(flags, marks, strict=True))
    found = judged(Rule(threshold, False).flags(scores), truth)
    assert found.f1 == pytest.approx(2 * hits / (2 * hits + wrong + missed))
    assert found.iou == pytest.approx(hits / (hits + wrong + missed))
    assert found.flagged == pytest.approx((hits + wrong) / len(flags))
    assert found.false == pytest.approx(wrong / marks.count(False))
    assert found.everything == pytest.approx(judged(torch.ones_like(truth), truth).f1)
    assert f1_curve(scores, truth, torch.tensor([float(threshold)])).item() == pytest.approx(found.f1)


def test_the_threshold_is_the_best_of_all() -> None:
    maps = [(torch.randn(20, 20, generator=generator(i)), torch.arange(400).view(20, 20) < 60 + i) for i in range(3)]
    maps = [(scores + 2 * truth, truth) for scores, truth in maps]
    rule, mean = choose(maps, centred=False)

    def f1(threshold: float) -> float:
        return float(np.mean([judged(Rule(threshold, False).flags(scores), truth).f1 for scores, truth in maps]))

    assert f1(rule.threshold) == pytest.approx(mean)
    everywhere = torch.cat([scores.flatten() for scores, _ in maps]).sort().values
    assert max(map(f1, everywhere[:: len(everywhere) // 300].tolist())) - 0.005 < mean


def test_a_median_is_subtracted_where_photographs_differ_by_a_constant() -> None:
    truth = torch.arange(400).view(20, 20) < 40
    maps = [(torch.rand(20, 20, generator=generator(i)) + truth + 5 * i, truth) for i in range(3)]
    (_, without), (centred, within) = (choose(maps, each) for each in (False, True))
    assert within > 0.95 > without
    assert centred.centred


def test_maps_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="no numbers"):
        auc(torch.full((4, 4), torch.nan), torch.eye(4).bool())
    with pytest.raises(ValueError, match="altered and authentic"):
        auc(torch.zeros(4, 4), torch.zeros(4, 4).bool())


# --- The experiment ---


@pytest.fixture
def photographs(pairs: Pairs) -> list[Photograph]:
    return list(of_pairs(pairs, range(4), other=pairs, seed=1))


def brightness(received: Tensor, codec: str) -> Tensor:
    return received[0].float().mean(dim=0)


def tried(
    nip: NIP, photographs: list[Photograph], detect: Callable[[Tensor, str], Tensor], **settings: object
) -> Result:
    """The first two photographs choose."""
    how = replace(SETTINGS, **settings)  # type: ignore[arg-type]
    return localise(small_trial("fixed"), nip.eval(), photographs[:2], photographs[2:], how, {"one": detect})


def test_every_composite_goes_through_the_channel_as_a_whole(nip: NIP, photographs: list[Photograph]) -> None:
    """Where nothing was altered and far from it, the received photograph is the pristine one, altered elsewhere."""
    seen: list[Tensor] = []

    def detect(received: Tensor, codec: str) -> Tensor:
        seen.append(received)
        return brightness(received, codec)

    result = tried(nip, photographs, detect)
    trial, names = small_trial("fixed"), [PRISTINE, "sharpen", "gaussian", "jpeg:80", "resample", STANDARD, FOREIGN]
    assert kinds(trial, foreign=True) == names
    assert [row["kind"] for row in result.test] == 2 * (names + names[1:])
    assert [row["size"] for row in result.test] == 2 * ([0.0] + 6 * [1 / 16] + 6 * [1 / 4])
    assert [case.kind for case in result.examples] == names + names[1:]
    assert {case.photograph for case in result.examples} == {"0002"}
    pristine = result.examples[0].received
    with torch.no_grad():
        native = (255 * nip(photographs[2].bayer)).round().clamp(0, 255).byte()
    assert torch.equal(pristine, encode(shrunk_to_8_bits(native, trial.channel), "jpeg:70"))
    for case in result.examples[1:]:
        changed = (case.received != pristine)[0].any(dim=0)
        near = torch.nn.functional.max_pool2d(case.truth[None].float(), 17, 1, 8)[0].bool()  # a block of JPEG around
        assert changed[~near].sum() == 0
        assert case.truth.float().mean().item() == pytest.approx(case.size, rel=0.25)
    foreign = next(case for case in result.examples if case.kind == FOREIGN and case.size == 1 / 4)
    shrunk = shrunk_to_8_bits(photographs[2].foreign, trial.channel)  # type: ignore[arg-type]
    deep = -torch.nn.functional.max_pool2d(-foreign.truth[None].float(), 9, 1, 4)[0] > 0
    error = (foreign.received.float() - shrunk)[0][:, deep].abs().mean().item()
    assert error < 6 < (pristine.float() - shrunk)[0][:, deep].abs().mean().item()
    assert len(seen) == 4 * 13


def test_who_knows_the_truth_finds_all(nip: NIP, photographs: list[Photograph]) -> None:
    """Scores of the truth itself, got by a first pass."""
    first = tried(nip, photographs, lambda received, codec: torch.zeros(received.shape[-2:]))
    assert {row["auc"] for row in first.test} == {None, 0.5}
    assert all(row["f1"] == pytest.approx(row["everything"]) for row in first.test if row["kind"] != PRISTINE)
    truths = itertools.cycle([case.truth for case in first.examples])  # those of the first photograph of any set

    def oracle(received: Tensor, codec: str) -> Tensor:
        return next(truths).float()

    again = localise(small_trial("fixed"), nip, photographs[2:3], photographs[2:3], SETTINGS, {"one": oracle})
    for row in again.test:
        expected = (None, 0.0, 0.0) if row["kind"] == PRISTINE else (1.0, 1.0, 1.0)
        assert (row["auc"], row["f1"], row["iou"]) == expected
        assert row["false"] == 0


def test_reported_photographs_choose_nothing(nip: NIP, photographs: list[Photograph]) -> None:
    both = tried(nip, photographs, brightness)
    alone = localise(small_trial("fixed"), nip, photographs[:2], [], SETTINGS, {"one": brightness})
    assert (both.rules, both.plain, both.validation) == (alone.rules, alone.plain, alone.validation)
    assert alone.test == []
    assert {case.photograph for case in alone.examples} == {"0000"}
    with pytest.raises(ValueError, match="validation photographs"):
        localise(small_trial("fixed"), nip, [], photographs, SETTINGS, {"one": brightness})


def test_validation_chooses_whether_medians_are_subtracted(nip: NIP, photographs: list[Photograph]) -> None:
    """Both detectors know the truth; of the second, every photograph adds a constant of its own to its scores."""
    trial = small_trial("fixed")
    seen = list(cases(trial, nip.eval(), photographs[:2], SETTINGS, {}))
    plain = iter([case.truth.float() for case in seen])
    shifted = iter([case.truth + 5 * float(case.photograph) for case in seen])
    detectors = {"plain": lambda *_: next(plain), "shifted": lambda *_: next(shifted)}
    result = localise(trial, nip, photographs[:2], [], SETTINGS, detectors)
    assert {name: rule.centred for name, rule in result.rules.items()} == {"plain": False, "shifted": True}
    assert not any(rule.centred for rule in result.plain.values())
    rows = [row for row in result.validation if row["detector"] == "shifted" and row["kind"] != PRISTINE]
    assert {row["f1"] for row in rows} == {1.0}
    assert min(row["f1_plain"] for row in rows) < 0.9


def test_only_the_middle_is_tried(nip: NIP, photographs: list[Photograph]) -> None:
    small = replace(SETTINGS, megapixels=64 * 80 / 1e6)
    result = localise(small_trial("fixed"), nip.eval(), photographs[:1], [], small, {"one": brightness})
    height, width = result.examples[0].received.shape[2:]
    assert height * width <= 64 * 80 / 4
    assert height * width > 0.85 * 64 * 80 / 4


def test_the_detector_is_the_trials_fan(nip: NIP, photographs: list[Photograph]) -> None:
    """A FAN that always says native leaves nothing to find; scores are those of its dense logits."""
    trial, fan = small_trial("fixed"), FAN(5)
    detect = fan_detector(trial, fan)
    received = torch.randint(256, (1, 3, 48, 64), generator=generator(), dtype=torch.uint8)
    single = fan_scores(fan, received, 16)
    assert torch.equal(detect(received, "jpeg:70"), single)
    with torch.no_grad():
        fan.decision.bias[0] += 100
    assert (detect(received, "jpeg:70") < single - 99).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codecs": ()}, "localisation.codecs"),
        ({"codecs": ("jpeg:70", "jpeg:70")}, "localisation.codecs"),
        ({"sizes": (0.7,)}, "localisation.sizes"),
        ({"shapes": ("star",)}, "square, ellipse, free"),
        ({"photographs": 0}, "localisation.photographs"),
        ({"megapixels": 0}, "localisation.megapixels"),
        ({"fingerprint": 2}, "localisation.fingerprint"),
        ({"window": 64}, "localisation.window"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Localisation(**settings)  # type: ignore[arg-type]
