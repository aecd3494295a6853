"""How many bits JPEG spends on DCT coefficients: an estimate with a gradient."""

import torch
from torch import Tensor

from channel import quantization

NONZERO, MAGNITUDE, BLOCK = 2.87, 1.47, 1.68  # bits


def bits(coefficients: Tensor) -> Tensor:
    """Returns the bits that all these coefficients (C, N, h, w, 64) take, in units of their steps; a scalar."""
    exact = _bits(coefficients.detach().round())
    smooth = _bits(quantization.sinusoidal(coefficients))
    return quantization.replace(smooth, lambda _: exact)


def _bits(coefficients: Tensor) -> Tensor:
    blocks = coefficients.flatten(2, 3)
    first, dc = blocks[:, :, :1, 0], blocks[..., 0]
    difference = torch.cat((first, dc.diff(dim=-1)), dim=-1)[..., None]
    size = torch.cat((difference, blocks[..., 1:]), dim=-1).abs()
    lengths = NONZERO * size.clamp(max=1) + MAGNITUDE * torch.log2(1 + size)
    return lengths.sum() + BLOCK * blocks.shape[:3].numel()
