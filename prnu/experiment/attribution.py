"""Which camera took a photograph? PCE with a fingerprint, of photographs of the same camera and of other cameras."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from prnu.experiment.inputs import OtherCamera, Settings, View, photographs
from prnu.match import PCE_THRESHOLD, pce
from prnu.residual import residual


@dataclass(frozen=True)
class Proportion:
    """A number of pairs of a photograph and a fingerprint, among all pairs."""

    count: int
    pairs: int

    @property
    def share(self) -> float:
        """NaN if there are no pairs."""
        return self.count / self.pairs if self.pairs else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % confidence interval for independent pairs; pairs that share a fingerprint say less."""
        if not self.pairs:
            return 0.0, 1.0
        from scipy import stats  # slow to import, and only experiments need it

        found = stats.binomtest(self.count, self.pairs).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    def to_json(self) -> dict[str, Any]:
        share = self.share if self.pairs else None  # JSON has no NaN
        return {"count": self.count, "pairs": self.pairs, "share": share, "interval": list(self.interval)}


@dataclass(frozen=True)
class Attribution:
    """PCE of photographs with fingerprints, all developed by one pipeline and seen in one view.

    pipeline: its name. view: "developed", or "received" if fingerprint and photographs went through the channel.
    same: of photographs of the fingerprint's camera. other: of photographs of other cameras.
    same_unweighted, other_unweighted: the same with the query W·I, the paper's PCE; empty in results of version 1.
    """

    pipeline: str
    view: str
    same: tuple[float, ...]
    other: tuple[float, ...]
    same_unweighted: tuple[float, ...] = ()
    other_unweighted: tuple[float, ...] = ()

    @property
    def auc(self) -> float | None:
        """The share of (same, other) in which `same` has the larger PCE, ties counting half; None if either is empty.

        This is the statistic of Mann and Whitney.
        """
        if not (self.same and self.other):
            return None
        from scipy import stats  # as above

        statistic = stats.mannwhitneyu(self.same, self.other, method="asymptotic").statistic
        return float(statistic) / (len(self.same) * len(self.other))

    def matches(self, threshold: float = PCE_THRESHOLD) -> Proportion:
        """True positives: photographs of the same camera above the threshold."""
        return Proportion(sum(value > threshold for value in self.same), len(self.same))

    def mistakes(self, threshold: float = PCE_THRESHOLD) -> Proportion:
        """False positives: photographs of other cameras above the threshold."""
        return Proportion(sum(value > threshold for value in self.other), len(self.other))

    @classmethod
    def pool(cls, attributions: Iterable[Self]) -> Self:
        """Join the pairs of several cameras. Raises ValueError unless all are of one pipeline and one view."""
        attributions = tuple(attributions)
        kinds = {(attribution.pipeline, attribution.view) for attribution in attributions}
        if len(kinds) != 1:
            raise ValueError(f"only attributions of one pipeline and one view can be pooled, not of {sorted(kinds)}")
        return cls(
            *kinds.pop(),
            same=tuple(itertools.chain(*(attribution.same for attribution in attributions))),
            other=tuple(itertools.chain(*(attribution.other for attribution in attributions))),
            same_unweighted=tuple(itertools.chain(*(attribution.same_unweighted for attribution in attributions))),
            other_unweighted=tuple(itertools.chain(*(attribution.other_unweighted for attribution in attributions))),
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the output of `to_json`."""
        return cls(
            document["pipeline"],
            document["view"],
            tuple(document["same"]),
            tuple(document["other"]),
            tuple(document.get("same_unweighted", ())),
            tuple(document.get("other_unweighted", ())),
        )

    def to_json(self) -> dict[str, Any]:
        """Every PCE, and what is computed from them."""
        return {
            **asdict(self),
            "mean_same": _mean(self.same),
            "mean_other": _mean(self.other),
            "mean_same_unweighted": _mean(self.same_unweighted),
            "mean_other_unweighted": _mean(self.other_unweighted),
            "auc": self.auc,
            "threshold": PCE_THRESHOLD,
            "matches": self.matches().to_json(),
            "mistakes": self.mistakes().to_json(),
        }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Score:
    """PCE of one photograph with one fingerprint, by the query W·I/σ² and by the paper's W·I."""

    pce: float
    unweighted: float


def scores(
    photograph: Tensor, K: Mapping[str, Tensor], views: Mapping[str, View], settings: Settings
) -> dict[str, Score]:
    """For every view, the PCE of a photograph (1, 3, h, w) with the fingerprint of this view, aligned pixel by pixel.

    Raises ValueError for a photograph that differs in size from the fingerprint.
    """
    seen = {view: see(photograph) for view, see in views.items()}
    found = {}
    for view, image in seen.items():
        W = residual(image, settings.sigma)
        by_query = (pce(K[view], image, W, weighted=weighted).pce.item() for weighted in (True, False))
        found[view] = Score(*by_query)
    return found


def photographs_of_others(
    pipeline: str,
    others: Iterable[OtherCamera],
    settings: Settings,
    device: torch.device | str,
    advance: Callable[[], None],
) -> Iterator[Tensor]:
    """Photographs of those other cameras whose images the pipeline can develop, as `photographs`."""
    for other in others:
        if pipeline in other.develop:
            yield from photographs(other.develop[pipeline], other.images, settings, device, advance)


def attributions(
    pipeline: str, same: Sequence[Mapping[str, Score]], other: Sequence[Mapping[str, Score]]
) -> list[Attribution]:
    """One attribution for every view, from the `scores` of photographs of the same camera (at least one) and others."""
    return [
        Attribution(
            pipeline,
            view,
            same=tuple(by[view].pce for by in same),
            other=tuple(by[view].pce for by in other),
            same_unweighted=tuple(by[view].unweighted for by in same),
            other_unweighted=tuple(by[view].unweighted for by in other),
        )
        for view in same[0]
    ]
