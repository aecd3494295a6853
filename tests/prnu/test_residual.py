"""Residual, saturation, zero-mean and the Wiener filter of the spectrum against loops in NumPy."""

import numpy as np
import pytest
import torch

from prnu import correlation, residual, saturation, wavelet_noise, wiener_dft, zero_mean
from prnu.residual import LUMA

SHAPES = [(32, 32), (24, 37), (37, 24), (21, 33), (9, 10), (10, 9)]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def photograph(*shape: int, seed: int = 0) -> torch.Tensor:
    return (0.5 + 0.05 * noise(*shape, seed=seed)).clamp(0, 1)


# --- residual ---


def test_residual_is_taken_in_each_channel_and_then_grey() -> None:
    image = photograph(2, 3, 33, 40)
    W = residual(image, sigma=2 / 255)
    red, green, blue = (wavelet_noise(image[:, channel], 2 / 255) for channel in range(3))
    assert W.shape == (2, 33, 40)
    torch.testing.assert_close(W, 0.2989 * red + 0.5870 * green + 0.1140 * blue, rtol=0, atol=1e-5)
    assert sum(LUMA) == pytest.approx(1, abs=1e-6)


def test_of_a_grey_image_it_is_that_of_its_channel() -> None:
    image = photograph(2, 1, 33, 40)
    assert torch.equal(residual(image), wavelet_noise(image[:, 0]))
    torch.testing.assert_close(residual(image.expand(-1, 3, -1, -1)), residual(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_of_a_constant_image_it_is_zero(value: float) -> None:
    assert residual(torch.full((1, 3, 32, 45), value)).abs().max() < 1e-6


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(3, 32, 32),
        torch.zeros(1, 2, 32, 32),
        torch.zeros(0, 3, 32, 32),
        torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
    ],
)
def test_what_is_no_image_is_refused(image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"must be a float tensor \(N,3,H,W\)"):
        residual(image)


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="8×8"):
        residual(torch.zeros(1, 3, 7, 32))


# --- saturation ---


def reference_saturation(x: np.ndarray) -> np.ndarray:
    """One channel (H,W), 8 bits."""
    saturated = np.zeros(x.shape, bool)
    for y, column in np.ndindex(x.shape):
        for down, across in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            inside = 0 <= y + down < x.shape[0] and 0 <= column + across < x.shape[1]
            if inside and x.max() > 250 and x[y, column] == x.max() == x[y + down, column + across]:
                saturated[y, column] = True
    return saturated


@pytest.mark.parametrize("peak", [255, 252, 250, 200])
def test_saturation_equals_the_slow_reference(peak: int) -> None:
    values = np.random.default_rng(peak).integers(peak - 3, peak + 1, (2, 3, 19, 22)).astype(np.uint8)
    values[1, 2] = np.minimum(values[1, 2], 249)  # a channel of its own
    mask = saturation(torch.from_numpy(values).float() / 255)
    expected = np.stack([[reference_saturation(channel) for channel in image] for image in values])
    assert expected.any() == (peak > 250)
    assert not expected.all()
    np.testing.assert_array_equal(mask.numpy(), expected)


def test_a_single_bright_pixel_is_not_saturated_and_a_white_image_is() -> None:
    image = torch.full((1, 1, 16, 16), 0.5)
    image[..., 3, 0] = 1  # its neighbour across the edge is none
    image[..., 3, 15] = 1
    assert not saturation(image).any()
    assert saturation(torch.ones(1, 3, 16, 16)).all()


# --- zero mean ---


