"""Make a calibration from photographs of known history (:mod:`forensics.analysis.calibration` says what it is).

Maps are multinomial logistic regressions (matrix scaling, Guo et al. 2017): one of all kinds of files, and one of each,
drawn towards it. All else comes from photographs to which the maps were not fitted, in five folds: a temperature, the
scores of native photographs, and likelihood ratios by isotonic regression.
"""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from forensics.analysis.calibration import (
    Calibration,
    CalibrationError,
    Familiarity,
    Reference,
    Scale,
    log_likelihoods,
    peak,
)
from forensics.analysis.samples import Sample
from forensics.localisation.maps import evidence as likelihood_ratio

FOLDS = 5
COMPONENTS = 32  # of the statistics
SHRINKAGE = 0.1  # of their covariance towards a multiple of the identity
RIDGE = 1e-3  # towards no map at all, for all kinds together
RIDGE_OF_KIND = 1e-2  # towards that map, for each kind
FEWEST = 3  # photographs of a class behind a kind, to know its centre
FLAT = 0.01  # share of a pipeline's own photographs that may be called too flat


def fit(samples: Sequence[Sample], classes: Sequence[str]) -> Calibration:
    """Calibrate with photographs of known history that the FAN was not trained on.

    Args:
        samples: of every photograph every class, behind one or more codecs, at one or more scales.
        classes: their names, native first.

    Raises:
        CalibrationError: fewer photographs than folds.
    """
    photographs = sorted({sample.photograph for sample in samples})
    if len(photographs) < FOLDS:
        raise CalibrationError(f"{len(photographs)} photographs are too few to calibrate with: give {FOLDS} or more")
    kinds = tuple(sorted({sample.kind for sample in samples}))
    of_size = Counter(scale for scale, _ in {(sample.scale, sample.photograph) for sample in samples})
    sizes = sorted(size for size, count in of_size.items() if count >= FOLDS)
    scales = tuple(_fit_scale([one for one in samples if one.scale == size], kinds, len(classes)) for size in sizes)
    whole = [sample for sample in samples if sample.scale == sizes[0]]
    places = _fit_maps(
        torch.cat([sample.windows for sample in whole]),
        torch.cat([torch.full((len(sample.windows),), sample.label) for sample in whole]),
        torch.cat([torch.full((len(sample.windows),), 1 + kinds.index(sample.kind)) for sample in whole]),
        len(classes),
        len(kinds),
    )
    peaks = [peak(places, 1 + kinds.index(one.kind), one.places) for one in whole if one.places is not None]
    return Calibration(
        tuple(classes), kinds, scales, places, torch.tensor(peaks, dtype=torch.float64).sort().values, len(photographs)
    )


def _fit_scale(samples: Sequence[Sample], kinds: Sequence[str], classes: int) -> Scale:
    logits = torch.stack([sample.logits for sample in samples])
    statistics = torch.stack([sample.statistics for sample in samples])
    labels = torch.tensor([sample.label for sample in samples])
    of_kind = torch.tensor([1 + kinds.index(sample.kind) for sample in samples])
    order = {photograph: number for number, photograph in enumerate(sorted({one.photograph for one in samples}))}
    folds = torch.tensor([order[sample.photograph] % FOLDS for sample in samples])
    unknown_kind = torch.zeros_like(of_kind)

    held_out = {name: torch.empty(len(samples), classes, dtype=torch.float64) for name in ("known", "unknown")}
    strange = {name: torch.empty(len(samples), dtype=torch.float64) for name in held_out}
    for fold in range(FOLDS):
        inside, outside = folds != fold, folds == fold
        maps = _fit_maps(logits[inside], labels[inside], of_kind[inside], classes, len(kinds))
        familiar = _fit_familiarity(statistics[inside], labels[inside], of_kind[inside], classes, len(kinds))
        for name, numbers in (("known", of_kind), ("unknown", unknown_kind)):
            for kind in numbers[outside].unique().tolist():
                chosen = outside & (numbers == kind)
                held_out[name][chosen] = log_likelihoods(maps, kind, logits[chosen])
                strange[name][chosen] = familiar.strangeness(statistics[chosen], kind)
    maps = _fit_maps(logits, labels, of_kind, classes, len(kinds))
    cooler = {name: _temperature(values, labels) for name, values in held_out.items()}
    references = {name: _reference(values / cooler[name], strange[name], labels) for name, values in held_out.items()}
    textures = torch.tensor([sample.texture for sample in samples], dtype=torch.float64)
    return Scale(
        pixels=torch.tensor([min(sample.pixels for sample in samples)]),
        maps=torch.cat((maps[:1] / cooler["unknown"], maps[1:] / cooler["known"])),
        known=references["known"],
        unknown=references["unknown"],
        texture=textures.quantile(FLAT)[None],
        familiarity=_fit_familiarity(statistics, labels, of_kind, classes, len(kinds)),
    )


