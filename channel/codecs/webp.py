"""WebP, lossy, by libwebp through Pillow."""

import numpy as np

from channel.codecs.codec import Codec, through_pillow


def encode(pixels: np.ndarray, quality: int, subsampling: str) -> np.ndarray:
    return through_pillow(pixels, format="WEBP", quality=quality)


CODEC = Codec(encode, subsamplings=("4:2:0",))  # Pillow's WebP supports no other
