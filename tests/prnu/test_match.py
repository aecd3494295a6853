"""Cross-correlation, PCE and p-value against direct sums over all shifts, and the conventions for unfit input."""

import dataclasses
import math

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from prnu.match import (
    correlation,
    cross_correlation,
    log_pvalue,
    pce,
    pce_matrix,
    peak_to_correlation_energy,
    query,
)
from prnu.residual import grey, residual, wiener_dft, zero_mean

SIZES = [(16, 16), (13, 21), (32, 17), (5, 24), (12, 12)]


def slow_cross_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One sum for each shift, float64; a is continued by zeros once its mean is gone."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    H, W = b.shape
    surface = np.zeros((H, W))
    for dy in range(H):
        for dx in range(W):
            for y in range(a.shape[0]):
                for x in range(a.shape[1]):
                    surface[dy, dx] += a[y, x] * b[(y + dy) % H, (x + dx) % W]
    return surface / np.sqrt((a**2).sum() * (b**2).sum())


def slow_pce(surface: np.ndarray, reach: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """Every pixel looked at: is it at most 5 rows and 5 columns away from the peak, around the border too?"""
    H, W = surface.shape
    shifts = [(dy, dx) for dy in range(reach[0] + 1) for dx in range(reach[1] + 1)]
    peak = max(shifts, key=lambda shift: surface[shift])
    squares = []
    for y in range(H):
        for x in range(W):
            down, across = abs(y - peak[0]), abs(x - peak[1])
            if min(down, H - down) > 5 or min(across, W - across) > 5:
                squares.append(float(surface[y, x]) ** 2)
    height = float(surface[peak])
    return math.copysign(height**2 / (sum(squares) / len(squares)), height), peak


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def as_tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


@pytest.mark.parametrize("size", SIZES)
def test_cross_correlation_is_the_sum_at_every_shift(size: tuple[int, int], rng: np.random.Generator) -> None:
    a, b = (rng.normal(0.3, 0.1, (2, *size)).astype(np.float32) for _ in range(2))
    surface = cross_correlation(as_tensor(a), as_tensor(b))
    assert surface.dtype == torch.float32
    slow = np.stack([slow_cross_correlation(*pair) for pair in zip(a, b, strict=True)])
    np.testing.assert_allclose(surface, slow, atol=1e-6)
    np.testing.assert_allclose(surface[:, 0, 0], correlation(as_tensor(a), as_tensor(b)), atol=1e-6)
    np.testing.assert_allclose(surface[0, 0, 0], np.corrcoef(a[0].ravel(), b[0].ravel())[0, 1], atol=1e-6)


@pytest.mark.parametrize(("part", "whole"), [((7, 9), (16, 13)), ((12, 13), (12, 20)), ((5, 11), (17, 12))])
def test_a_smaller_image_is_followed_by_zeros(part, whole, rng: np.random.Generator) -> None:
    a, b = rng.normal(0.5, 1, (3, *part)), rng.normal(-0.2, 1, whole)
    surface = cross_correlation(as_tensor(a), as_tensor(b))  # one b for all a
    np.testing.assert_allclose(surface, [slow_cross_correlation(one, b) for one in a], atol=2e-6)

    # where a lies wholly within b, nothing wraps around
    for dy in range(whole[0] - part[0] + 1):
        for dx in range(whole[1] - part[1] + 1):
            inner = (b - b.mean())[dy : dy + part[0], dx : dx + part[1]]
            direct = ((a[0] - a[0].mean()) * inner).sum() / np.sqrt(a[0].var() * a[0].size * b.var() * b.size)
            assert surface[0, dy, dx] == pytest.approx(direct, abs=2e-6)


@pytest.mark.parametrize("size", [(16, 16), (13, 21), (5, 24)])
@pytest.mark.parametrize("everywhere", [False, True])
def test_pce_counts_all_but_the_circular_neighbourhood(size, everywhere: bool, rng: np.random.Generator) -> None:
    reach = (size[0] - 1, size[1] - 1) if everywhere else (0, 0)
    surface = rng.normal(0, 1, (1 + size[0] * size[1], *size))
    for i in range(size[0] * size[1]):  # the peak at every position in turn, borders and corners too
        surface[i, i // size[1], i % size[1]] += 20
    surface[-1, 0, 0] = -20
    value, peak = peak_to_correlation_energy(as_tensor(surface), reach)
    slow = [slow_pce(one, reach) for one in surface.astype(np.float32)]
    np.testing.assert_allclose(value, [v for v, _ in slow], rtol=1e-6)
    np.testing.assert_array_equal(peak, [p for _, p in slow])
    assert everywhere or value[-1] < 0  # nothing but the peak's sign tells a negative of a fingerprint


@pytest.mark.parametrize("reach", [(0, 3), (4, 0), (2, 5), (12, 20)])
def test_pce_seeks_the_peak_within_reach_alone(reach: tuple[int, int], rng: np.random.Generator) -> None:
    surface = rng.normal(0, 1, (2, 3, 13, 21))
    value, peak = peak_to_correlation_energy(as_tensor(surface), reach)
    assert value.shape == (2, 3)
    assert peak.shape == (2, 3, 2)
    for i, j in np.ndindex(2, 3):
        slow, where = slow_pce(surface[i, j], reach)
        assert value[i, j].item() == pytest.approx(slow, rel=1e-5)
        assert tuple(peak[i, j].tolist()) == where


def test_pce_of_a_peak_far_above_the_noise_keeps_its_digits() -> None:
    """Where the neighbourhood holds all but 1e-10 of the energy, what is left must not drown in rounding."""
    rng = np.random.default_rng(0)
    surface = rng.normal(0, 1e-7, (64, 64)).astype(np.float32)
    surface[63, 0] = 1
    value, _ = peak_to_correlation_energy(torch.from_numpy(surface), (63, 63))
    assert value.item() == pytest.approx(slow_pce(surface, (63, 63))[0], rel=1e-4)


@pytest.mark.parametrize("positions", [1, 2, 1000, 10_000_000])
def test_pvalue_in_logarithms(positions: int) -> None:
    values = [-1e4, -400.0, -25.0, -1.0, 0.0, 1e-3, 1.0, 7.0, 25.0, 60.0, 80.0, 1400.0, 5e3, 1e6]
    expected = []
    with mpmath.workdps(60):
        for value in values:
            z = mpmath.sign(value) * mpmath.sqrt(abs(mpmath.mpf(value)))
            tail = mpmath.erfc(abs(z) / mpmath.sqrt(2)) / 2
            none = positions * (mpmath.log1p(-tail) if z > 0 else mpmath.log(tail))  # log (1 − Q)^k
            rare = mpmath.log(-mpmath.expm1(none)) if none > -1 else mpmath.log1p(-mpmath.exp(none))
            expected.append(float(rare))
    found = log_pvalue(torch.tensor(values, dtype=torch.float64), positions)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-300)
    assert (found.diff() <= 0).all()
    assert found.isfinite().all()


# --- images ---


@pytest.fixture(scope="module")
def photographs() -> tuple[Tensor, Tensor]:
    """Fingerprint K (72, 96), and three 8-bit colour images I·(1 + K) of smooth scenes."""
    generator = torch.Generator().manual_seed(1)
    K = 0.03 * torch.randn(72, 96, generator=generator)
    coarse = 0.2 + 0.6 * torch.rand(3, 3, 5, 6, generator=generator)
    scene = torch.nn.functional.interpolate(coarse, (72, 96), mode="bicubic", align_corners=True)
    noise = 0.01 * torch.randn(3, 3, 72, 96, generator=generator)
    return K, ((scene * (1 + K) + noise).clamp(0, 1) * 255).round() / 255


def test_match_finds_its_fingerprint_and_no_other(photographs: tuple[Tensor, Tensor]) -> None:
    K, images = photographs
    own, other, negative = pce(K, images), pce(K.flip(1), images), pce(-K, images)
    assert (own.pce > 60).all()
    assert (other.pce < 20).all()
    torch.testing.assert_close(negative.pce, -own.pce, rtol=1e-4, atol=0)
    assert (own.peak == 0).all()
    assert (own.log_pvalue < math.log(1e-14)).all()
    assert (own.pvalue > 0).all()
    assert (negative.pvalue == 1).all()
    W = wiener_dft(zero_mean(residual(images)))
    torch.testing.assert_close(own.correlation, correlation(W, K * grey(images)))


def slow_query(W: np.ndarray, image: np.ndarray) -> np.ndarray:
    """W·I/σ² with the mean of W² over 9×9 pixels, mirrored at the border, and the variance of rounding to 8 bits."""
    H, width = W.shape
    weighted = np.zeros_like(W, dtype=np.float64)
    for y in range(H):
        for x in range(width):
            rows = [abs(r) if r < H else 2 * (H - 1) - r for r in range(y - 4, y + 5)]
            columns = [abs(c) if c < width else 2 * (width - 1) - c for c in range(x - 4, x + 5)]
            variance = np.mean([float(W[r, c]) ** 2 for r in rows for c in columns]) + 1 / (12 * 255**2)
            weighted[y, x] = W[y, x] * image[y, x] / variance
    return wiener_dft(zero_mean(torch.from_numpy(weighted))).numpy()


def test_match_is_the_slow_reference(photographs: tuple[Tensor, Tensor]) -> None:
    K, images = photographs
    K, images = K[20:33, 30:51], images[:, :, 20:33, 30:51]
    match = pce(K, images)
    W = wiener_dft(zero_mean(residual(images))).numpy()
    for n, image in enumerate(images):
        I = grey(image[None])[0].numpy()  # noqa: E741 (the paper's symbol)
        value, peak = slow_pce(slow_cross_correlation(slow_query(W[n], I), K.numpy()), (0, 0))
        assert match.pce[n].item() == pytest.approx(value, rel=1e-3)
        assert tuple(match.peak[n].tolist()) == peak
        assert match.correlation[n].item() == pytest.approx(np.corrcoef(W[n].ravel(), (I * K.numpy()).ravel())[0, 1])


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (0, 33), (23, 0), (23, 33), (7, 12)])
def test_a_crop_is_found_where_it_was_cut(photographs: tuple[Tensor, Tensor], dy: int, dx: int) -> None:
    K, images = photographs
    crops = images[:, :, dy : dy + 49, dx : dx + 63]
    match = pce(K, crops, shifts="crop")
    assert match.peak.tolist() == [[dy, dx]] * 3
    assert (match.pce > 60).all()
    aligned = pce(K[dy : dy + 49, dx : dx + 63], crops)
    torch.testing.assert_close(match.correlation, aligned.correlation)
    expected = log_pvalue(match.pce, positions=24 * 34)  # sought at all of them
    torch.testing.assert_close(match.log_pvalue, expected)
    same = pce(K, images, shifts="crop")  # there is one position for the whole
    torch.testing.assert_close(dataclasses.astuple(same), dataclasses.astuple(pce(K, images)))


