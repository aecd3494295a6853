"""Down-sampling: means of k×k pixels, or Pillow's filters at any factor."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from channel.filters import average, products, to_device


def _triangle(x: torch.Tensor) -> torch.Tensor:
    return 1 - x.abs()


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Catmull-Rom's spline, Keys' with a = −1/2."""
    x = x.abs()
    return torch.where(x < 1, (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2)


def _windowed_sinc(x: torch.Tensor) -> torch.Tensor:
    return torch.sinc(x) * torch.sinc(x / 3)


MEAN = "mean"
# By name: the radius at the size of the smaller image, and the filter, which is zero beyond.
FILTERS: dict[str, tuple[int, Callable[[torch.Tensor], torch.Tensor]]] = {
    "bilinear": (1, _triangle),
    "bicubic": (2, _cubic),
    "lanczos": (3, _windowed_sinc),
}
KERNELS = (MEAN, *FILTERS)


@dataclass(frozen=True)
class Factors:
    """The factors 1:f from which one is drawn for every batch; ``low`` = ``high`` for a fixed one."""

    low: float
    high: float
    kernel: str = MEAN

    @classmethod
    def parse(cls, downsample: int | float | str, kernel: str = MEAN) -> "Factors":
        """``2``, ``1.5`` or ``1.5-4``.

        Raises:
            ValueError: anything else, or means of other than whole numbers.
        """
        if kernel not in KERNELS:
            raise ValueError(f"unknown kernel {kernel!r}: choose one of {', '.join(KERNELS)}")
        number = r"(\d+\.?\d*)"
        match = re.fullmatch(f"{number}(?:-{number})?", str(downsample).replace(" ", ""))
        low, high = (float(match[1]), float(match[2] or match[1])) if match else (0.0, 0.0)
        if not 1 <= low <= high:
            raise ValueError(f"downsample must be a number of at least 1 or a range such as 2-4, not {downsample}")
        if kernel == MEAN and not (low.is_integer() and high.is_integer()):
            others = ", ".join(FILTERS)
            raise ValueError(f"downsample must be whole for means, not {downsample}: or choose the kernel {others}")
        return cls(_whole(low), _whole(high), kernel)

    @property
    def value(self) -> float | str:
        """As a study file writes it: a number, or a range."""
        return self.low if self.low == self.high else f"{self.low:.12g}-{self.high:.12g}"

    def pick(self, uniform: float) -> float:
        """Returns a factor for a uniform number in [0, 1): of means a whole number."""
        if self.low == self.high:
            return self.low
        if self.kernel == MEAN:
            return self.low + int(uniform * (self.high - self.low + 1))
        return self.low + uniform * (self.high - self.low)


def _whole(number: float) -> float:
    return int(number) if number.is_integer() else number


def shrink(images: torch.Tensor, factor: float, kernel: str = MEAN) -> torch.Tensor:
    """Shrinks images 1:f, (N, C, H, W) -> (N, C, ⌊H/f⌋, ⌊W/f⌋), of any range of values.

    Args:
        factor: f ≥ 1; 1 changes nothing.
        kernel: ``mean`` of f×f pixels, which drops pixels beyond whole cells; or as Pillow's ``Image.resize`` resizes
            to that size: ``bilinear``, ``bicubic`` or ``lanczos`` filter, widened by the factor. The last two overshoot
            at edges.

    Raises:
        ValueError: images of less than f pixels.
    """
    if factor > min(images.shape[-2:]):
        raise ValueError(f"images of {tuple(images.shape[-2:])} are too small for 1:{factor:g}")
    if factor == 1:
        return images
    if kernel == MEAN:
        return average(images, int(factor))
    rows, columns = (
        resampling_matrix(size, int(size / factor + 1e-9), kernel, images.dtype, images.device)
        for size in images.shape[-2:]
    )
    return products(images, rows, columns)


@lru_cache(maxsize=512)  # a drawn factor leads to one of a few hundred sizes
def resampling_matrix(size: int, smaller: int, kernel: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Returns the matrix (smaller, size) that Pillow multiplies a line of pixels by.

    The filter is centred on each pixel of the smaller image, takes the pixels whose centres it covers, and its weights
    sum to 1.
    """
    radius, weight = FILTERS[kernel]
    scale = size / smaller
    with torch.inference_mode(False):
        centres = (torch.arange(smaller, dtype=torch.float64)[:, None] + 0.5) * scale
        pixels = torch.arange(size, dtype=torch.float64)
        first, last = ((centres + side * scale + 0.5).floor() for side in (-radius, radius))
        weights = weight((pixels + 0.5 - centres) / scale).where((first <= pixels) & (pixels < last), 0)
        return to_device((weights / weights.sum(dim=1, keepdim=True)).to(dtype), device)
