"""Sharpening (paper, section 4.3 and eq. 4)."""

from typing import Any

import torch

from channel.filters import blur, blur_transposed
from channel.manipulations.operator import Operator

TAPS = (1 / 6, 4 / 6, 1 / 6)
DARKEST = 1e-6  # values below are as good as black


def sharpen(images: torch.Tensor, strength: float) -> torch.Tensor:
    """Unsharp mask of the value V in HSV. Strength 1 is the kernel of the paper's eq. 4,

        (−1 −4 −1 / −4 26 −4 / −1 −4 −1) / 6,    that is V + 6 (V − V blurred by (1 4 1)/6 both ways).

    V is max(R, G, B). Scaling the three alike changes V, but neither hue nor saturation. The gradient passes the clip
    of the new V straight through, and that of V goes to the largest of R, G and B, or to all that are as large.
    """
    return _Sharpen.apply(images, 1 + 6 * strength)


class _Sharpen(torch.autograd.Function):
    """Written by hand: autograd derives twice the passes over the images."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, weight: float) -> torch.Tensor:
        V = images.amax(dim=1, keepdim=True)
        sharpened = torch.lerp(blur(V, TAPS), V, weight)
        gain = sharpened.clamp_(0, 1).div_(V.clamp_min(DARKEST))  # black stays black: no neighbour is darker
        ctx.weight = weight
        ctx.save_for_backward(images, V, gain)
        return images * gain

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        images, V, gain = ctx.saved_tensors
        by_sharpened = (gradient * images).sum(dim=1, keepdim=True).div_(V.clamp_min(DARKEST))
        by_value = torch.lerp(blur_transposed(by_sharpened, TAPS), by_sharpened, ctx.weight)
        by_value.addcmul_(by_sharpened, gain, value=-1)
        largest = images == V
        by_value.div_(largest.sum(dim=1, keepdim=True))
        return torch.addcmul(gradient * gain, largest, by_value), None


OPERATOR = Operator(sharpen, default=1, low=0.01, high=10, version=2)
