"""JPEG: dJPEG, a differentiable JPEG compression (paper, section 4.2 and Table 5), and libjpeg through Pillow.

    RGB ─┬─ Y ────────────────── DCT ÷ table ─ ρ ─ × table, inverse DCT ────────────────────── Y ─┬─ RGB
         └─ Cb, Cr ─ (average) ─ DCT ÷ table ─ ρ ─ × table, inverse DCT ─ (interpolate) ─ Cb, Cr ─┘

With ρ = round, dJPEG equals libjpeg up to libjpeg's own rounding of YCbCr and RGB to 8 bits.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from cameras.padding import pad
from channel import quantization
from channel.codecs.codec import Codec, to_file
from channel.filters import average, resize
from channel.precision import full_precision

# Tables K.1 (luminance) and K.2 (chrominance) of the JPEG standard, ITU-T T.81: quality 50.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)

# JFIF. Y is shifted to be centred at zero, as Cb and Cr are here: their offset of 128 and the level shift cancel out.
RGB_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
YCBCR_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))
LEVEL_SHIFT = 128 / 255

SUBSAMPLINGS = ("4:4:4", "4:2:0")


def quantization_tables(quality: int) -> torch.Tensor:
    """Returns the steps for luminance and chrominance (2, 8, 8), int64, by libjpeg's integer rule.

    Raises:
        ValueError: quality is not a whole number from 1 to 100.
    """
    if quality != int(quality) or not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality must be a whole number from 1 to 100, not {quality}")
    scale = 5000 // int(quality) if quality < 50 else 200 - 2 * int(quality)  # per cent
    return ((torch.tensor((LUMINANCE, CHROMINANCE)) * scale + 50) // 100).clamp(1, 255)


def estimated_quality(tables: torch.Tensor) -> int:
    """Returns the quality of libjpeg, 1 to 100, whose tables are nearest to the given ones (2, 8, 8).

    Nearest is the least mean of |log ratio| over all steps. For libjpeg's own tables that is their quality.
    """
    known = torch.stack([quantization_tables(quality) for quality in range(1, 101)])
    distances = (tables.detach().cpu().double().log() - known.double().log()).abs().flatten(1).mean(dim=1)
    return 1 + int(distances.argmin())


def dct_matrix(size: int = 8, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Returns D (size, size), the orthonormal DCT: D x Dᵀ transforms a block x."""
    k, n = torch.arange(size, dtype=dtype)[:, None], torch.arange(size, dtype=dtype)
    D = torch.cos(math.pi * k * (2 * n + 1) / (2 * size)) * math.sqrt(2 / size)
    D[0] /= math.sqrt(2)
    return D


def dct_of_blocks() -> torch.Tensor:
    """Returns D⊗D (64, 64) float64: times a flattened block, it is D x Dᵀ."""
    return torch.kron(dct_matrix(), dct_matrix())


def matrices(steps: torch.Tensor, DD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns two stacks of matrices (C, 64, 64) float32 for the quantization steps (C, 8, 8) of C planes.

    A block of 64 pixels, as a row, times the first gives DCT coefficients divided by their steps; these times the
    second give the block again. Both have a gradient where the steps have one. DD is that of :func:`dct_of_blocks`.
    """
    steps = steps.double().reshape(-1, 64, 1)
    return (DD * (255 / steps)).mT.contiguous().float(), (DD * (steps / 255)).float()


def dct(planes: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Planes (N, C, H, W) -> coefficients (C, N, ⌈H/8⌉, ⌈W/8⌉, 64) by the first of :func:`matrices`.

    Edges are replicated to whole blocks.
    """
    C, H, W = planes.shape[1:]
    planes = pad(planes, 0, -W % 8, 0, -H % 8, "replicate")
    grid = planes.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).permute(1, 0, 2, 4, 3, 5)  # (C, N, h, w, 8, 8)
    return torch.bmm(grid.reshape(C, -1, 64), matrix.to(planes)).view(*grid.shape[:4], 64)


