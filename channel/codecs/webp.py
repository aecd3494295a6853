"""WebP, lossy, by libwebp through Pillow."""

import numpy as np

from channel.codecs.codec import Codec, to_file


def encode(pixels: np.ndarray, quality: int, subsampling: str) -> bytes:
    return to_file(pixels, format="WEBP", quality=quality)


CODEC = Codec(
    encode,
    subsamplings=("4:2:0",),  # Pillow's WebP supports no other
    as_jpeg=((1, 10), (10, 20), (20, 32), (30, 46), (40, 62), (60, 76), (80, 87), (90, 94), (100, 98)),
)