def _reference(likelihoods: Tensor, strange: Tensor, labels: Tensor) -> Reference:
    scores = likelihood_ratio(likelihoods)
    native = scores[labels == 0].sort().values
    return Reference(native, strange.sort().values, steps(native, scores[labels > 0]))


def steps(native: Tensor, altered: Tensor) -> Tensor:
    """Turn scores into likelihood ratios: pool adjacent violators, with one misleading photograph added to each side.

    Args:
        native: (n,) scores. altered: (m,) scores; together they weigh as much as the native ones.

    Returns:
        (k,2) float64: the lowest score of each step, and its log-likelihood ratio; both ascending.
    """
    n, m = len(native) + 1, len(altered) + 1
    scores = torch.cat((native, altered, torch.tensor([math.inf, -math.inf], dtype=torch.float64)))
    is_altered = torch.cat((torch.zeros(n - 1), torch.ones(m - 1), torch.tensor([0.0, 1.0]))).bool()
    values, place = scores.unique(return_inverse=True)  # ascending
    alike = torch.stack([place[chosen].bincount(minlength=len(values)) for chosen in (~is_altered, is_altered)], dim=1)
    blocks: list[tuple[float, int, int]] = []  # lowest score, native, altered: the ratio of their shares ascends
    for lowest, (natives, alters) in zip(values.tolist(), alike.tolist(), strict=True):
        while blocks and blocks[-1][2] * natives >= alters * blocks[-1][1]:
            before = blocks.pop()
            lowest, natives, alters = before[0], natives + before[1], alters + before[2]
        blocks.append((lowest, natives, alters))
    rows = [(max(lowest, values[1].item()), math.log(a / m) - math.log(b / n)) for lowest, b, a in blocks]
    return torch.tensor(rows, dtype=torch.float64)


def _temperature(likelihoods: Tensor, labels: Tensor) -> float:
    """By what log-likelihoods must be divided to be right about photographs that they were not fitted to."""
    candidates = torch.logspace(-0.5, 1, 151, dtype=torch.float64)
    costs = [torch.nn.functional.cross_entropy(likelihoods / each, labels).item() for each in candidates]
    return candidates[costs.index(min(costs))].item()


def _fit_maps(logits: Tensor, labels: Tensor, of_kind: Tensor, classes: int, kinds: int) -> Tensor:
    """Fit a map for all kinds, and from there one for each: (1 + kinds, classes, classes + 1)."""
    inputs = torch.cat((logits.double(), torch.ones(len(logits), 1, dtype=torch.float64)), dim=1)
    scale = torch.cat((inputs[:, :-1].std(dim=0).clamp(min=1e-6), torch.ones(1, dtype=torch.float64)))
    start = torch.zeros(classes, classes + 1, dtype=torch.float64)
    found = [_regression(inputs / scale, labels, start, RIDGE)]
    for kind in range(1, kinds + 1):
        chosen = of_kind == kind
        found.append(_regression((inputs / scale)[chosen], labels[chosen], found[0], RIDGE_OF_KIND))
    return torch.stack(found) / scale


def _regression(inputs: Tensor, labels: Tensor, start: Tensor, ridge: float) -> Tensor:
    """Multinomial logistic regression: the (classes, features) with the least cross-entropy + ridge · ‖W − start‖²."""
    if not len(inputs):
        return start
    W = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([W], max_iter=200, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(inputs @ W.T, labels) + ridge * (W - start).square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return W.detach()


def _fit_familiarity(statistics: Tensor, labels: Tensor, of_kind: Tensor, classes: int, kinds: int) -> Familiarity:
    statistics = statistics.double()
    mean, spread = statistics.mean(dim=0), statistics.std(dim=0).clamp(min=1e-6)
    scaled = (statistics - mean) / spread
    components = min(COMPONENTS, *(extent - 1 for extent in scaled.shape))
    basis = torch.linalg.svd(scaled, full_matrices=False).Vh[:components].T
    within = scaled @ basis
    centres = torch.stack(
        [
            torch.stack(
                [_centre(within, (of_kind == kind) & (labels == label), labels == label) for label in range(classes)]
            )
            for kind in range(1, kinds + 1)
        ]
    )
    away = within - centres[of_kind - 1, labels]
    covariance = away.T @ away / len(away)
    even = torch.eye(components, dtype=torch.float64) * covariance.diagonal().mean().clamp(min=1e-12)
    return Familiarity(
        mean,
        spread,
        basis,
        centres,
        torch.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * even),
        (scaled - within @ basis.T).square().mean().clamp(min=1e-6)[None],
    )


def _centre(within: Tensor, chosen: Tensor, otherwise: Tensor) -> Tensor:
    """The mean of what is chosen; of a class that few photographs have behind a kind, that behind all kinds."""
    return within[chosen if chosen.sum() >= FEWEST else otherwise].mean(dim=0)
