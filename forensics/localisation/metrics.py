"""How well does a map of scores find a region? Pixel AUC, F1, IoU; and the rule that makes a decision of a score."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CANDIDATES = 400  # thresholds that are tried
SCORES = 100_000  # of which they are taken, at most about so many


@dataclass(frozen=True)
class Rule:
    """A pixel is flagged where its score is at least ``threshold``.

    ``centred``: the photograph's own median is subtracted from its scores before.
    """

    threshold: float
    centred: bool

    def flags(self, scores: Tensor) -> Tensor:
        """Of scores (H,W): (H,W) bool."""
        return prepared(scores, self.centred) >= self.threshold


@dataclass(frozen=True)
class Found:
    """What a rule flags in one photograph, each from 0 to 1.

    Attributes:
        f1, iou: of the flagged pixels; ``everything``: F1 if every pixel were flagged.
        flagged: share of all pixels, ``false``: share of the authentic ones.
    """

    f1: float
    iou: float
    everything: float
    flagged: float
    false: float


def prepared(scores: Tensor, centred: bool) -> Tensor:
    return scores - scores.median() if centred else scores


def auc(scores: Tensor, truth: Tensor) -> float:
    """Share of pairs of an altered and an authentic pixel in which the altered one scores higher; ties count half.

    Raises:
        ValueError: one of the two has no pixel, or a score is no number.
    """
    if scores.isnan().any():
        raise ValueError("a map holds scores that are no numbers")
    altered, authentic = scores[truth], scores[~truth].sort().values
    if min(len(altered), len(authentic)) == 0:
        raise ValueError("an AUC needs altered and authentic pixels")
    below, not_above = (torch.searchsorted(authentic, altered, right=right) for right in (False, True))
    return ((below + not_above).double().mean() / (2 * len(authentic))).item()


def judged(flags: Tensor, truth: Tensor) -> Found:
    """Of flags and truth (H,W) bool. Where nothing is altered, F1 and IoU are 0."""
    hits, flagged, altered = (int(each.sum()) for each in (flags & truth, flags, truth))
    pixels = truth.numel()
    return Found(
        f1=2 * hits / max(flagged + altered, 1),
        iou=hits / max(flagged + altered - hits, 1),
        everything=2 * altered / (pixels + altered),
        flagged=flagged / pixels,
        false=(flagged - hits) / max(pixels - altered, 1),
    )


def f1_curve(scores: Tensor, truth: Tensor, thresholds: Tensor) -> Tensor:
    """F1 (T,) float64 of scores (H,W) if each of the thresholds (T,) decided."""

    def at_least(values: Tensor) -> Tensor:
        return len(values) - torch.searchsorted(values.sort().values, thresholds)

    hits, flagged = at_least(scores[truth]), at_least(scores.flatten())
    return 2 * hits.double() / (flagged + truth.sum())


def choose(maps: Sequence[tuple[Tensor, Tensor]], centred: bool) -> tuple[Rule, float]:
    """Choose the one threshold that has the best mean F1 over composites.

    Args:
        maps: scores and truth of each, (H,W).

    Returns:
        The rule, and its mean F1 on them.
    """
    ready = [(prepared(scores, centred), truth) for scores, truth in maps]
    step = sum(len(scores.flatten()) for scores, _ in ready) // SCORES | 1  # odd: it visits every column
    some = torch.cat([scores.flatten()[::step] for scores, _ in ready]).sort().values
    places = torch.linspace(0, len(some) - 1, min(CANDIDATES, len(some))).long()
    thresholds = some[places].unique()
    means = torch.stack([f1_curve(scores, truth, thresholds) for scores, truth in ready]).mean(dim=0)
    best = int(means.argmax())
    return Rule(thresholds[best].item(), centred), means[best].item()
