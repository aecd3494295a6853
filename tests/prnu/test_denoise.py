"""The denoiser against Mıhçak's filter written in NumPy and PyWavelets, as slowly as it is defined."""

import importlib

import numpy as np
import pytest
import pywt
import torch

from prnu.denoise import TAPS, analysis, denoise, synthesis, wavelet_noise

module = importlib.import_module("prnu.denoise")
SIGMA = 3 / 255


def reference_wiener(band: np.ndarray, sigma: float) -> np.ndarray:
    """The noise in a band (h,w), coefficient by coefficient; zeros beyond the edges."""
    noise = np.empty_like(band)
    padded = np.pad(band**2, 4)
    for y, x in np.ndindex(band.shape):
        variances = []
        for reach in (1, 2, 3, 4):
            window = padded[y + 4 - reach : y + 5 + reach, x + 4 - reach : x + 5 + reach]
            variances.append(max(0.0, window.mean() - sigma**2))
        noise[y, x] = band[y, x] * sigma**2 / (min(variances) + sigma**2)
    return noise


@pytest.mark.filterwarnings("ignore:Level value")
def reference_noise(x: np.ndarray, sigma: float, levels: int) -> np.ndarray:
    low, *details = pywt.wavedec2(x.astype(np.float64), "db4", mode="symmetric", level=levels)
    noise = [tuple(reference_wiener(band, sigma) for band in level) for level in details]
    return pywt.waverec2([np.zeros_like(low), *noise], "db4", mode="symmetric")[: x.shape[0], : x.shape[1]]


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Shading, an edge, and noise of σ₀: (1,H,W) in [0,1]."""
    noise = torch.randn(1, height, width, generator=torch.Generator().manual_seed(seed))
    scene = 0.3 + 0.2 * torch.linspace(0, 1, width) + 0.1 * torch.linspace(0, 6, height).sin()[:, None]
    scene[height // 3 :, width // 2 :] += 0.2
    return scene + SIGMA * noise


@pytest.mark.parametrize(
    ("height", "width", "sigma", "levels"),
    [
        (64, 64, SIGMA, 4),
        (49, 70, SIGMA, 4),  # odd and even, not square
        (70, 49, SIGMA, 4),
        (35, 33, 2 / 255, 3),
        (32, 45, 10 / 255, 1),
        (8, 8, SIGMA, 4),  # the smallest
        (9, 40, SIGMA, 5),
    ],
)
@pytest.mark.filterwarnings("ignore:Level value")
def test_equals_the_slow_reference(height: int, width: int, sigma: float, levels: int) -> None:
    x = picture(height, width)
    noise = wavelet_noise(x, sigma, levels)[0].numpy()
    expected = reference_noise(x[0].numpy(), sigma, levels)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(noise, expected, rtol=0, atol=5e-7)


@pytest.mark.filterwarnings("ignore:Level value")
def test_double_precision_is_kept() -> None:
    x = picture(40, 51).double()
    noise = wavelet_noise(x, SIGMA, 4)[0].numpy()
    np.testing.assert_allclose(noise, reference_noise(x[0].numpy(), SIGMA, 4), rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(8, 8), (16, 24), (17, 24), (24, 17), (31, 33)])
def test_the_transform_is_pywavelets_and_inverts(shape: tuple[int, int]) -> None:
    x = torch.rand(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bands = analysis(x)
    low, details = pywt.dwt2(x.numpy(), "db4", mode="symmetric", axes=(1, 2))
    for band, expected in zip(bands, (low, *details), strict=True):
        np.testing.assert_allclose(band.numpy(), expected, atol=1e-13)
    torch.testing.assert_close(synthesis(bands, *shape), x, rtol=0, atol=1e-12)


def test_filters_are_daubechies_to_the_last_digit() -> None:
    wavelet = pywt.Wavelet("db4")
    np.testing.assert_allclose(module.LOW, wavelet.rec_lo, rtol=0, atol=1e-15)
    np.testing.assert_allclose(module.HIGH, wavelet.rec_hi, rtol=0, atol=1e-15)
    assert wavelet.rec_len == TAPS


@pytest.mark.parametrize("chunk", [1, 300, 5000, 2**30])
def test_neither_batch_nor_chunks_change_a_plane(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    x = torch.cat([picture(45, 38, seed) for seed in range(5)])
    alone = torch.cat([wavelet_noise(plane[None]) for plane in x])
    monkeypatch.setattr(module, "CHUNK", chunk)
    torch.testing.assert_close(wavelet_noise(x), alone, rtol=0, atol=1e-8)


def test_noise_goes_and_the_scene_stays() -> None:
    clean = torch.full((1, 1, 128, 128), 0.4)
    clean[..., 50:] += 0.3
    noise = SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    error = (denoise(clean + noise) - clean).square().mean().sqrt()
    assert error < SIGMA / 2.5  # white noise is cut to less than half, the edge of 0.3 survives
    assert (denoise(clean) - clean).abs().max() < SIGMA


def test_brightness_is_no_noise() -> None:
    x = picture(50, 61)
    torch.testing.assert_close(wavelet_noise(x + 0.25), wavelet_noise(x), rtol=0, atol=1e-6)
    assert wavelet_noise(torch.full((1, 50, 61), 0.7)).abs().max() < 1e-6


def test_denoise_takes_images_and_leaves_them_alone() -> None:
    image = torch.cat([picture(40, 40, seed) for seed in range(6)]).reshape(2, 3, 40, 40).requires_grad_()
    before = image.detach().clone()
    quiet = denoise(image, sigma=2 / 255, levels=3)
    assert quiet.shape == image.shape
    torch.testing.assert_close(quiet[1, 2], image[1, 2] - wavelet_noise(image[1, 2][None], 2 / 255, 3)[0])
    assert torch.equal(image, before)
    assert not wavelet_noise(image[0]).requires_grad


@pytest.mark.parametrize(
    ("x", "sigma", "levels", "message"),
    [
        (torch.rand(1, 7, 50), SIGMA, 4, "8×8"),
        (torch.rand(50, 50), SIGMA, 4, r"\(N,H,W\)"),
        (torch.rand(1, 20, 20), 0.0, 4, "sigma > 0"),
        (torch.rand(1, 20, 20), SIGMA, 0, "levels >= 1"),
    ],
)
def test_what_cannot_be_denoised_is_refused(x: torch.Tensor, sigma: float, levels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wavelet_noise(x, sigma, levels)
