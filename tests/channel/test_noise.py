"""The counter-based noise: known answers, its distribution, and independence."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from channel.noise import SEEDS, draw_seed, normal, random_bits

CPU = torch.device("cpu")
MULTIPLIER = 0xD6E8FEB86659FD93
COUNT = 1 << 20


def mix(counters: np.ndarray) -> np.ndarray:
    """The mixing function on unsigned numbers, as it is published."""
    x = counters.astype(np.uint64)
    for _ in range(2):
        x ^= x >> np.uint64(32)
        x *= np.uint64(MULTIPLIER)
    return x ^ (x >> np.uint64(32))


@pytest.mark.parametrize("seed", (0, 1, 123456789012345, SEEDS - 1))
def test_known_answers(seed: int) -> None:
    mixed = mix(np.arange(seed, seed + 500, dtype=np.uint64))
    low, high = (mixed & np.uint64(0xFFFFFFFF)).astype(np.uint32), (mixed >> np.uint64(32)).astype(np.uint32)
    signed = np.stack([low, high], axis=1).reshape(-1).view(np.int32)
    assert random_bits(seed, 500, CPU).tolist() == signed.tolist()
    expected = math.sqrt(2) * special.erfinv(signed / 2**31)
    np.testing.assert_allclose(normal(999, seed, CPU), expected[:999], rtol=1e-4, atol=1e-6)


def test_a_hand_calculated_number() -> None:
    x = 1
    for _ in range(2):
        x ^= x >> 32
        x = x * MULTIPLIER % 2**64
    x ^= x >> 32
    low, high = (half - (half >> 31 << 32) for half in (x % 2**32, x >> 32))
    assert random_bits(1, 1, CPU).tolist() == [low, high]


@pytest.mark.parametrize("seed", (3, 1 << 40, SEEDS - COUNT))
def test_numbers_are_normal(seed: int) -> None:
    numbers = normal(COUNT, seed, CPU).double().numpy()
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    assert abs(numbers.mean()) < 4 / math.sqrt(COUNT)
    assert abs(numbers.var() - 1) < 4 * math.sqrt(2 / COUNT)
    assert abs(stats.skew(numbers)) < 4 * math.sqrt(6 / COUNT)
    assert abs(stats.kurtosis(numbers)) < 4 * math.sqrt(24 / COUNT)
    assert np.isfinite(numbers).all() and 4.5 < np.abs(numbers).max() < 5.5


def test_the_largest_bits_stay_finite() -> None:
    from channel.noise import SCALE

    extreme = torch.tensor([2**31 - 1, -(2**31)], dtype=torch.int32) * SCALE
    assert extreme.abs().max() < 1 and extreme.erfinv().isfinite().all()


def test_neighbours_and_calls_are_independent() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (normal(COUNT, draw_seed(generator), CPU).double() for _ in range(2))
    assert abs(float((first * second).mean())) < 4 / math.sqrt(COUNT)
    for lag in (1, 2, 3, 256, 3 * 256, 65536):  # along rows, columns, channels
        for power in (1, 2):
            x = first**power - (first**power).mean()
            assert abs(float((x[lag:] * x[:-lag]).mean() / x.var())) < 4 / math.sqrt(COUNT), (lag, power)
    spectrum = torch.fft.rfft(first).abs().square()[1:-1] / COUNT
    assert stats.kstest(spectrum.numpy(), "expon").pvalue > 1e-3


def test_every_bit_of_a_counter_changes_half_of_the_bits() -> None:
    counters = np.arange(10**9, 10**9 + 4096, dtype=np.int64)

    def bits(values: np.ndarray) -> np.ndarray:
        return np.unpackbits(mix(values).view(np.uint8).reshape(-1, 8), axis=1)

    for flipped in range(62):
        changed = (bits(counters) ^ bits(counters ^ (1 << flipped))).mean(axis=0)
        assert np.abs(changed - 0.5).max() < 6 * 0.5 / math.sqrt(len(counters)), flipped


def test_a_number_depends_on_the_seed_and_its_place_alone() -> None:
    together = normal(1000, 5, CPU)
    assert torch.equal(normal(501, 5, CPU), together[:501])
    assert torch.equal(normal(400, 5 + 300, CPU), together[600:])
    assert normal(7, 5, torch.device("meta")).shape == (7,)
