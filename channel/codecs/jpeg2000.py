"""JPEG 2000 by OpenJPEG through Pillow. Its quality is the PSNR in dB that it aims at."""

import numpy as np

from channel.codecs.codec import Codec, to_file


def encode(pixels: np.ndarray, quality: int, subsampling: str) -> bytes:
    return to_file(pixels, format="JPEG2000", irreversible=True, quality_mode="dB", quality_layers=[quality])


CODEC = Codec(
    encode,
    as_jpeg=(
        *((20, 1), (25, 8), (28, 20), (30, 40), (32, 67), (34, 81)),
        *((36, 88), (38, 92), (40, 95), (42, 96), (45, 98), (50, 100)),
    ),
)
