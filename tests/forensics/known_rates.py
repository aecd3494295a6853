"""A picture to compress, and results of codecs that were never run."""

import numpy as np
import torch

from cameras.scenes import dead_leaves
from forensics.compression.rates import Rate

HEIGHT, WIDTH = 182, 196


def leaves() -> torch.Tensor:
    """A photograph (3,H,W) uint8: dead leaves with a little noise."""
    generator = np.random.default_rng(3)
    scene = dead_leaves(HEIGHT, WIDTH, generator) + generator.normal(0, 0.01, (HEIGHT, WIDTH, 3))
    return torch.from_numpy(np.rint(255 * scene.clip(0, 1)).astype(np.uint8)).movedim(-1, 0)


def rate(codec: str, quality: str = "1", photograph: str = "a", bpp: float = 1, psnr: float = 30) -> Rate:
    return Rate(photograph, codec, quality, 8, 8, 8, bpp, psnr, 0.9, 0.9)
