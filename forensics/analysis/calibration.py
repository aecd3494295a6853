"""What the evidence means: calibrated probabilities, a false-alarm rate that holds, and a sense of the unfamiliar.

    mean logits ─ map of this kind of file ─ log-likelihoods ─┬─ probabilities, all classes equally likely beforehand
                                                              └─ score ─┬─ above the threshold of the rate?
                                                                        └─ likelihood ratio
    statistics  ─ principal components ─ distance from the nearest class ─ more than that of nearly all photographs?

The FAN errs behind every codec in another way, so each kind of file (``jpeg:50``, ``webp``, …) has its own affine map
of the logits. The score is the log-likelihood ratio of altered against native that follows from them. Of n scores of
native photographs, at most a share α of new ones lies above the ⌈(n+1)(1−α)⌉-th (conformal prediction, Vovk et al.
2005), whatever their distribution. How a calibration is made is in :mod:`forensics.analysis.fitting`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from forensics.localisation.maps import evidence as likelihood_ratio

KIND = re.compile(r"jpeg:\d{1,3}(:\d:\d:\d)?|(?!jpeg)\w{1,16}")  # of files
STRANGE = 0.02  # share of a pipeline's own photographs that may be called unfamiliar


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
class Reference:
    """How photographs score that the maps were not fitted to.

    Attributes:
        native: scores of native ones, ascending. strange: strangeness of all, ascending.
        steps: (m,2) a score, and the likelihood ratio (natural logarithm) of scores from there on.
    """

    native: Tensor
    strange: Tensor
    steps: Tensor

    def ratio(self, score: float) -> float:
        """The log-likelihood ratio of altered against native that a score stands for."""
        place = int(torch.searchsorted(self.steps[:, 0].contiguous(), _float64(score), right=True)) - 1
        return self.steps[max(place, 0), 1].item()


@dataclass(frozen=True)
class Scale:
    """The calibration of photographs of at least so many pixels.

    Attributes:
        pixels: (1,) int64.
        maps: (1 + kinds, classes, classes + 1) from mean logits and 1 to log-likelihoods; the first for files of
            unknown kind.
        known, unknown: references for files of known and of unknown kind.
        texture: (1,) of the flattest photographs that are judged.
        familiarity: see there.
    """

    pixels: Tensor
    maps: Tensor
    known: Reference
    unknown: Reference
    texture: Tensor
    familiarity: Familiarity

    def reference(self, kind: int) -> Reference:
        """That of a kind of file by its number."""
        return self.known if kind else self.unknown


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
            tensors |= _flat(scale, f"scales/{number}/")
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
            scales = tuple(_built(Scale, tensors, f"scales/{number}/") for number in range(count))
            found = cls(classes, kinds, scales, tensors["places"], tensors["peaks"], photographs)
            found._check()
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is no calibration: {error}") from None
        return found

    def _check(self) -> None:
        c, k = len(self.classes), len(self.kinds)
        if not all(type(name) is str and KIND.fullmatch(name) for name in self.kinds):
            raise ValueError("a kind of file has an impossible name")
        for name, value in self.to_tensors()[0].items():
            if value.dtype != (torch.int64 if name.endswith("/pixels") else torch.float64):
                raise ValueError(f"{name} has numbers of another type")
            if not torch.isfinite(value).all() or not value.numel():
                raise ValueError(f"{name} is empty or not finite")
        if self.places.shape != (1 + k, c, c + 1) or self.peaks.ndim != 1:
            raise ValueError("the maps of places have another shape")
        for scale in self.scales:
            familiar = scale.familiarity
            s, d = familiar.basis.shape
            found = [familiar.mean, familiar.spread, familiar.centres, familiar.precision, familiar.rest, scale.maps]
            wanted = [(s,), (s,), (k, c, d), (d, d), (1,), (1 + k, c, c + 1)]
            found += [scale.pixels, scale.texture]
            wanted += [(1,), (1,)]
            for reference in (scale.known, scale.unknown):
                found += [reference.native, reference.strange, reference.steps]
                wanted += [(reference.native.numel(),), (reference.strange.numel(),), (len(reference.steps), 2)]
            if [tuple(tensor.shape) for tensor in found] != wanted:
                raise ValueError("a tensor has another shape")
            if min(familiar.spread.min(), familiar.rest.min()) <= 0:
                raise ValueError("a spread is not positive")
        ascending = [self.peaks]
        for reference in (each for scale in self.scales for each in (scale.known, scale.unknown)):
            ascending += [reference.native, reference.strange, reference.steps[:, 0], reference.steps[:, 1]]
        if any((values.diff() < 0).any() for values in ascending):
            raise ValueError("numbers are not in order")


def _flat(part: Any, prefix: str) -> dict[str, Tensor]:
    """The tensors of a data class, and of the data classes in it, by their names."""
    if isinstance(part, Tensor):
        return {prefix.removesuffix("/"): part}
    found: dict[str, Tensor] = {}
    for field in fields(part):
        found |= _flat(getattr(part, field.name), f"{prefix}{field.name}/")
    return found


def _built(kind: Any, tensors: Mapping[str, Tensor], prefix: str) -> Any:
    """The data class of :func:`_flat`."""
    if kind is Tensor:
        return tensors[prefix.removesuffix("/")]
    return kind(**{field.name: _built(field.type, tensors, f"{prefix}{field.name}/") for field in fields(kind)})


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
    rank = max(math.ceil((n + 1) * (1 - false_alarms) - 1e-9), 1)
    if rank > n:
        raise CalibrationError(
            f"a false-alarm rate of {false_alarms:g} cannot be promised: the package was calibrated with {n} native "
            f"photographs, which is enough for {math.ceil(1e4 / (n + 1)) / 1e4:g} or more: allow that "
            "(--false-alarms), or export it with more (--photographs)"
        )
    return scores[rank - 1].item()


def share_above(scores: Tensor, score: float) -> float:
    """How many of new photographs would score so high, 0 to 1, of ascending scores of photographs like them."""
    n = len(scores)
    return (1 + n - int(torch.searchsorted(scores, _float64(score)))) / (n + 1)


def _float64(score: float) -> Tensor:
    return torch.tensor(score, dtype=torch.float64)


def region_limit(calibration: "Calibration", false_alarms: float) -> float:
    """The smoothed LLR above which a place is altered: at most this share of native photographs has any such place.

    Raises:
        CalibrationError: too few photographs for so small a share.
    """
    return max(threshold(calibration.peaks, false_alarms), 0.0)


def smoothed(ratios: Tensor) -> Tensor:
    """Mean over 3×3 places (h,w), fewer at the borders."""
    return torch.nn.functional.avg_pool2d(ratios[None, None], 3, stride=1, padding=1, count_include_pad=False)[0, 0]


def peak(maps: Tensor, kind: int, places: Tensor) -> float:
    """The largest smoothed LLR of logits (h,w,classes)."""
    return smoothed(likelihood_ratio(log_likelihoods(maps, kind, places))).max().item()
