"""Central crops that keep the phase of everything periodic in a photograph."""

import math

from torch import Tensor

GRID = 32  # crops start at its multiples: this keeps the phase of the CFA, of JPEG's blocks and of a UNet's pooling


def central_crop(image: Tensor, pixels: int) -> Tensor:
    """The middle of an image (N, 3, H, W), of at most so many pixels: a square if one fits; with even sides.

    Its position differs from the exact centre by less than `GRID`, so that periodic structures keep their phase.
    Raises ValueError for fewer than 2×2 pixels.
    """
    top, left, height, width = crop_box(image.shape[-2], image.shape[-1], pixels)
    return image[..., top : top + height, left : left + width]


def crop_box(height: int, width: int, pixels: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of `central_crop` in an image of this size. The crop of a crop is the crop itself."""
    side = math.isqrt(pixels)
    h = min(height, max(side, pixels // width)) // 2 * 2
    w = min(width, max(side, pixels // height)) // 2 * 2
    if min(h, w) < 2:
        raise ValueError(f"a crop of {pixels} pixels from an image of {height}×{width} is empty")
    return (height - h) // 2 // GRID * GRID, (width - w) // 2 // GRID * GRID, h, w
