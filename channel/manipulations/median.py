"""Median filter (the authors' toolbox)."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from cameras.padding import pad_transposed
from channel.manipulations.operator import Operator


def median(images: torch.Tensor, size: float) -> torch.Tensor:
    """Median of size×size pixels in each channel; the gradient goes to the pixels that equal it, in equal parts."""
    H, W = images.shape[-2:]
    k = int(size)
    if k // 2 >= min(H, W):
        raise ValueError(f"images of {H}×{W} pixels are too small for a filter of radius {k // 2}")
    return _Median.apply(images, k)


class _Median(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, k: int) -> torch.Tensor:
        padded = F.pad(images, (k // 2,) * 4, mode="reflect")
        middle = median_of_nine(padded) if k == 3 else median_by_sorting(padded, k)
        ctx.k = k
        ctx.save_for_backward(padded, middle)
        return middle

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        padded, middle = ctx.saved_tensors
        count = torch.zeros_like(middle)
        for shifted in _shifts(padded, ctx.k):
            count.add_(shifted == middle)
        share = gradient / count
        collected = torch.zeros_like(padded)
        for pixels, shifted in zip(_shifts(collected, ctx.k), _shifts(padded, ctx.k), strict=True):
            pixels.addcmul_(shifted == middle, share)
        radius = ctx.k // 2
        return pad_transposed(collected, radius, radius, radius, radius, "reflect"), None


def median_of_nine(padded: torch.Tensor) -> torch.Tensor:
    """Medians of 3×3 pixels, (N, C, H + 2, W + 2) -> (N, C, H, W).

    Sorts each column of three. The median of the nine is that of the largest low, the median middle and the smallest
    high one (Smith 1996).
    """
    above, middle, below = (padded.narrow(2, i, padded.shape[2] - 2) for i in range(3))
    low, high = torch.minimum(above, middle), torch.maximum(above, middle)
    rest, high = torch.minimum(high, below), torch.maximum(high, below)
    low, middle = torch.minimum(low, rest), torch.maximum(low, rest)
    lows, middles, highs = ([rows.narrow(3, i, rows.shape[3] - 2) for i in range(3)] for rows in (low, middle, high))
    return _median_of_three(
        torch.maximum(torch.maximum(lows[0], lows[1]), lows[2]),
        _median_of_three(*middles),
        torch.minimum(torch.minimum(highs[0], highs[1]), highs[2]),
    )


def _median_of_three(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


def median_by_sorting(padded: torch.Tensor, k: int) -> torch.Tensor:
    """Medians of k×k pixels, (N, C, H + k − 1, W + k − 1) -> (N, C, H, W); image by image, which saves memory."""
    medians = []
    for image in padded:
        windows = image.unfold(1, k, 1).unfold(2, k, 1).flatten(-2)  # (C, H, W, k·k)
        # On a CPU, selecting is faster than sorting; on a GPU PyTorch lists it as nondeterministic.
        medians.append(
            windows.median(dim=-1).values
            if windows.device.type == "cpu"
            else windows.sort(dim=-1).values[..., k**2 // 2]
        )
    return torch.stack(medians)


def _shifts(padded: torch.Tensor, k: int) -> Iterator[torch.Tensor]:
    """The views of all k·k pixels of the windows, each (N, C, H, W)."""
    H, W = (size - k + 1 for size in padded.shape[-2:])
    return (padded[..., i : i + H, j : j + W] for i in range(k) for j in range(k))


OPERATOR = Operator(median, default=3, low=3, high=15, step=2, version=2)
