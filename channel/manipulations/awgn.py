"""Additive white Gaussian noise (the authors' toolbox)."""

import torch

from channel.manipulations.operator import Operator
from channel.noise import draw_seed, normal
from channel.quantization import quantize


def awgn(images: torch.Tensor, sigma: float, generator: torch.Generator) -> torch.Tensor:
    """Adds white Gaussian noise with standard deviation ``sigma`` in 8-bit levels, and stores the sum with 8 bits.

    The generator draws a seed, from which the device computes the noise.
    """
    noise = normal(images.numel(), draw_seed(generator), images.device)
    return quantize(torch.add(images, noise.view(images.shape), alpha=sigma / 255))


OPERATOR = Operator(awgn, default=5.1, low=0.01, high=255, random=True, version=2)
