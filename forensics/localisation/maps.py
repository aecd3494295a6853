"""A score at every pixel of a photograph: how much more likely is *altered* than *native* around it?

The FAN sees windows whose corners lie 16 px apart (:mod:`forensics.dense`). The photograph is scored four times,
shifted by 0 or 8 px in both directions, so that the result depends less on where the FAN's cells begin.
"""

import itertools
import math

import torch
from torch import Tensor

from forensics.dense import dense_logits
from forensics.fan import CELL, FAN
from models.precision import autocast

SHIFTS = (0, CELL // 2)  # px, in both directions


def evidence(logits: Tensor) -> Tensor:
    """Log-likelihood ratio of altered against native, all manipulations equally likely: (…,classes) → (…).

    log Σₖ exp(zₖ) − log(K − 1) − z₀, where class 0 is native and k runs over the K − 1 others.
    """
    altered = logits[..., 1:].logsumexp(dim=-1) - math.log(logits.shape[-1] - 1)
    return altered - logits[..., 0]


def fan_scores(fan: FAN, received: Tensor, window: int, precision: str = "float32") -> Tensor:
    """Score every pixel of a received photograph (1,3,H,W) uint8: (H,W) float32 on the CPU.

    Args:
        fan: set to evaluation.
        window: side in pixels of what the FAN was trained on.
        precision: of the convolutions, as the trial's.

    Raises:
        ValueError: the photograph is smaller than a window and the largest shift.
    """
    height, width = received.shape[-2:]
    middle = CELL * max(window // CELL, 1) / 2
    total = torch.zeros(height, width)
    for top, left in itertools.product(SHIFTS, repeat=2):
        with autocast(next(fan.parameters()), precision):
            logits = dense_logits(fan, received[..., top:, left:], window)[0]
        scores = evidence(logits).cpu()
        total += at_pixels(scores, (top + middle, left + middle), CELL, height, width)
    return total / len(SHIFTS) ** 2


def at_pixels(scores: Tensor, first: tuple[float, float], stride: float, height: int, width: int) -> Tensor:
    """Interpolate scores (h,w) of places to pixels (height,width), linearly; beyond the outermost places they continue.

    Args:
        first: row and column of the first place's centre, in pixels from the upper left corner of the picture.
        stride: pixels from one place to the next.
    """
    rows, columns = (
        _weights(extent, start, stride, places)
        for extent, start, places in zip((height, width), first, scores.shape, strict=True)
    )
    return rows @ scores.float() @ columns.T


def _weights(extent: int, first: float, stride: float, places: int) -> Tensor:
    """The matrix (extent, places) of linear interpolation; its rows sum to 1."""
    position = ((torch.arange(extent) + 0.5 - first) / stride).clamp(0, places - 1)
    return (1 - (position[:, None] - torch.arange(places)).abs()).clamp(min=0)