def test_a_batch_is_its_images_one_by_one(photographs: tuple[Tensor, Tensor]) -> None:
    K, images = photographs
    fingerprints = torch.stack([K, K.flip(0), -K, torch.zeros_like(K)])
    matrix = pce_matrix(query(images), fingerprints)
    assert matrix.shape == (3, 4)
    for f, fingerprint in enumerate(fingerprints):
        batch = pce(fingerprint, images)
        torch.testing.assert_close(matrix[:, f], batch.pce, rtol=1e-4, atol=1e-4)
        for n in range(3):
            for part, alone in zip(
                dataclasses.astuple(batch),
                dataclasses.astuple(pce(fingerprint, images[n : n + 1])),
                strict=True,
            ):
                torch.testing.assert_close(part[n : n + 1], alone, rtol=1e-3, atol=1e-4)


def test_grey_images_and_a_residual_at_hand(photographs: tuple[Tensor, Tensor]) -> None:
    K, images = photographs
    assert (pce(K, grey(images)[:, None]).pce > 60).all()
    at_hand = pce(K, images, residual(images))
    torch.testing.assert_close(dataclasses.astuple(at_hand), dataclasses.astuple(pce(K, images)))


def test_nothing_given_is_changed(photographs: tuple[Tensor, Tensor]) -> None:
    K, images = photographs
    W, queries, fingerprints = residual(images), query(images), torch.stack([K, 1 + K])
    surface = cross_correlation(queries, K)
    given = (K, images, W, queries, fingerprints, surface)
    before = [tensor.clone() for tensor in given]
    pce(K, images, W)
    pce(K, images[:, :, 5:60, 3:80], shifts="crop")
    query(images, W)
    pce_matrix(queries, fingerprints)
    correlation(queries, K)
    cross_correlation(queries, fingerprints[1])
    peak_to_correlation_energy(surface, (71, 95))
    log_pvalue(surface, 3)
    for tensor, copy in zip(given, before, strict=True):
        assert torch.equal(tensor, copy)


