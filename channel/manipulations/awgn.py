"""Additive white Gaussian noise (the authors' toolbox)."""

import torch

from channel.manipulations.operator import Operator
from channel.quantization import quantize


def awgn(images: torch.Tensor, sigma: float, generator: torch.Generator) -> torch.Tensor:
    """Adds white Gaussian noise with standard deviation ``sigma`` in 8-bit levels, and stores the sum with 8 bits."""
    noise = torch.randn(images.shape, generator=generator, device=generator.device, dtype=images.dtype)
    return quantize(images + sigma / 255 * noise.to(images.device, non_blocking=images.is_cuda))


OPERATOR = Operator(awgn, default=5.1, low=0.01, high=255, random=True)
