"""Spectra of images and of their differences, and how differences and spectra are drawn."""

import numpy as np


def spectrum(images: np.ndarray) -> np.ndarray:
    """log(10 + |F|) of the mean over colours of images (k,3,H,W) in [0,255]: (H,W), zero frequency in the middle.

    Amplitudes are averaged over the images before the logarithm.
    """
    return np.log(10 + _amplitudes(images).mean(axis=0))


def spectrum_difference(native: np.ndarray, developed: np.ndarray) -> np.ndarray:
    """Paper §5.2: ΔF = log(10 + | |F(ŷ⁰)| − |F(ŷ*)| |) of patches (k,3,H,W), averaged as in :func:`spectrum`: (H,W)."""
    return np.log(10 + np.abs(_amplitudes(native) - _amplitudes(developed)).mean(axis=0))


def _amplitudes(images: np.ndarray) -> np.ndarray:
    """(k,3,H,W) -> (k,H,W): |F| of the mean over colours, zero frequency in the middle."""
    return np.abs(np.fft.fftshift(np.fft.fft2(images.mean(axis=1)), axes=(-2, -1)))


def grey(values: np.ndarray) -> np.ndarray:
    """(H,W) -> (H,W,3) uint8 over the full range of the values."""
    low, high = values.min(), values.max()
    scaled = np.round(255 * (values - low) / max(high - low, 1e-12)).astype(np.uint8)
    return np.broadcast_to(scaled[..., None], (*scaled.shape, 3))


def reduced(values: np.ndarray, pixels: int) -> np.ndarray:
    """(H,W) averaged over square blocks, until the shorter side has less than twice so many pixels."""
    step = max(1, min(values.shape) // pixels)
    height, width = (side // step for side in values.shape)
    return values[: height * step, : width * step].reshape(height, step, width, step).mean(axis=(1, 3))


def difference_scale(one: np.ndarray, other: np.ndarray) -> int:
    """Power of two that brings the 99th percentile of the difference of images in [0,255] close to 255; at most 64."""
    spread = np.percentile(np.abs(one.astype(np.float32) - other), 99)
    return int(2 ** np.clip(np.floor(np.log2(255 / max(spread, 1))), 0, 6))