@pytest.mark.parametrize("shape", SHAPES)
def test_zero_mean_equals_the_slow_reference(shape: tuple[int, int]) -> None:
    x = noise(*shape)
    x[:, 1::2] += 0.5
    x[3] -= 2
    expected = x.double().numpy().copy()
    for down in (0, 1):
        for across in (0, 1):
            for y in range(down, shape[0], 2):
                expected[y, across::2] -= expected[y, across::2].sum() / len(expected[y, across::2])
            for column in range(across, shape[1], 2):
                expected[down::2, column] -= expected[down::2, column].sum() / len(expected[down::2, column])
    np.testing.assert_allclose(zero_mean(x).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_rows_and_columns_share_is_gone_in_every_phase(shape: tuple[int, int]) -> None:
    height, width = shape
    x = noise(2, height, width)
    pattern = noise(height, 1, seed=1) + noise(1, width, seed=2)  # rows and columns, the same in all phases
    cell = noise(2, 2, seed=3).repeat(height, width)[:height, :width]
    torch.testing.assert_close(zero_mean(x + 5 * pattern + cell), zero_mean(x), rtol=0, atol=1e-5)
    once = zero_mean(x)
    torch.testing.assert_close(zero_mean(once), once, rtol=0, atol=1e-6)
    for down in (0, 1):
        for across in (0, 1):
            phase = once[:, down::2, across::2]
            assert max(phase.mean(dim=1).abs().max(), phase.mean(dim=2).abs().max()) < 1e-6


# --- Wiener filter of the spectrum ---


def reference_wiener_dft(x: np.ndarray) -> np.ndarray:
    """By the discrete Fourier transform's matrices, and frequency by frequency."""
    height, width = x.shape
    down = np.exp(-2j * np.pi * np.outer(np.arange(height), np.arange(height)) / height) / np.sqrt(height)
    across = np.exp(-2j * np.pi * np.outer(np.arange(width), np.arange(width)) / width) / np.sqrt(width)
    spectrum = down @ x @ across
    variance = x.var(ddof=1)
    filtered = np.empty_like(spectrum)
    for v, u in np.ndindex(x.shape):
        means = []
        for reach in (1, 2, 3, 4):
            rows, columns = np.arange(v - reach, v + reach + 1), np.arange(u - reach, u + reach + 1)
            means.append((np.abs(spectrum[np.ix_(rows % height, columns % width)]) ** 2).mean())
        signal = max(0.0, min(means) - variance)
        filtered[v, u] = spectrum[v, u] * variance / (signal + variance)
        if np.abs(spectrum[v, u]) ** 2 > 12 * min(means):
            filtered[v, u] *= np.sqrt(min(means)) / np.abs(spectrum[v, u])
    return (down.conj() @ filtered @ across.conj()).real


@pytest.mark.parametrize("shape", SHAPES)
def test_wiener_dft_equals_the_slow_reference(shape: tuple[int, int]) -> None:
    x = noise(*shape) * 0.01
    x[:, ::3] += 0.01
    x[::4] += 0.02
    expected = reference_wiener_dft(x.double().numpy())
    assert np.abs(expected - x.numpy()).max() > 1e-3  # it does something
    np.testing.assert_allclose(wiener_dft(x).numpy(), expected, rtol=0, atol=1e-7)


def test_each_of_a_batch_by_itself_and_nothing_is_changed() -> None:
    x = torch.stack([noise(30, 41, seed=seed) * 10.0**-seed for seed in range(3)])
    before = x.clone()
    for clean in (wiener_dft, zero_mean):
        for cleaned, plane in zip(clean(x), x, strict=True):
            torch.testing.assert_close(cleaned, clean(plane), rtol=1e-4, atol=1e-7)
    assert torch.equal(x, before)


def test_wiener_dft_of_nothing_and_of_too_little() -> None:
    assert torch.equal(wiener_dft(torch.zeros(2, 20, 20)), torch.zeros(2, 20, 20))
    with pytest.raises(ValueError, match="9×9"):
        wiener_dft(torch.zeros(8, 20))


@pytest.mark.parametrize("power", [0.002, 0.01, 0.05, 0.2, 1.0])
def test_two_bodies_of_one_model_have_nothing_in_common_once_cleaned(power: float) -> None:
    """They share a JPEG block grid and a column pattern, each of so much of the power of a body's own noise."""
    bodies = [noise(512, 512, seed=seed) for seed in (1, 2)]
    grid = noise(8, 8, seed=3).repeat(64, 64)
    columns = noise(1, 512, seed=4).expand(512, 512)
    artefact = power**0.5 * (grid / grid.std() + columns / columns.std())
    clean = [wiener_dft(zero_mean(body)) for body in bodies]
    cleaned = [wiener_dft(zero_mean(body + artefact)) for body in bodies]
    # 36 of the grid's 64 frequencies outlive the zero mean. Each keeps 12 times the noise's energy at the very most.
    assert abs(correlation(*cleaned) - correlation(*clean)) < 36 * 12 / 512**2
    assert all(correlation(a, b) > 0.99 for a, b in zip(cleaned, bodies, strict=True))
