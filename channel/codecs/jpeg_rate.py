"""How many bits JPEG spends on DCT coefficients: an estimate with a gradient.

JPEG codes a coefficient other than zero by a Huffman code for its size together with the run of zeros before it, and as
many further bits as its size; of the first coefficient, the DC, it codes the difference to that of the block before. So
bits are counted here: so many for every block, for every AC coefficient other than zero, and for the logarithms of
magnitudes. That the first two dominate is the ρ-domain model of He & Mitra 2001.

The weights are least squares of the relative error to libjpeg's own bytes with optimized codes, less the header, at
11 qualities from 5 to 98 in 4:4:4 and 4:2:0. `experiments/rate_of_jpeg.py` fits them again, on 19 photographs of 1200
pixels, and finds these within 0.02. On 19 others estimates are 0.99 to 1.00 of the bytes on average at every quality,
with a relative error of 3 to 4 % (RMS), at most 13 %; on parts of 256×256 pixels, 1.00 to 1.02, of 3 to 5 % and 23 %.
Tables of steps times random factors, e^±0.5 at most, break runs of zeros: 0.98 to 0.99. The entropy of quantized
Laplacians (Lam & Goodman 2000), one per frequency, is 0.47 of the bytes at quality 5, 0.70 at 10 and 0.86 at 20.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from channel import quantization

# Bits: of a block, of an AC coefficient other than zero, and, by log₂(1 + magnitude), of AC and of differences of DC.
WEIGHTS = (1.94, 3.60, 1.05, 2.47)


def bits(coefficients: Tensor) -> Tensor:
    """Returns the bits that coefficients in units of their steps, not yet rounded, take in a file; without its header.

    The value is that of the rounded coefficients. The gradient is that of coefficients rounded by the paper's sinusoid
    (:func:`channel.quantization.sinusoidal`): it is largest halfway between whole numbers, where the file would change.

    Args:
        coefficients: (C, N, h, w, 64), as :func:`channel.codecs.jpeg.dct` returns them.

    Returns:
        A scalar.
    """
    rounded = counted(coefficients.detach().round())
    return quantization.replace(counted(quantization.sinusoidal(coefficients)), lambda _: rounded)


def counted(coefficients: Tensor, weights: Sequence[float] = WEIGHTS) -> Tensor:
    """Returns the bits, a scalar, that coefficients (C, N, h, w, 64) take as they are: linear in the four weights."""
    block, nonzero, magnitude, of_difference = weights
    blocks = coefficients.flatten(2, 3)  # (C, N, h·w, 64) in the order of the file, but for luminance in 4:2:0
    dc, ac = blocks[..., 0], blocks[..., 1:].abs()
    difference = dc.diff(dim=-1, prepend=torch.zeros_like(dc[..., :1])).abs()
    of_ac = (magnitude * torch.log2(1 + ac)).add(ac.clamp(max=1), alpha=nonzero).sum()
    return of_ac + of_difference * torch.log2(1 + difference).sum() + block * dc.numel()
