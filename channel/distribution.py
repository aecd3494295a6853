"""The distribution channel: what a photo sharing service does to a picture (paper, section 4.1)."""

import torch
from torch import nn

from channel.filters import average
from channel.jpeg import DifferentiableJPEG
from channel.precision import full_precision


def build_codec(codec: str, rounding: str, subsampling: str) -> nn.Module:
    """``jpeg:QUALITY`` or ``none`` as a module (N, 3, H, W) -> same. Raises ValueError for anything else."""
    name, _, quality = codec.partition(":")
    if codec == "none":
        return nn.Identity()
    if name == "jpeg" and quality.isdecimal():
        return DifferentiableJPEG(int(quality), rounding, subsampling)
    raise ValueError(f"unknown codec {codec!r}: write jpeg:QUALITY, e.g. jpeg:50, or none")


class Channel(nn.Module):
    """Down-sampling by averages of k×k pixels, then a codec.

    Args:
        downsample: k; 1 keeps the size. The paper's 2 equals bilinear interpolation at 1:2.
        codec: ``jpeg:QUALITY`` or ``none``.
        rounding, subsampling: those of dJPEG.

    Raises ValueError for any other setting.
    """

    def __init__(
        self, downsample: int = 2, codec: str = "jpeg:50", rounding: str = "sin", subsampling: str = "4:4:4"
    ) -> None:
        super().__init__()
        if downsample != int(downsample) or downsample < 1:
            raise ValueError(f"downsample must be a whole number of at least 1, not {downsample}")
        self.downsample = int(downsample)
        self.codec = build_codec(codec, rounding, subsampling)

    @full_precision
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, ⌊H/k⌋, ⌊W/k⌋) in [0, 1]; what lies beyond whole cells is dropped.

        Raises ValueError for images smaller than k×k.
        """
        if self.downsample > min(images.shape[-2:]):
            raise ValueError(f"images of {tuple(images.shape[-2:])} are too small for 1:{self.downsample}")
        if self.downsample > 1:
            images = average(images, self.downsample)
        return self.codec(images)

    def extra_repr(self) -> str:
        return f"downsample={self.downsample}"