def inverse_dct(coefficients: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Coefficients (C, N, h, w, 64) -> planes (N, C, 8h, 8w) by the second of :func:`matrices`."""
    C, N, h, w = coefficients.shape[:4]
    blocks = torch.bmm(coefficients.view(C, -1, 64), matrix.to(coefficients))
    return blocks.view(C, N, h, w, 8, 8).permute(1, 0, 2, 4, 3, 5).reshape(N, C, 8 * h, 8 * w)


def downsample(chroma: torch.Tensor) -> torch.Tensor:
    """Halves chroma planes (N, 2, H, W) -> (N, 2, ⌈H/2⌉, 8·⌈W/16⌉) by means of 2×2, libjpeg's h2v2_downsample.

    Like libjpeg, it replicates the right edge to whole blocks before averaging, but the bottom edge only to an even
    number of rows. The rows still missing there are replicated after averaging.
    """
    H, W = chroma.shape[-2:]
    return average(pad(chroma, 0, -W % 16, 0, H % 2, "replicate"), 2)


def upsample(chroma: torch.Tensor) -> torch.Tensor:
    """Doubles chroma planes (N, 2, H, W) -> (N, 2, 2H, 2W) with weights 3/4 and 1/4, libjpeg's h2v2_fancy_upsample."""
    H, W = chroma.shape[-2:]
    return resize(chroma, (2 * H, 2 * W))


def crop(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The upper left corner of (…, H, W) -> (…, height, width); the images themselves where they have that size."""
    return images if images.shape[-2:] == (height, width) else images[..., :height, :width]


class DifferentiableJPEG(nn.Module):
    """JPEG compression and decompression of RGB images, with a gradient.

    Args:
        quality: 1 to 100; the quantization tables are those of libjpeg.
        rounding: ρ of the DCT coefficients: ``round`` (gradient zero), ``sin`` (paper, eq. 3), ``soft``
            (round forward, sin backward), ``harmonic``, or ``straight-through`` (round forward, identity backward).
            With the latter, the gradient of the whole is the identity at 4:4:4, whatever the quality; at 4:2:0 that
            of the filters for the chroma planes remains.
        subsampling: ``4:4:4``, or ``4:2:0`` with libjpeg's filters for the chroma planes.
        harmonics: number of terms of ``harmonic``.

    Raises:
        ValueError: any other setting.

    The two multiplications of D x Dᵀ are done as one: a flattened block times the 64×64 matrix D⊗D, which also holds
    the scale of 255 and the table. That is four times the arithmetic in less than half the time, since each pass over
    the image in memory costs more than the arithmetic.
    """

    encode: torch.Tensor
    decode: torch.Tensor
    to_ycbcr: torch.Tensor
    to_rgb: torch.Tensor
    black: torch.Tensor
    grey: torch.Tensor

    def __init__(
        self, quality: int = 50, rounding: str = "sin", subsampling: str = "4:4:4", harmonics: int = 5
    ) -> None:
        super().__init__()
        if subsampling not in SUBSAMPLINGS:
            raise ValueError(f"unknown subsampling {subsampling!r}: choose one of {', '.join(SUBSAMPLINGS)}")
        self.quality = quality
        self.rounding = rounding
        self.subsampling = subsampling
        self.rho = quantization.rounding(rounding, harmonics)
        steps = quantization_tables(quality)[[0, 1, 1]]
        encode, decode = matrices(steps, dct_of_blocks())  # (3, 64, 64) of Y, Cb and Cr
        constants = {
            "encode": encode,
            "decode": decode,
            "to_ycbcr": torch.tensor(RGB_TO_YCBCR),
            "to_rgb": torch.tensor(YCBCR_TO_RGB),
            "black": torch.tensor(((-LEVEL_SHIFT,), (0.0,), (0.0,))),  # in YCbCr
            "grey": torch.full((3, 1), LEVEL_SHIFT),  # the RGB of YCbCr = 0
        }
        for name, constant in constants.items():
            self.register_buffer(name, constant.float(), persistent=False)

    @full_precision
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compresses RGB (N, 3, H, W) in [0, 1], any H and W -> same; float32, or float64 for float64.

        The result is clipped to [0, 1] with a straight-through gradient.
        """
        return self.through(images, self.quantize)

    def through(self, images: torch.Tensor, quantize: Callable[[torch.Tensor, int], torch.Tensor]) -> torch.Tensor:
        """As :meth:`forward`, with other quantization than :meth:`quantize`."""
        H, W = images.shape[-2:]
        ycbcr = linear(images, self.to_ycbcr, self.black)
        if self.subsampling == "4:2:0":
            y, cbcr = ycbcr.split((1, 2), dim=1)
            y = quantize(y, 0)
            reduced = quantize(downsample(cbcr), 1)
            cbcr = crop(upsample(crop(reduced, reduced.shape[-2], (W + 1) // 2)), H, W)
            ycbcr = torch.cat((y, cbcr), dim=1)
        else:
            ycbcr = quantize(ycbcr, 0)
        return quantization.clip(linear(ycbcr, self.to_rgb, self.grey))

    def quantize(self, planes: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Quantizes the DCT of planes (N, C, H, W) in blocks of 8×8. Edges are replicated to whole blocks.

        The planes are C of Y, Cb and Cr, from number ``first`` on.
        """
        if self.rounding == "straight-through":  # the inverse DCT undoes the DCT, in the gradient as well
            return quantization.replace(planes, partial(self._quantize, first=first))
        return self._quantize(planes, first)

    def _quantize(self, planes: torch.Tensor, first: int) -> torch.Tensor:
        tables = slice(first, first + planes.shape[1])
        coefficients = self.rho(dct(planes, self.encode[tables]))
        return crop(inverse_dct(coefficients, self.decode[tables]), *planes.shape[-2:])

    def extra_repr(self) -> str:
        return f"quality={self.quality}, rounding={self.rounding!r}, subsampling={self.subsampling!r}"


def linear(images: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Another colour space: matrix (3, 3) · pixels + bias (3, 1), of images (N, 3, H, W)."""
    N = len(images)
    pixels = images.flatten(2)
    return torch.baddbmm(bias.to(pixels), matrix.to(pixels).expand(N, -1, -1), pixels).view(images.shape)


def encode(pixels: np.ndarray, quality: int, subsampling: str) -> bytes:
    """Compresses a picture (H, W, 3) uint8 with libjpeg."""
    return to_file(pixels, format="JPEG", quality=quality, subsampling=subsampling)


CODEC = Codec(encode, differentiable=DifferentiableJPEG, subsamplings=("4:4:4", "4:2:2", "4:2:0"), version=2)
