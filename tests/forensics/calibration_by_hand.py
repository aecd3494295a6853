"""A calibration in round numbers, and logits for it."""

import math
from typing import Any

import torch
from torch import Tensor

from forensics.analysis.calibration import (
    Calibration,
    Familiarity,
    Reference,
    Scale,
)
from forensics.analysis.evidence import STATISTICS

CLASSES = ("native", "sharpen", "gaussian", "jpeg", "resample")
KINDS = ("jpeg:50", "jpeg:50:4:2:0", "jpeg:90", "webp")


def float64(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def by_hand(pixels: int = 4096) -> Calibration:
    """A calibration in round numbers: maps that change nothing but for webp, whose evidence is reversed.

    Native scores are 0.01 … 1.00 for files of known kind, and 10 more for others; likelihood ratios change their sign
    at 0.5, or at 10.5.
    """
    same = torch.cat((torch.eye(5, dtype=torch.float64), torch.zeros(5, 1)), dim=1)
    maps = torch.stack([same, same, same, same, -same])
    native, strange = torch.arange(1, 101).double() / 100, torch.arange(1, 101).double() / 10
    ratios = float64([[0.0, -1.0], [0.5, 0.4], [0.95, 2.0], [3.0, 5.0]])
    known, unknown = (Reference(native + more, strange, ratios + float64([more, 0])) for more in (0, 10))
    familiar = Familiarity(
        torch.zeros(STATISTICS).double(),
        torch.ones(STATISTICS).double(),
        torch.eye(STATISTICS, 1, dtype=torch.float64),
        torch.zeros(len(KINDS), 5, 1).double(),
        torch.ones(1, 1).double(),
        torch.ones(1).double(),
    )
    scale = Scale(torch.tensor([pixels]), maps, known, unknown, float64([4.0]), familiar)
    return Calibration(CLASSES, KINDS, (scale,), maps, native, 100)


def logits_of(score: float, history: int = 1) -> Tensor:
    """Logits whose likelihood ratio is the score, and whose most probable manipulation is given."""
    others = float64([0.0, 0.0, 0.0, 0.0, 0.0])
    others[history] = 1.0
    others[0] = others[1:].logsumexp(dim=0) - math.log(4) - score
    return others
