"""Linear filters of images. Their gradients are sums in a fixed order, so that they repeat to the bit on any device.

On a CPU, filters are sums of shifted images. With one or three channels, a convolution leaves most of a CPU's vector
width idle: forward and backward, on one core, ``average`` takes a third of the time of PyTorch's ``avg_pool2d``, and
``blur`` with five taps a quarter of that of a depth-wise ``conv2d``. Other devices have kernels for them, which pass
over the images once.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional as F


def blur(images: torch.Tensor, taps: Sequence[float]) -> torch.Tensor:
    """Filters columns and rows of (N, C, H, W) -> same with the same taps, an odd number of them, symmetric.

    Borders are mirrored without repeating the border pixel.

    Raises:
        ValueError: H or W does not exceed the radius, or the taps are not symmetric.
    """
    H, W = images.shape[-2:]
    radius = len(taps) // 2
    if radius >= min(H, W):
        raise ValueError(f"images of {H}×{W} pixels are too small for a filter of radius {radius}")
    if len(taps) % 2 == 0 or list(taps) != list(reversed(taps)):
        raise ValueError(f"the taps of a filter must be odd in number and symmetric, not {taps}")
    return _Blur.apply(images, tuple(taps))


class _Blur(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, taps: tuple[float, ...]) -> torch.Tensor:
        ctx.taps = taps
        return _blur(images, taps)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return blur_transposed(gradient, ctx.taps), None


def blur_transposed(gradient: torch.Tensor, taps: Sequence[float]) -> torch.Tensor:
    """Passes a gradient back through :func:`blur`: the transpose of its matrix B. It has no gradient itself.

    Mirroring shows each pixel twice but those on the border. With weights w of 1/2 there and 1 elsewhere (1/4 in the
    corners), w·B is symmetric, and so the transpose is w·B·(1/w).
    """
    weights = _border_weights(*gradient.shape[-2:], gradient.dtype, gradient.device)
    return _blur(gradient / weights, taps).mul_(weights)


@lru_cache(maxsize=16)
def _border_weights(H: int, W: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):
        weights = torch.ones(H, W, dtype=dtype, device=device)
        for dim, size in enumerate((H, W)):
            for border in (0, size - 1):
                weights.narrow(dim, border, 1).div_(2)
        return weights


def _blur(images: torch.Tensor, taps: Sequence[float]) -> torch.Tensor:
    padded = F.pad(images, (len(taps) // 2,) * 4, mode="reflect")
    return (blur_by_shifts if images.device.type == "cpu" else blur_by_convolution)(padded, taps)


def blur_by_shifts(padded: torch.Tensor, taps: Sequence[float]) -> torch.Tensor:
    """Filters (N, C, H + 2r, W + 2r) -> (N, C, H, W), r the radius."""
    for dim in (2, 3):
        size = padded.shape[dim] - len(taps) + 1
        shifted = [padded.narrow(dim, i, size) for i in range(len(taps))]
        padded = taps[0] * shifted[0]
        for tap, shift in zip(taps[1:], shifted[1:], strict=True):
            padded.add_(shift, alpha=tap)
    return padded


def blur_by_convolution(padded: torch.Tensor, taps: Sequence[float]) -> torch.Tensor:
    """The same as depth-wise convolutions: one with up to 5×5 taps, else one for columns and one for rows."""
    N, C = padded.shape[:2]
    filtered = padded.flatten(0, 1)[None]  # one image with N·C channels
    for kernel in _kernels(tuple(taps), padded.dtype, padded.device):
        filtered = F.conv2d(filtered, kernel.expand(N * C, 1, -1, -1), groups=N * C)
    return filtered[0].unflatten(0, (N, C))


@lru_cache(maxsize=16)
def _kernels(taps: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode(False):
        line = to_device(torch.tensor(taps, dtype=dtype), device)
        return (torch.outer(line, line),) if len(taps) <= 5 else (line[:, None], line[None, :])


def average(images: torch.Tensor, k: int) -> torch.Tensor:
    """Means of k×k pixels, (N, C, H, W) -> (N, C, ⌊H/k⌋, ⌊W/k⌋); pixels beyond whole cells are dropped."""
    return _Average.apply(images, k)


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, k: int) -> torch.Tensor:
        ctx.k, ctx.size = k, images.shape[-2:]
        return average_by_shifts(images, k) if images.device.type == "cpu" else F.avg_pool2d(images, k)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        spread = spread_by_shifts if gradient.device.type == "cpu" else spread_at_once
        images = spread(gradient, ctx.k)
        missing = [whole - part for whole, part in zip(ctx.size, images.shape[-2:], strict=True)]
        return F.pad(images, (0, missing[1], 0, missing[0])) if any(missing) else images, None


def average_by_shifts(images: torch.Tensor, k: int) -> torch.Tensor:
    """:func:`average`, as a CPU does it."""
    H, W = (size - size % k for size in images.shape[-2:])
    rows = images[..., :H, :W].unflatten(-2, (-1, k)).sum(dim=-2)
    columns = [rows[..., i::k] for i in range(k)]
    return sum(columns[1:], start=columns[0]) / k**2


def spread_by_shifts(gradient: torch.Tensor, k: int) -> torch.Tensor:
    """Gives each of k×k pixels an equal share, (…, h, w) -> (…, k·h, k·w), as a CPU does it."""
    *others, h, w = gradient.shape
    share = gradient / k**2
    rows = gradient.new_empty((*others, h, k * w))
    for i in range(k):
        rows[..., i::k] = share
    return rows.unsqueeze(-2).expand(*others, h, k, k * w).reshape(*others, k * h, k * w)


def spread_at_once(gradient: torch.Tensor, k: int) -> torch.Tensor:
    """The same in one pass over the images."""
    cell = gradient.new_full((k, 1, k), 1 / k**2)
    return (gradient[..., :, None, :, None] * cell).flatten(-2).flatten(-3, -2)


def resize(images: torch.Tensor, *sizes: tuple[int, int]) -> torch.Tensor:
    """Resizes (N, C, H, W) to (N, C, H', W'), to each of ``sizes`` in turn, by bilinear interpolation.

    Pixels are as large as their distance (half-pixel centres), and there is no anti-aliasing.
    """
    if images.device.type == "cpu":
        return interpolate(images, sizes)
    return _Resize.apply(images, sizes)


class _Resize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
        ctx.sizes = (tuple(images.shape[-2:]), *sizes)
        return interpolate(images, sizes)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return resize_transposed(gradient, ctx.sizes), None


def interpolate(images: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Resizes to each of ``sizes``. On a GPU, PyTorch's gradient of it adds in any order."""
    for size in sizes:
        images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    return images


