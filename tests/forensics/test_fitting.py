"""How a calibration is made: against other programs, and in a world whose truth is known."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lir.algorithms.isotonic_regression import IsotonicCalibrator
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from forensics.analysis import fitting
from forensics.analysis.calibration import (
    Calibration,
    CalibrationError,
    Reference,
    log_likelihoods,
    share_above,
    threshold,
)
from forensics.analysis.fitting import FOLDS, fit, steps
from forensics.localisation.maps import evidence as likelihood_ratio
from tests.forensics.known_world import (
    CLASSES,
    KINDS,
    PIXELS,
    S,
    centre,
    likelihoods,
    logits,
    means,
    photographs,
)

FEW = settings(max_examples=60, deadline=None)


def float64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fit(photographs(300, seed=1)[0], CLASSES)


# --- Likelihood ratios ---

numbers = st.lists(st.integers(-8, 8).map(lambda value: value / 3), min_size=1, max_size=25)


@FEW
@given(native=numbers, altered=numbers)
def test_steps_are_the_isotonic_regression_of_lir(native: list[float], altered: list[float]) -> None:
    """With one misleading photograph on each side; many scores are equal."""
    found = Reference(float64(sorted(native)), float64([0.0]), steps(float64(native), float64(altered)))
    other = IsotonicCalibrator(add_misleading=1)
    scores = np.array([*native, *altered])
    other.fit(scores, np.repeat([0, 1], [len(native), len(altered)]))
    wanted = other.transform(scores) * math.log(10)  # its logarithms are decimal
    np.testing.assert_allclose([found.ratio(score) for score in scores], wanted, atol=1e-9)


@FEW
@given(native=numbers, altered=numbers)
def test_steps_ascend_and_are_finite(native: list[float], altered: list[float]) -> None:
    found = steps(float64(native), float64(altered))
    assert torch.isfinite(found).all()
    assert (found.diff(dim=0) > 0).all()
    assert found[0, 0] == min(native + altered)
    assert -math.log(len(native) + len(altered) + 2) * 2 < found[0, 1] <= found[-1, 1]


# --- Maps ---


def regression_problem() -> tuple[Tensor, Tensor, Tensor]:
    samples, _ = photographs(60, seed=3, distance=1.0, crops=1)
    of_kind = torch.tensor([1 + KINDS.index(sample.kind) for sample in samples])
    return torch.stack([one.logits for one in samples]), torch.tensor([one.label for one in samples]), of_kind


def test_the_map_of_all_kinds_is_the_regression_of_sklearn() -> None:
    values, labels, of_kind = regression_problem()
    maps = fitting._fit_maps(values, labels, of_kind, 3, 3)
    scale = values.double().std(dim=0)
    inputs = np.concatenate([values.double() / scale, np.ones((len(values), 1))], axis=1)
    other = LogisticRegression(
        C=1 / (2 * len(values) * fitting.RIDGE), fit_intercept=False, tol=1e-10, max_iter=10_000
    ).fit(inputs, labels.numpy())
    wanted = torch.from_numpy(other.coef_) / torch.cat((scale, torch.ones(1)))
    torch.testing.assert_close(maps[0], wanted, atol=2e-3, rtol=2e-3)


def test_the_map_of_a_kind_has_the_least_cost_of_its_photographs() -> None:
    """The cost is convex, so its minimum is where the gradient is zero."""
    values, labels, of_kind = regression_problem()
    maps = fitting._fit_maps(values, labels, of_kind, 3, 3)
    scale = torch.cat((values.double().std(dim=0), torch.ones(1)))
    for kind in (1, 2, 3):
        chosen, W = of_kind == kind, (maps[kind] * scale).requires_grad_()
        inputs = torch.cat((values[chosen].double() / scale[:-1], torch.ones(int(chosen.sum()), 1)), dim=1)
        towards = fitting.RIDGE_OF_KIND * (W - maps[0] * scale).square().sum()
        (torch.nn.functional.cross_entropy(inputs @ W.T, labels[chosen]) + towards).backward()
        assert W.grad is not None
        assert W.grad.abs().max() < 1e-4
        assert not torch.allclose(maps[kind], maps[0], atol=0.1)


def test_a_kind_without_photographs_has_the_map_of_all() -> None:
    values, labels, of_kind = regression_problem()
    maps = fitting._fit_maps(values, labels, of_kind, 3, 4)
    torch.testing.assert_close(maps[4], maps[0])


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_the_temperature_is_found(factor: float) -> None:
    random = np.random.default_rng(1)
    right = torch.from_numpy(random.normal(size=(20_000, 3)) * 2)
    labels = torch.distributions.Categorical(logits=right).sample()
    assert fitting._temperature(factor * right, labels) == pytest.approx(factor, rel=0.05)


# --- The unfamiliar ---


def test_familiarity_by_numpy() -> None:
    samples, _ = photographs(40, seed=4, crops=1)
    statistics = torch.stack([sample.statistics for sample in samples])
    labels = np.array([sample.label for sample in samples])
    of_kind = np.array([1 + KINDS.index(sample.kind) for sample in samples])
    found = fitting._fit_familiarity(statistics, torch.from_numpy(labels), torch.from_numpy(of_kind), 3, 3)
    x = statistics.double().numpy()
    scaled = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    values, vectors = np.linalg.eigh(np.cov(scaled.T))
    largest = vectors[:, np.argsort(values)[::-1][: S - 1]]
    np.testing.assert_allclose(np.abs(largest.T @ found.basis.numpy()), np.eye(S - 1), atol=1e-6)
    within = scaled @ found.basis.numpy()
    away = within.copy()
    for kind in (1, 2, 3):
        for label in range(3):
            chosen = (of_kind == kind) & (labels == label)
            np.testing.assert_allclose(found.centres[kind - 1, label], within[chosen].mean(axis=0), atol=1e-9)
            away[chosen] -= within[chosen].mean(axis=0)
    covariance = away.T @ away / len(away)
    even = np.eye(S - 1) * np.trace(covariance) / (S - 1)
    np.testing.assert_allclose(np.linalg.inv(found.precision), 0.9 * covariance + 0.1 * even, atol=1e-9)
    assert found.rest.item() == pytest.approx(values.min() * (len(x) - 1) / len(x) / S, rel=1e-6)


def test_what_components_leave_never_has_a_mean_of_zero() -> None:
    """Six photographs have no more than five components, and leave nothing."""
    found = fitting._fit_familiarity(torch.randn(6, 40), torch.tensor([0, 1, 2] * 2), torch.ones(6).long(), 3, 1)
    assert found.rest.item() == 1e-6


# --- The whole calibration in a world whose truth is known ---


def test_nothing_is_judged_by_maps_that_were_fitted_to_its_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Except for the finished calibration: one of seven fits of maps is to all, and one to windows."""
    samples, _ = photographs(23, seed=5, crops=1)
    samples = [
        dataclasses.replace(
            one, logits=torch.full((3,), float(one.photograph)), statistics=torch.full((S,), float(one.photograph))
        )
        for one in samples
    ]
    fitted: dict[str, set[float]] = {}
    judged: dict[str, list[float]] = {"maps": [], "familiarity": []}
    maps, familiarity = fitting._fit_maps, fitting._fit_familiarity

    def fit_maps(values: Tensor, *rest: object) -> Tensor:
        fitted["maps"] = set(values[:, 0].tolist())
        return maps(values, *rest)  # type: ignore[arg-type]

    def fit_familiarity(values: Tensor, *rest: object) -> object:
        fitted["familiarity"] = set(values[:, 0].tolist())

        class Judge:
            def strangeness(self, statistics: Tensor, kind: int) -> Tensor:
                assert not fitted["familiarity"] & set(statistics[:, 0].tolist())
                judged["familiarity"] += statistics[:, 0].tolist()
                return statistics[:, 0].double()

        return Judge() if len(fitted["familiarity"]) < 23 else familiarity(values + torch.randn(values.shape), *rest)

    def judge(_: Tensor, kind: int, values: Tensor) -> Tensor:
        if values.ndim == 2:  # no places
            assert not fitted["maps"] & set(values[:, 0].tolist())
            judged["maps"] += values[:, 0].tolist()
        return values.double()

    monkeypatch.setattr(fitting, "_fit_maps", fit_maps)
    monkeypatch.setattr(fitting, "_fit_familiarity", fit_familiarity)
    monkeypatch.setattr(fitting, "log_likelihoods", judge)
    fitting._fit_scale(samples, KINDS, 3)
    for seen in judged.values():
        assert sorted(seen) == sorted(2 * [float(one.photograph) for one in samples])  # of known and of unknown kind


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_the_true_ones(calibration: Calibration, kind: str) -> None:
    """Each kind of file distorts the logits its own way, one even reverses them."""
    x = np.random.default_rng(6).normal(size=(2000, 3)) + means(2.0)[np.arange(2000) % 3]
    true = torch.from_numpy(likelihoods(x, 2.0))
    found = log_likelihoods(calibration.scales[0].maps, calibration.number(kind), logits(x, kind))
    assert (found.softmax(dim=1) - true.softmax(dim=1)).abs().mean() < 0.05
    ratios = [calibration.scales[0].known.ratio(score) for score in likelihood_ratio(found).tolist()]
    assert np.abs(np.clip(ratios, -3, 3) - likelihood_ratio(true).clamp(-3, 3).numpy()).mean() < 0.4


