"""Gamma correction (the authors' toolbox)."""

import torch

from channel.manipulations.operator import Operator
from channel.quantization import quantize


def gamma(images: torch.Tensor, exponent: float) -> torch.Tensor:
    """Gamma correction, stored with 8 bits and undone: x^γ, 256 levels, x^(1/γ). Dark tones lose levels."""
    stored = quantize(images**exponent)
    # At black the root has no finite slope. Only black lies below the clamp, and where() replaces it.
    return torch.where(stored > 0.5 / 255, stored.clamp_min(0.5 / 255) ** (1 / exponent), 0)


OPERATOR = Operator(gamma, default=3, low=1, high=10, version=2)