def resize_transposed(gradient: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Passes a gradient (N, C, H', W') back through :func:`interpolate` as two products with matrices -> (N, C, H, W).

    Args:
        gradient: of the last size.
        sizes: that of the images before, and then those that they were given in turn.
    """
    rows, columns = (_resizing_matrix(lengths, gradient.dtype, gradient.device) for lengths in zip(*sizes, strict=True))
    return products(gradient, rows, columns)


def products(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Multiplies each plane (H, W) by matrices: rows (h, H) · plane · columnsᵀ (W, w); (N, C, H, W) -> (N, C, h, w)."""
    N, C, H, W = images.shape
    wide = torch.mm(images.reshape(-1, W), columns.mT)  # (N·C·H, w)
    planes = torch.bmm(rows.expand(N * C, -1, -1), wide.view(N * C, H, len(columns)))
    return planes.view(N, C, len(rows), len(columns))


@lru_cache(maxsize=32)
def _resizing_matrix(lengths: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Returns the matrix (n, n') by which a row vector of n = lengths[0] pixels is resized: what becomes of unit
    vectors."""
    with torch.inference_mode(False):
        rows = torch.eye(lengths[0], dtype=dtype)[None]
        for length in lengths[1:]:
            rows = F.interpolate(rows, size=length, mode="linear", align_corners=False)
        return to_device(rows[0], device)


def to_device(constant: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copies a tensor of the CPU to a device, without making the host wait."""
    return constant.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else constant.to(device)
