"""Resampling to a smaller size and back (paper, section 4.3)."""

import torch

from channel.filters import resize
from channel.manipulations.operator import Operator


def resample(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Bilinear interpolation to 1/factor of the size and back: half-pixel centres, no anti-aliasing."""
    H, W = images.shape[-2:]
    return resize(images, (max(1, round(H / factor)), max(1, round(W / factor))), (H, W))


OPERATOR = Operator(resample, default=2, low=1, high=16, version=2)
