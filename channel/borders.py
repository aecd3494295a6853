"""Borders of images.

The backward passes of PyTorch's own padding add in whatever order a GPU's threads arrive, so that a training could not
be repeated to the bit. Those of joined slices always add in the same order.
"""

import torch


def replicate(images: torch.Tensor, right: int, bottom: int) -> torch.Tensor:
    """Repeats the last column and then the last row of (…, H, W) -> (…, H + bottom, W + right)."""
    for dim, count in ((-1, right), (-2, bottom)):
        if count:
            last = images.narrow(dim, images.shape[dim] - 1, 1)
            images = torch.cat([images, *[last] * count], dim)
    return images


def fold_mirrored(padded: torch.Tensor, radius: int, dim: int) -> torch.Tensor:
    """The transpose of mirroring ``radius`` pixels at both ends of a dimension without repeating the border pixel.

    Adds the pixels beyond the borders to those that they mirror, in place. Returns those between the borders, a view.
    """
    size = padded.shape[dim] - 2 * radius
    inner = padded.narrow(dim, radius, size)
    inner.narrow(dim, 1, radius).add_(padded.narrow(dim, 0, radius).flip(dim))
    inner.narrow(dim, size - 1 - radius, radius).add_(padded.narrow(dim, radius + size, radius).flip(dim))
    return inner


def crop(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The upper left corner of (…, H, W) -> (…, height, width); the images themselves where they have that size."""
    return images if images.shape[-2:] == (height, width) else images[..., :height, :width]
