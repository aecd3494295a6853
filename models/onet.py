"""ONet: no pipeline at all, for photographs that are developed already."""

from typing import ClassVar

from torch import Tensor

from models.nip import NIP, clip


class ONet(NIP):
    """Passes developed RGB through, like the toolbox's model of that name: 0 parameters.

    Unlike the others it takes RGB (N,3,H,W), not Bayer stacks. Its `reads` is "target", so that a loop which
    feeds a NIP with `getattr(patches, nip.reads)` needs no special case.

    Raises:
        ValueError: given a Bayer stack.
    """

    reads: ClassVar[str] = "target"

    def forward(self, rgb: Tensor) -> Tensor:
        if rgb.ndim != 4 or rgb.shape[1] != 3:
            raise ValueError(f"ONet takes developed RGB (N,3,H,W), not a tensor of shape {tuple(rgb.shape)}")
        return clip(rgb)
