"""What a codec is: a real encoder, a differentiable version of it for training, or both."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn


@dataclass(frozen=True)
class Codec:
    """A codec; its name is that of the file which defines it.

    Attributes:
        encode: compresses and decompresses a picture (H, W, 3) uint8 at a quality (1 to 100) and a chroma subsampling.
            None: there is no real encoder.
        differentiable: builds a module (N, 3, H, W) in [0, 1] → same from a quality, a rounding and a subsampling
            (:class:`channel.Channel`). None: training passes through `encode`, with the gradient of dJPEG.
        subsamplings: that `encode` takes; the first is the default.
        as_jpeg: qualities, and for each the quality of libjpeg that costs a small photograph as many dB; between them,
            it is interpolated. It chooses the dJPEG that lends `encode` its gradient.
        version: raise it when a change of the codec changes results: keys of finished work that used it then no longer
            match.
    """

    encode: Callable[[np.ndarray, int, str], np.ndarray] | None = None
    differentiable: Callable[[int, str, str], nn.Module] | None = None
    subsamplings: tuple[str, ...] = ("4:4:4",)
    as_jpeg: tuple[tuple[int, int], ...] = ((1, 1), (100, 100))
    version: int = 1

    def jpeg_quality(self, quality: int) -> int:
        """Returns the quality of dJPEG that lends its gradient to a quality of `encode`."""
        qualities, of_jpeg = zip(*self.as_jpeg, strict=True)
        return round(float(np.interp(quality, qualities, of_jpeg)))


def through_pillow(pixels: np.ndarray, **options: object) -> np.ndarray:
    """Encodes a picture (H, W, 3) uint8 with Pillow's ``Image.save(**options)``, and decodes it."""
    from PIL import Image  # imported here, so that training needs no Pillow

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **options)  # type: ignore[arg-type]
    with Image.open(file) as opened:
        return np.array(opened.convert("RGB"))
