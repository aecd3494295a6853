"""Gaussian blur (paper, section 4.3)."""

import math

import torch

from channel.filters import blur
from channel.manipulations.operator import Operator


def gaussian(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur with standard deviation ``sigma`` in pixels, cut at 2.4 σ: 5×5 at the paper's 0.83."""
    radius = math.ceil(2.4 * sigma)
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    return blur(images, [weight / sum(weights) for weight in weights])


OPERATOR = Operator(gaussian, default=0.83, low=0.1, high=10, version=2)
