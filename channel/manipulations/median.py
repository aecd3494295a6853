"""Median filter (the authors' toolbox)."""

import torch
from torch.nn import functional as F

from channel.manipulations.operator import Operator


def median(images: torch.Tensor, size: float) -> torch.Tensor:
    """Median of size×size pixels in each channel; the gradient goes to the pixel that is the median."""
    H, W = images.shape[-2:]
    k = int(size)
    if k // 2 >= min(H, W):
        raise ValueError(f"images of {H}×{W} pixels are too small for a filter of radius {k // 2}")
    windows = F.pad(images, (k // 2,) * 4, mode="reflect").unfold(2, k, 1).unfold(3, k, 1)
    return windows.flatten(-2).median(dim=-1).values  # (N, 3, H, W, k·k) -> (N, 3, H, W)


OPERATOR = Operator(median, default=3, low=3, high=15, step=2)
