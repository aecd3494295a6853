"""What the evidence means: calibrated probabilities, a false-alarm rate that holds, and a sense of the unfamiliar.

    mean logits ─ W of this kind of file ─ log-likelihoods of the classes ─┬─ probabilities, all classes equally likely
                                                                           └─ LLR ─ above the threshold of the rate?
    statistics  ─ principal components ─ distance from the nearest class ─ more than that of nearly all photographs?

The FAN errs behind every codec in another way, so each kind of file (``jpeg:50``, ``webp``, …) has its own affine map
of the logits (matrix scaling, Guo et al. 2017; towards the map of all kinds where photographs are few). Thresholds are
order statistics of photographs that the maps were not fitted to (five folds): of n native ones, at most a share α of
new ones lies above the ⌈(n+1)(1−α)⌉-th (split conformal prediction, Vovk et al. 2005), whatever the distribution.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from forensics.analysis.samples import Sample
from forensics.localisation.maps import evidence as likelihood_ratio

FOLDS = 5
COMPONENTS = 32  # of the statistics
SHRINKAGE = 0.1  # of their covariance towards a multiple of the identity
RIDGE = 1e-3  # towards no map at all, for all kinds together
RIDGE_OF_KIND = 1e-3  # towards that map, for each kind
STRANGE = 0.02  # share of a pipeline's own photographs that may be called unfamiliar
FLAT = 0.01  # share of them that may be called too flat


class CalibrationError(ValueError):
    """There are too few photographs for what is asked; one line says how many are needed."""


@dataclass(frozen=True)
class Familiarity:
    """What photographs of the pipeline look like to the FAN: D components of its statistics.

    Attributes:
        mean, spread: (S,) of each statistic. basis: (S,D). centres: (kinds,classes,D). precision: (D,D).
        rest: (1,) mean square of what the components leave.
    """

    mean: Tensor
    spread: Tensor
    basis: Tensor
    centres: Tensor
    precision: Tensor
    rest: Tensor

    def strangeness(self, statistics: Tensor, kind: int) -> Tensor:
        """Distance (N,) of statistics (N,S) from the nearest class behind a kind; behind any kind for number 0."""
        scaled = (statistics.double() - self.mean) / self.spread
        within = scaled @ self.basis
        left = (scaled - within @ self.basis.T).square().mean(dim=1) / self.rest
        centres = self.centres.flatten(0, 1) if kind == 0 else self.centres[kind - 1]
        away = within[:, None] - centres
        near = torch.einsum("nci,ij,ncj->nc", away, self.precision, away).amin(dim=1) / within.shape[1]
        return near + left


@dataclass(frozen=True)
class Scale:
    """The calibration of photographs of at least so many pixels.

    Attributes:
        pixels: (1,) int64.
        maps: (1 + kinds, classes, classes + 1) from mean logits and 1 to log-likelihoods; the first for files of
            unknown kind.
        native, native_unknown: LLR of native photographs that the maps were not fitted to, ascending.
        strange, strange_unknown: strangeness of photographs of all classes, likewise.
        texture: (1,) of the flattest photographs that are judged.
        familiarity: see there.
    """

    pixels: Tensor
    maps: Tensor
    native: Tensor
    native_unknown: Tensor
    strange: Tensor
    strange_unknown: Tensor
    texture: Tensor
    familiarity: Familiarity


@dataclass(frozen=True)
class Calibration:
    """What the outputs of a FAN mean.

    Attributes:
        classes: native first. kinds: of files, such as ``jpeg:50``, ``jpeg:50:4:2:0``, ``webp``.
        scales: the largest photographs first; all but the first are of crops.
        places: as :attr:`Scale.maps`, for the logits of single windows.
        peaks: the largest smoothed LLR of a place in native photographs, ascending: one of each photograph.
        photographs: it was made from.
    """

    classes: tuple[str, ...]
    kinds: tuple[str, ...]
    scales: tuple[Scale, ...]
    places: Tensor
    peaks: Tensor
    photographs: int

    def number(self, kind: str) -> int:
        """The number of a kind in tensors; 0 for one that was not calibrated."""
        return 1 + self.kinds.index(kind) if kind in self.kinds else 0

    def scale(self, pixels: int) -> Scale | None:
        """The calibration for a photograph of so many pixels; None for one that is too small."""
        return next((scale for scale in self.scales if pixels >= scale.pixels.item()), None)

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Named tensors, and the rest as JSON."""
        tensors = {"places": self.places, "peaks": self.peaks}
        for number, scale in enumerate(self.scales):
            tensors |= {f"scales/{number}/{name}": value for name, value in _tensors(scale).items()}
        document = {"classes": self.classes, "kinds": self.kinds, "photographs": self.photographs}
        return tensors, {**document, "scales": len(self.scales)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> Self:
        """The calibration of :meth:`to_tensors`.

        Raises:
            ValueError: these are no tensors of a calibration.
        """
        try:
            classes, kinds = tuple(document["classes"]), tuple(document["kinds"])
            count, photographs = document["scales"], document["photographs"]
            if not (type(count) is type(photographs) is int and 1 <= count <= 16):
                raise ValueError("impossible numbers")
            scales = tuple(
                _scale({name: tensors[f"scales/{number}/{name}"] for name in NAMES}) for number in range(count)
            )
            found = cls(classes, kinds, scales, tensors["places"], tensors["peaks"], photographs)
            found._check()
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is no calibration: {error}") from None
        return found

    def _check(self) -> None:
        c, k = len(self.classes), len(self.kinds)
        wanted = {"maps": (1 + k, c, c + 1), "pixels": (1,), "texture": (1,), "rest": (1,)}
        if self.places.shape != (1 + k, c, c + 1):
            raise ValueError("the maps of places have another shape")
        for scale in self.scales:
            found = _tensors(scale)
            s, d = found["basis"].shape
            wanted |= {"mean": (s,), "spread": (s,), "basis": (s, d), "centres": (k, c, d), "precision": (d, d)}
            for name, value in found.items():
                if not torch.isfinite(value).all() or value.shape != wanted.get(name, (value.numel(),)):
                    raise ValueError(f"{name} has another shape, or is not finite")


NAMES = (
    *(field.name for field in fields(Scale) if field.name != "familiarity"),
    *(f.name for f in fields(Familiarity)),
)


def _tensors(scale: Scale) -> dict[str, Tensor]:
    familiar = scale.familiarity
    return {name: getattr(scale if hasattr(scale, name) else familiar, name) for name in NAMES}


def _scale(tensors: Mapping[str, Tensor]) -> Scale:
    own = {field.name: tensors[field.name] for field in fields(Familiarity)}
    rest = {name: value for name, value in tensors.items() if name not in own}
    return Scale(**rest, familiarity=Familiarity(**own))


# --- What it says ---


def log_likelihoods(maps: Tensor, kind: int, logits: Tensor) -> Tensor:
    """Map logits (…,classes) to log-likelihoods (…,classes), up to a constant."""
    chosen = maps[kind]
    return logits.double() @ chosen[:, :-1].T + chosen[:, -1]


def threshold(scores: Tensor, false_alarms: float) -> float:
    """The score above which at most this share of new photographs lies, of ascending scores of photographs like them.

    Raises:
        CalibrationError: too few scores for so small a share.
    """
    n = len(scores)
    rank = math.ceil((n + 1) * (1 - false_alarms) - 1e-9)
    if rank > n:
        raise CalibrationError(
            f"a false-alarm rate of {false_alarms:g} cannot be promised: the package was calibrated with {n} native "
            f"photographs, which is enough for {math.ceil(1e4 / (n + 1)) / 1e4:g} or more"
        )
    return scores[rank - 1].item()


def share_above(scores: Tensor, score: float) -> float:
    """How many of new photographs would score so high, 0 to 1, of ascending scores of photographs like them."""
    n = len(scores)
    return (1 + n - int(torch.searchsorted(scores, torch.tensor(score, dtype=scores.dtype)))) / (n + 1)


def region_limit(calibration: "Calibration", false_alarms: float) -> float:
    """The smoothed LLR above which a place is altered: at most this share of native photographs has any such place.

    Raises:
        CalibrationError: too few photographs for so small a share.
    """
    return max(threshold(calibration.peaks, false_alarms), 0.0)


def smoothed(ratios: Tensor) -> Tensor:
    """Mean over 3×3 places (h,w), fewer at the borders."""
    return torch.nn.functional.avg_pool2d(ratios[None, None], 3, stride=1, padding=1, count_include_pad=False)[0, 0]


# --- How it is made ---


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
    sizes = sorted({sample.scale for sample in samples})
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


def peak(maps: Tensor, kind: int, places: Tensor) -> float:
    """The largest smoothed LLR of logits (h,w,classes)."""
    return smoothed(likelihood_ratio(log_likelihoods(maps, kind, places))).max().item()


def _fit_scale(samples: Sequence[Sample], kinds: Sequence[str], classes: int) -> Scale:
    logits = torch.stack([sample.logits for sample in samples])
    statistics = torch.stack([sample.statistics for sample in samples])
    labels = torch.tensor([sample.label for sample in samples])
    of_kind = torch.tensor([1 + kinds.index(sample.kind) for sample in samples])
    order = {photograph: number for number, photograph in enumerate(sorted({one.photograph for one in samples}))}
    folds = torch.tensor([order[sample.photograph] % FOLDS for sample in samples])

    native: list[tuple[Tensor, Tensor]] = []
    strange: list[tuple[Tensor, Tensor]] = []
    for fold in range(FOLDS):
        inside, outside = folds != fold, folds == fold
        maps = _fit_maps(logits[inside], labels[inside], of_kind[inside], classes, len(kinds))
        familiar = _fit_familiarity(statistics[inside], labels[inside], of_kind[inside], classes, len(kinds))
        for kind in of_kind[outside].unique().tolist():
            chosen = outside & (of_kind == kind)
            unaltered = chosen & (labels == 0)
            native.append(_both(kind, lambda k, m=maps, u=unaltered: _ratios(m, k, logits[u])))  # type: ignore[misc]
            strange.append(_both(kind, lambda k, f=familiar, c=chosen: f.strangeness(statistics[c], k)))  # type: ignore[misc]
    textures = torch.tensor([sample.texture for sample in samples], dtype=torch.float64)
    known, unknown = (torch.cat(parts).sort().values for parts in zip(*native, strict=True))
    near, near_any = (torch.cat(parts).sort().values for parts in zip(*strange, strict=True))
    return Scale(
        pixels=torch.tensor([min(sample.pixels for sample in samples)]),
        maps=_fit_maps(logits, labels, of_kind, classes, len(kinds)),
        native=known,
        native_unknown=unknown,
        strange=near,
        strange_unknown=near_any,
        texture=textures.quantile(FLAT)[None],
        familiarity=_fit_familiarity(statistics, labels, of_kind, classes, len(kinds)),
    )


def _both(kind: int, score: Callable[[int], Tensor]) -> tuple[Tensor, Tensor]:
    """Scores of photographs as what they are, and as files of unknown kind."""
    return score(kind), score(0)


def _ratios(maps: Tensor, kind: int, logits: Tensor) -> Tensor:
    return likelihood_ratio(log_likelihoods(maps, kind, logits))


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
    even = torch.eye(components, dtype=torch.float64) * covariance.diagonal().mean()
    return Familiarity(
        mean,
        spread,
        basis,
        centres,
        torch.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * even),
        (scaled - within @ basis.T).square().mean()[None],
    )


def _centre(within: Tensor, chosen: Tensor, otherwise: Tensor) -> Tensor:
    """The mean of what is chosen; of a class where nothing of it is of a kind, that of the class."""
    return within[chosen if chosen.any() else otherwise].mean(dim=0)
