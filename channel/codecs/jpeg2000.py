"""JPEG 2000 by OpenJPEG through Pillow. Its quality is the PSNR in dB that it aims at."""

import numpy as np

from channel.codecs.codec import Codec, through_pillow


def encode(pixels: np.ndarray, quality: int, subsampling: str) -> np.ndarray:
    return through_pillow(pixels, format="JPEG2000", irreversible=True, quality_mode="dB", quality_layers=[quality])


CODEC = Codec(encode)
