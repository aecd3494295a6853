"""ONet: no pipeline at all, for photographs that are developed already."""

from typing import ClassVar

from torch import Tensor

from models.nip import NIP, Matrix, clip


class ONet(NIP):
    """Passes developed RGB through, like the toolbox's model of that name: 0 parameters.

    Unlike the others it takes RGB (N,3,H,W), not Bayer stacks: its `reads` is "target". Whatever feeds a NIP from
    `cameras.patches.Patches` takes `getattr(patches, nip.reads)`, so that there is no special case for it.

    Raises:
        ValueError: given a Bayer stack.
    """

    reads: ClassVar[str] = "target"

    def __init__(self, cfa: str = "RGGB", cam2srgb: Matrix | None = None) -> None:
        super().__init__(cfa, cam2srgb)

    def forward(self, rgb: Tensor) -> Tensor:
        if rgb.ndim != 4 or rgb.shape[1] != 3:
            raise ValueError(f"ONet takes developed RGB (N,3,H,W), not a tensor of shape {tuple(rgb.shape)}")
        return clip(rgb)
