"""The distribution channel: what a photo sharing service does to a photograph (paper, section 4.1)."""

from collections.abc import Sequence

import torch
from torch import nn

from channel.codecs import CODECS, differentiable
from channel.filters import average
from channel.manipulations import Manipulation
from channel.precision import full_precision

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 2


class Channel(nn.Module):
    """Down-sampling by averages of k×k pixels, then a codec.

    Args:
        downsample: k; 1 keeps the size. The paper's 2 equals bilinear interpolation at 1:2.
        codec: ``name:QUALITY`` of a codec with a differentiable version, e.g. ``jpeg:50``, or ``none``.
        rounding, subsampling: of dJPEG (:class:`channel.DifferentiableJPEG`).

    Raises:
        ValueError: any other setting.
    """

    def __init__(
        self, downsample: int = 2, codec: str = "jpeg:50", rounding: str = "sin", subsampling: str = "4:4:4"
    ) -> None:
        super().__init__()
        if downsample != int(downsample) or downsample < 1:
            raise ValueError(f"downsample must be a whole number of at least 1, not {downsample}")
        self.downsample = int(downsample)
        self.codec = differentiable(codec, rounding, subsampling)

    @full_precision
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, ⌊H/k⌋, ⌊W/k⌋) in [0, 1]; pixels beyond whole cells of k×k are dropped.

        Raises:
            ValueError: images smaller than k×k.
        """
        if self.downsample > min(images.shape[-2:]):
            raise ValueError(f"images of {tuple(images.shape[-2:])} are too small for 1:{self.downsample}")
        if self.downsample > 1:
            images = average(images, self.downsample)
        return self.codec(images)

    def extra_repr(self) -> str:
        return f"downsample={self.downsample}"


def versions(manipulations: Sequence[str], codec: str) -> dict[str, int]:
    """Returns the versions of the channel, of these manipulations and of this codec, by part: keys contain them.

    Args:
        manipulations: as :class:`channel.Manipulations` takes them.
        codec: as :class:`Channel` or :func:`channel.encode` takes it; ``none`` has no version.
    """
    parts = [Manipulation.parse(spec) for spec in manipulations]
    name = codec.partition(":")[0]
    return {
        "channel": VERSION,
        **{f"manipulation {part.name}": part.operator.version for part in parts},
        **({f"codec {name}": CODECS[name].version} if name in CODECS else {}),
    }
