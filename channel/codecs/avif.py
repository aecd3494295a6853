"""AVIF by libavif through Pillow."""

import numpy as np

from channel.codecs.codec import Codec, through_pillow


def encode(pixels: np.ndarray, quality: int, subsampling: str) -> np.ndarray:
    return through_pillow(pixels, format="AVIF", quality=quality, subsampling=subsampling)


CODEC = Codec(encode, subsamplings=("4:2:0", "4:2:2", "4:4:4"))
