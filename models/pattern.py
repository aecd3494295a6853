"""Pattern: a pre-trained NIP that stays as it is, plus a learned pattern: the baseline of joint training."""

from math import lcm
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.nip import NIP, Matrix, clip
from models.unet import UNet


class Pattern(NIP):
    """Adds one learned RGB tile to all photographs of a UNet that does not learn: 3·side² parameters that do.

    ::

        bayer ── UNet, frozen ── + ── clip ── y
        (N,4,h,w)                └── tile, repeated from the photograph's corner    (N,3,2h,2w)

    It is the cheapest watermark there is, and anybody can average it out or copy it. What joint training of the UNet
    reaches beyond it, at equal PSNR, is not just a fixed pattern. The tile starts at zero: until it learns, and in mode
    *fixed*, this is the UNet.

    Args:
        side: of the tile, in pixels of the photograph.

    Raises:
        ValueError: `side` is below 1.
    """

    base: ClassVar[str | None] = "UNet"

    def __init__(self, cfa: str = "RGGB", cam2srgb: Matrix | None = None, side: int = 16) -> None:
        super().__init__(cfa, cam2srgb, side=side)
        if side < 1:
            raise ValueError(f"side must be at least 1, not {side}")
        self.nip = UNet(cfa, cam2srgb)
        self.period = lcm(self.nip.period, lcm(side, 2) // 2)
        self.tile = nn.Parameter(torch.zeros(3, side, side))

    def initialise(self, generator: torch.Generator) -> None:
        """Sets the UNet's starting weights, and zeros in the tile."""
        self.nip.initialise(generator)
        nn.init.zeros_(self.tile)

    def start_as_standard(self) -> None:
        self.nip.start_as_standard()

    @classmethod
    def starting_from(cls, pretrained: NIP, *, pattern: int = 16, **training: Any) -> NIP:
        """Returns a pre-trained UNet with a tile of `training.pattern` × `training.pattern` pixels, zero so far.

        Raises:
            ValueError: `pretrained` is no UNet.
        """
        if pretrained.name != cls.base:
            raise ValueError(f"{cls.__name__} starts from a {cls.base}, not from a {pretrained.name}")
        nip = cls(**pretrained.settings, side=pattern)
        nip.nip.load_state_dict(pretrained.state_dict())
        return nip

    def learning(self) -> list[nn.Parameter]:
        return [self.tile]

    def forward(self, bayer: Tensor) -> Tensor:
        developed = self.nip(bayer)
        height, width = developed.shape[-2:]
        side = self.tile.shape[-1]
        # Rounded up so that an export to ONNX keeps it a function of the size; of −(−h // side) it makes a constant.
        tiles = self.tile.repeat(1, (height + side - 1) // side, (width + side - 1) // side)
        return clip(developed + tiles[:, :height, :width])