def test_false_alarms_are_as_rare_as_promised() -> None:
    """On average over calibrations: what one of n photographs lets through is beta distributed."""
    random, n, worlds = np.random.default_rng(7), 150, 8
    realised: dict[tuple[bool, float], list[float]] = {}
    for seed in range(worlds):
        found = fit(photographs(n, seed, crops=1)[0], CLASSES)
        x = random.normal(means(2.0)[0], size=(5_000, 3))
        for known in (True, False):
            scores = torch.cat(
                [
                    likelihood_ratio(
                        log_likelihoods(found.scales[0].maps, found.number(kind) if known else 0, logits(x, kind))
                    )
                    for kind in KINDS
                ]
            )
            for rate in (0.01, 0.05, 0.3):
                above = scores > threshold(found.scales[0].reference(int(known)).native, rate)
                realised.setdefault((known, rate), []).append(above.double().mean().item())
    for (known, rate), shares in realised.items():
        rank = math.ceil((n + 1) * (1 - rate))
        uncertain = scipy.stats.beta(n + 1 - rank, rank).std() / math.sqrt(worlds)
        assert abs(np.mean(shares) - rate) < 3 * uncertain, (known, rate)


def test_the_unfamiliar_is_strange_and_the_own_is_not(calibration: Calibration) -> None:
    scale, random = calibration.scales[0], np.random.default_rng(8)
    for number in (0, 1):
        strange = scale.reference(number).strange
        own = random.normal(centre(KINDS[0], 2), size=(1000, S))
        other = random.normal(centre(KINDS[0], 2) + 6 * (np.arange(S) > 7), size=(1000, S))
        shares = [
            [
                share_above(strange, value)
                for value in scale.familiarity.strangeness(torch.from_numpy(each), number).tolist()
            ]
            for each in (own, other)
        ]
        low, high = scipy.stats.binom(1000, 0.02).interval(0.9999)
        assert low / 2 <= sum(share <= 0.02 for share in shares[0]) <= 1.5 * high
        assert np.mean(np.array(shares[1]) <= 0.02) > 0.9