# --- unfit input ---


@pytest.mark.parametrize("constant", ["image", "residual", "fingerprint", "fingerprint of zeros"])
def test_what_is_constant_tells_nothing(photographs: tuple[Tensor, Tensor], constant: str) -> None:
    K, images = photographs
    W = None
    if constant == "image":
        images = torch.full_like(images, 0.3)
    elif constant == "residual":
        W = torch.full_like(images[:, 0], 0.1)
    else:
        K = torch.full_like(K, 0.0 if constant.endswith("zeros") else 0.1)
    match = pce(K, images, W)
    assert match.pce.tolist() == [0, 0, 0]
    assert match.correlation.tolist() == [0, 0, 0]
    assert match.pvalue.tolist() == [1, 1, 1]
    assert match.peak.tolist() == [[0, 0]] * 3
    assert pce_matrix(query(images, W), K[None]).tolist() == [[0], [0], [0]]


def test_a_saturated_image_tells_nothing(photographs: tuple[Tensor, Tensor]) -> None:
    K, images = photographs
    assert pce(K, torch.ones_like(images)).pvalue.tolist() == [1, 1, 1]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["image", "fingerprint", "residual"])
def test_values_that_are_not_finite_are_refused(photographs: tuple[Tensor, Tensor], value: float, where: str) -> None:
    K, images = (tensor.clone() for tensor in photographs)
    W = residual(images)
    {"image": images[1, 0], "fingerprint": K, "residual": W[2]}[where][4, 7] = value
    with pytest.raises(ValueError, match="not finite"):
        pce(K, images, None if where == "image" else W)
    with pytest.raises(ValueError, match="not finite"):
        pce_matrix(query(images, None if where == "image" else W), K[None])


def test_sizes_that_do_not_fit_are_refused(photographs: tuple[Tensor, Tensor]) -> None:
    K, images = photographs
    small = images[:, :, :40, :50]
    with pytest.raises(ValueError, match=r'40×50 against a fingerprint of 72×96.*shifts="crop"'):
        pce(K, small)
    with pytest.raises(ValueError, match="do not fit into"):
        pce(K[:40, :50], images, shifts="crop")
    with pytest.raises(ValueError, match="residual of"):
        pce(K, images, residual(small))
    with pytest.raises(ValueError, match="a fingerprint is"):
        pce(K[None], images)
    with pytest.raises(ValueError, match="unknown shifts 'any'"):
        pce(K, images, shifts="any")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="differ in size"):
        pce_matrix(query(images), K[None, :40])
    with pytest.raises(ValueError, match="sizes differ"):
        correlation(K, K[:40])
    with pytest.raises(ValueError, match="more than 11×11"):
        peak_to_correlation_energy(K[:11, :11])
    with pytest.raises(ValueError, match="exceed"):
        peak_to_correlation_energy(K, (72, 0))
