"""What a codec is: a real encoder, a differentiable version of it for training, or both; or one that learns."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from channel.codecs.learning import LearningCodec


def from_file(data: bytes) -> np.ndarray:
    """Decodes the bytes of any file that Pillow reads into a picture (H, W, 3) uint8."""
    from PIL import Image  # imported here, so that training needs no Pillow

    with Image.open(io.BytesIO(data)) as opened:
        return np.array(opened.convert("RGB"))


def to_file(pixels: np.ndarray, **options: object) -> bytes:
    """Encodes a picture (H, W, 3) uint8 with Pillow's ``Image.save(**options)``."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **options)  # type: ignore[arg-type]
    return file.getvalue()


@dataclass(frozen=True)
class Codec:
    """A codec; its name is that of the file which defines it.

    Attributes:
        encode: compresses a picture (H, W, 3) uint8 at a quality and a chroma subsampling into the bytes of a file.
            None: there is no real encoder, or it needs weights.
        decode: the picture of such bytes.
        differentiable: builds a module (N, 3, H, W) in [0, 1] → same from a quality, a rounding and a subsampling
            (:class:`channel.Channel`). None: training passes through `encode`, with the gradient of dJPEG.
        learning: builds a codec with weights: from its settings, as keywords; and where it is not ``pretrained``, from
            a quality, a rounding and a subsampling, too. None: it has no weights.
        pretrained: whether the weights that it starts from come from a pre-training.
        qualities: those that there are.
        subsamplings: that `encode` takes; the first is the default.
        as_jpeg: qualities, and for each the quality of libjpeg that costs a small photograph as many dB; between them,
            it is interpolated. It chooses the dJPEG that lends `encode` its gradient.
        version: raise it when a change of the codec changes results: keys of finished work that used it then no longer
            match.
    """

    encode: Callable[[np.ndarray, int, str], bytes] | None = None
    decode: Callable[[bytes], np.ndarray] = from_file
    differentiable: Callable[[int, str, str], nn.Module] | None = None
    learning: Callable[..., LearningCodec] | None = None
    pretrained: bool = False
    qualities: tuple[int, ...] = tuple(range(1, 101))
    subsamplings: tuple[str, ...] = ("4:4:4",)
    as_jpeg: tuple[tuple[int, int], ...] = ((1, 1), (100, 100))
    version: int = 1

    def jpeg_quality(self, quality: int) -> int:
        """Returns the quality of dJPEG that lends its gradient to a quality of `encode`."""
        qualities, of_jpeg = zip(*self.as_jpeg, strict=True)
        return round(float(np.interp(quality, qualities, of_jpeg)))