def test_one_of_a_hundred_own_photographs_is_too_flat(calibration: Calibration) -> None:
    textures = [[one.texture for one in photographs(300, seed=1)[0] if one.scale == scale] for scale in (0, 1)]
    for scale, found in zip(calibration.scales, textures, strict=True):
        assert sum(texture < scale.texture.item() for texture in found) == len(found) / 100


def test_few_photographs_are_refused() -> None:
    samples, _ = photographs(FOLDS - 1, seed=9)
    with pytest.raises(CalibrationError, match=r"^4 photographs are too few to calibrate with: give 5 or more$"):
        fit(samples, CLASSES)


def test_sizes_of_few_photographs_are_left_out() -> None:
    samples, _ = photographs(20, seed=9)
    fewer = [one for one in samples if one.scale == 0 or one.photograph < FOLDS - 1]
    assert [scale.pixels.item() for scale in fit(fewer, CLASSES).scales] == [PIXELS[0]]


def test_as_few_photographs_as_a_demo_validates_with_are_enough() -> None:
    """Then one photograph of a class may be all that is known of it behind a kind of file."""
    samples, _ = photographs(FOLDS + 1, seed=3)
    samples = [dataclasses.replace(one, kind=f"jpeg:{10 + one.photograph}") for one in samples]
    assert fit(samples, CLASSES).photographs == FOLDS + 1
