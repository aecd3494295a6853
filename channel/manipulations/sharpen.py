"""Sharpening (paper, section 4.3 and eq. 4)."""

import torch

from channel.filters import blur
from channel.manipulations.operator import Operator
from channel.quantization import clip


def sharpen(images: torch.Tensor, strength: float) -> torch.Tensor:
    """Unsharp mask of the value V in HSV. Strength 1 is the kernel of the paper's eq. 4,

        (−1 −4 −1 / −4 26 −4 / −1 −4 −1) / 6,    that is V + 6 (V − V blurred by (1 4 1)/6 both ways).

    V is max(R, G, B). Scaling the three alike changes V, but neither hue nor saturation.
    """
    V = images.amax(dim=1, keepdim=True)
    sharpened = clip(V + 6 * strength * (V - blur(V, (1 / 6, 4 / 6, 1 / 6))))
    return images * (sharpened / V.clamp_min(1e-6))  # black stays black, since no neighbour is darker


OPERATOR = Operator(sharpen, default=1, low=0.01, high=10)
