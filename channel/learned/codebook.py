"""Soft-codebook quantisation: whole numbers forward, a smooth staircase backward, and the entropy of both.

The code of a feature is one of 32 whole numbers (5 bits). Agustsson et al. 2017 let each value belong to every centre a
little; Korus & Memon 2020, whose kernel, ν and γ these are, weight a centre c by Student's t of its distance:

    w_c(x)  ∝  (1 + (γ·(x − c))² / ν) ^ (−(ν + 1)/2),   Σ_c w_c = 1,   ν = 50,   γ = 25

Forward, a value becomes the nearest centre; backward it is Σ_c c·w_c(x), whose slope is large between two centres and 1
on average. The mean of the weights over all values of a feature is its soft histogram, whose entropy has a gradient.
"""

import torch
from torch import Tensor

from channel import quantization

CENTRES = 32
LOWEST = -15  # the centres are -15, -14, … 16
DEGREES, STEEPNESS = 50, 25  # ν and γ
RARE = 1e-3  # share of a table of probabilities that is spread evenly, so that every code can be written


def centres(like: Tensor) -> Tensor:
    """Returns the 32 centres, with the type and on the device of a tensor."""
    return torch.arange(LOWEST, LOWEST + CENTRES, dtype=like.dtype, device=like.device)


def assign(values: Tensor) -> Tensor:
    """Computes the weights of all centres, (…) -> (…, 32); they sum to 1."""
    distance = STEEPNESS * (values[..., None] - centres(values))
    kernel = torch.log1p(distance.square() / DEGREES) * (-(DEGREES + 1) / 2)  # its logarithm: the kernel underflows
    return torch.softmax(kernel, dim=-1)


def nearest(values: Tensor) -> Tensor:
    """Returns the nearest centre of every value."""
    return values.round().clamp(LOWEST, LOWEST + CENTRES - 1)


def quantise(values: Tensor, weights: Tensor) -> Tensor:
    """Returns the nearest centre of every value, with the gradient of the mean centre under `weights`.

    Args:
        values: of any shape.
        weights: of :func:`assign`.
    """
    return quantization.replace((weights * centres(values)).sum(dim=-1), lambda _: nearest(values))


def to_codes(values: Tensor) -> Tensor:
    """Returns the number, 0 to 31, of the nearest centre of every value, int64."""
    return (nearest(values) - LOWEST).long()


def to_values(codes: Tensor) -> Tensor:
    """Returns the centres with these numbers, float32."""
    return (codes + LOWEST).float()


def histograms(weights: Tensor) -> Tensor:
    """Returns the soft histogram of every feature, (N, C, h, w, 32) -> (C, 32); each sums to 1."""
    return weights.mean(dim=(0, 2, 3))


def entropy(histogram: Tensor) -> Tensor:
    """Returns the entropy of histograms in bits, (…, 32) -> (…)."""
    return -torch.xlogy(histogram, histogram.clamp(min=1e-12)).sum(dim=-1) / torch.log(histogram.new_tensor(2.0))


def tables(histogram: Tensor) -> Tensor:
    """Returns the probabilities by which codes are written, (…, 32) float64 on the CPU: never zero."""
    probabilities = histogram.detach().cpu().double()
    return (1 - RARE) * probabilities / probabilities.sum(dim=-1, keepdim=True) + RARE / CENTRES


def bits(codes: Tensor, probabilities: Tensor) -> Tensor:
    """Returns the bits that an ideal coder needs for codes under given tables.

    Args:
        codes: (N, C, h, w) int64.
        probabilities: (C, 32), of :func:`tables`.

    Returns:
        (N,) float64 on the CPU.
    """
    counts = torch.stack([_counts(picture) for picture in codes]).cpu().double()
    return -(counts * probabilities.log2()).sum(dim=(1, 2))


def _counts(codes: Tensor) -> Tensor:
    """How often each code occurs in each feature, (C, h, w) -> (C, 32)."""
    features = len(codes)
    of_feature = codes.flatten(1) + CENTRES * torch.arange(features, device=codes.device)[:, None]
    return torch.bincount(of_feature.flatten(), minlength=features * CENTRES).view(features, CENTRES)
