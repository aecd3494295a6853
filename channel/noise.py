"""Normal numbers that a device computes by itself: the same on every device, up to the rounding of floats.

The n-th number depends on the seed and on n alone (a counter-based generator), so that nothing is kept between calls,
nothing is copied to the device, and all numbers can be computed at once.
"""

import math

import torch

# Of the mixing function "degski64" in `random_bits`: 0xD6E8FEB86659FD93 as a signed number.
MULTIPLIER = 0xD6E8FEB86659FD93 - (1 << 64)
# Seeds are first counters. Two of them that are drawn at random are hardly ever so close that their counters overlap.
SEEDS = 1 << 62
# Brings signed 32-bit numbers into (−1, 1), also where float32 rounds the largest one up to 2³¹.
SCALE = (1 - 2**-24) / 2**31


def draw_seed(generator: torch.Generator) -> int:
    """Draws a seed for :func:`normal`. With a generator on the CPU, the host waits for no device."""
    return int(torch.randint(SEEDS, (), generator=generator, device=generator.device))


def normal(count: int, seed: int, device: torch.device) -> torch.Tensor:
    """Returns ``count`` numbers with mean 0 and standard deviation 1, float32, for a seed from 0 to SEEDS − 1.

    A uniform number v in (−1, 1) becomes √2 erf⁻¹(v). The largest is 5.4 in size; a true normal one is larger once in
    15 million.
    """
    bits = random_bits(seed, (count + 1) // 2, device)[:count]
    return (bits * SCALE).erfinv_().mul_(math.sqrt(2))


def random_bits(first: int, pairs: int, device: torch.device) -> torch.Tensor:
    """Mixes each of the counters first, first + 1, … into 64 random bits -> (2·pairs,) int32, lower halves first."""
    mixed = torch.arange(first, first + pairs, device=device)  # int64, whose products wrap around
    low, high = mixed.view(torch.int32).unflatten(0, (-1, 2)).unbind(1)  # parts of `mixed`, on little-endian machines
    for _ in range(2):
        low.bitwise_xor_(high)
        mixed.mul_(MULTIPLIER)
    low.bitwise_xor_(high)
    return mixed.view(torch.int32)
