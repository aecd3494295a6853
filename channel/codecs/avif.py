"""AVIF by libavif through Pillow."""

import numpy as np

from channel.codecs.codec import Codec, to_file


def encode(pixels: np.ndarray, quality: int, subsampling: str) -> bytes:
    # Pillow's default is the number of CPUs. With one thread libaom chooses otherwise than with any other number.
    return to_file(pixels, format="AVIF", quality=quality, subsampling=subsampling, max_threads=2)


CODEC = Codec(
    encode,
    subsamplings=("4:2:0", "4:2:2", "4:4:4"),
    as_jpeg=((1, 1), (10, 9), (20, 15), (30, 23), (40, 41), (50, 70), (60, 83), (80, 94), (100, 98)),
)
