"""Sliding windows over an image: means, and the correlation of a residual with a fingerprint in every window.

All positions of a window are computed at once: the mean of a window of any size is the difference of two prefix sums.
"""

import torch
from torch import Tensor

from prnu.residual import grey, wiener_dft, zero_mean
from prnu.residual import residual as noise_residual


def window_positions(height: int, width: int, window: int, stride: int) -> tuple[Tensor, Tensor]:
    """Central rows (h,) and columns (w,) of all windows that lie within an image.

    The first window lies in the top left corner; the last ones may leave out up to stride − 1 pixels.
    Raises ValueError for an even window, for a stride below 1, and if no window fits.
    """
    if window < 1 or window % 2 == 0 or stride < 1:
        raise ValueError(f"a window needs an odd size and a stride of at least 1, not {window} and {stride}")
    if min(height, width) < window:
        raise ValueError(f"no window of {window}×{window} pixels fits into an image of {height}×{width}")
    rows, columns = (torch.arange(window // 2, side - window // 2, stride) for side in (height, width))
    return rows, columns


def window_mean(x: Tensor, window: int, stride: int) -> Tensor:
    """Mean of every window: (..., H, W) -> (..., h, w) float64.

    Prefix sums over single rows or columns in double precision have an error of about 1e-13 of the largest value.
    Raises ValueError as `window_positions`.
    """
    window_positions(x.shape[-2], x.shape[-1], window, stride)
    for axis in (-1, -2):
        prefix = x.cumsum(axis, dtype=torch.float64)
        first = torch.arange(0, x.shape[axis] - window + 1, stride, device=x.device)
        within = prefix.index_select(axis, first + window - 1)
        within.narrow(axis, 1, len(first) - 1).sub_(prefix.index_select(axis, first[1:] - 1))
        x = within / window
    return x


def local_correlation(a: Tensor, b: Tensor, window: int = 129, stride: int = 8) -> Tensor:
    """Normalised correlation of a and b (..., H, W) within every window: (..., h, w) float32 in [−1, 1].

    It is 0 where a or b is constant. Raises ValueError if sizes differ or values are not finite, and as
    `window_positions`.
    """
    if a.shape[-2:] != b.shape[-2:]:
        raise ValueError(f"{_size(a)} and {_size(b)} pixels cannot be correlated: crop one to the other")
    a, b = (x.double() - x.mean((-2, -1), keepdim=True, dtype=torch.float64) for x in (a, b))
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("a residual or a fingerprint holds values that are not finite")
    mean_a, mean_b = window_mean(a, window, stride), window_mean(b, window, stride)
    variance_a = window_mean(a**2, window, stride) - mean_a**2
    variance_b = window_mean(b**2, window, stride) - mean_b**2
    covariance = window_mean(a * b, window, stride) - mean_a * mean_b
    # Because of rounding, a constant window has a variance of about 1e-13 of the image's largest square.
    seen_a, seen_b = (
        variance > 1e-11 * x.square().amax((-2, -1), keepdim=True) for variance, x in ((variance_a, a), (variance_b, b))
    )
    correlation = covariance / (variance_a * variance_b).clamp(min=torch.finfo(torch.float64).tiny).sqrt()
    return torch.where(seen_a & seen_b, correlation, 0).clamp(-1, 1).float()


def image_correlation(
    image: Tensor, fingerprint: Tensor, window: int = 129, stride: int = 8, residual: Tensor | None = None
) -> Tensor:
    """Correlation in every window of an image's residual W with I·K, the trace of its camera's fingerprint.

    Args:
        image: (N, 3, H, W) or (N, 1, H, W) in [0, 1].
        fingerprint: K (H, W), or several (F, H, W).
        residual: `prnu.residual.residual(image)`, (N, H, W), if it was computed before. It is cleaned here.

    Returns:
        (N, h, w) float32, or (N, F, h, w).

    Raises:
        ValueError: sizes differ; and as `window_positions`.
    """
    if fingerprint.ndim not in (2, 3) or image.shape[-2:] != fingerprint.shape[-2:]:
        raise ValueError(
            f"images {tuple(image.shape)} need fingerprints (H, W) or (F, H, W) of their size, "
            f"not {tuple(fingerprint.shape)}: crop one to the other"
        )
    window_positions(image.shape[-2], image.shape[-1], window, stride)
    W = wiener_dft(zero_mean(noise_residual(image) if residual is None else residual))
    I = grey(image)  # noqa: E741 (the paper's symbol)
    if fingerprint.ndim == 3:
        W, I = W[:, None], I[:, None]  # noqa: E741
    return local_correlation(W, I * fingerprint.to(image.device), window, stride)


def _size(x: Tensor) -> str:
    return f"{x.shape[-2]}×{x.shape[-1]}"
