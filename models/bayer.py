"""Bayer stacks as layers: the fixed 4→12 sample selection, and bilinear demosaicing as a convolution."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cameras.raw import PLANE_COLORS, sample_positions


def selection(cfa: str) -> Tensor:
    """Returns the paper's binary 1×1 convolution 4→12 for one colour filter array.

    It puts every sample back where the sensor measured it. The planes of a stack are R, G₁, G₂, B, where G₁ is the
    first green in row-major order. Output number 4·colour + position is the sample of that colour (R, G, B) at that
    position of the 2×2 cell (row-major), or zero where the sensor measured another colour. `pixel_shuffle` expects
    this order.

    Args:
        cfa: "RGGB", "BGGR", "GBRG" or "GRBG".

    Returns:
        (12, 4, 1, 1) float32, zeros and four ones.

    Raises:
        ValueError: any other `cfa`.
    """
    S = torch.zeros(12, 4, 1, 1)
    for plane, (colour, position) in enumerate(zip(PLANE_COLORS, sample_positions(cfa), strict=True)):
        S[4 * colour + position, plane] = 1
    return S


class SampleSelection(nn.Module):
    """Bayer stack (N,4,h,w) → mosaic (N,3,2h,2w): full resolution, zero wherever a colour was not measured.

    The first two rows of the paper's supplement Table 2, 1×1 selection and depth to space. Not trainable.
    """

    S: Tensor

    def __init__(self, cfa: str) -> None:
        super().__init__()
        self.register_buffer("S", selection(cfa), persistent=False)

    def forward(self, bayer: Tensor) -> Tensor:
        return F.pixel_shuffle(F.conv2d(bayer, self.S), 2)


def bilinear_kernels(size: int) -> Tensor:
    """Returns the kernels of one convolution that demosaics the output of `SampleSelection` bilinearly.

    Args:
        size: side of the kernels, odd, at least 3. Kernels of 3×3 are padded with zeros to this size.

    Returns:
        (3, 3, size, size) float32, diagonal in the colours.
    """
    red_blue = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    green = torch.tensor([[0.0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    kernels = torch.zeros(3, 3, 3, 3)
    for colour, kernel in enumerate((red_blue, green, red_blue)):
        kernels[colour, colour] = kernel
    return F.pad(kernels, [(size - 3) // 2] * 4)


def bilinear_cells(cfa: str) -> Tensor:
    """Returns bilinear demosaicing of Bayer stacks as one 3×3 convolution 4→12, for `pixel_shuffle`.

    Its weights are the answers to one lit cell of each plane.

    Args:
        cfa: of the stacks.

    Returns:
        (12, 4, 3, 3) float32; output number 4·colour + position, as of `selection`.

    Raises:
        ValueError: an unknown `cfa`.
    """
    lit = torch.zeros(4, 4, 5, 5)
    lit[range(4), range(4), 2, 2] = 1
    answers = F.pixel_unshuffle(F.conv2d(SampleSelection(cfa)(lit), bilinear_kernels(3), padding=1), 2)
    return answers[..., 1:4, 1:4].flip(-2, -1).transpose(0, 1)  # what a cell gives to the next, the next takes from it
