"""FAN: the forensic analysis network (section 4.4 and supplement Table 6).

    received (N,3,H,W)
      └ constrained 5×5, 3→3 ── residual, linear          (Bayar & Stamm 2018)
          └ [5×5 conv, leaky ReLU, 2×2 max pool] × 4 ── 32·64·128·256
              └ 1×1 conv 256, leaky ReLU
                  └ global average pooling
                      └ dense 512, dense 128, leaky ReLU
                          └ dense ── logits (N, classes)

1,341,990 parameters for five classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cameras.padding import replicate
from models.precision import no_autocast

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 1
SLOPE = 0.2  # of the leaky ReLU, as in the NIPs
WIDTHS = (32, 64, 128, 256)
CELL = 2 ** len(WIDTHS)  # side in pixels of what one value of the deepest features stands for


class ConstrainedConv2d(nn.Module):
    """Convolution that can only learn prediction residuals (Bayar & Stamm 2018, scaled as in the paper's code).

    Of each output channel's 75 weights, the centre of its own input channel is −100, and the 74 others are scaled to
    sum to +100, so that a constant image gives zero. The constraint is part of the forward pass: gradients flow through
    it, and no projection is needed after a step.
    """

    STRENGTH = 100.0

    centre: Tensor

    def __init__(self, channels: int = 3, size: int = 5) -> None:
        super().__init__()
        start = torch.zeros(size, size)
        middle = size // 2
        start[middle - 1 : middle + 2, middle - 1 : middle + 2] = torch.tensor(
            [[-1.0, -2.0, -1.0], [-2.0, 12.0, -2.0], [-1.0, -2.0, -1.0]]
        )
        own = torch.eye(channels)[:, :, None, None]  # (out, in, 1, 1): no cross-channel weights at the start
        self.weight = nn.Parameter(own * start)
        centre = torch.zeros(channels, channels, size, size)
        centre[range(channels), range(channels), middle, middle] = 1.0
        self.register_buffer("centre", centre, persistent=False)
        self.padding = middle

    def kernel(self) -> Tensor:
        """Returns the constrained weights (out, in, size, size)."""
        free = self.weight * (1 - self.centre)
        free = free / free.sum(dim=(1, 2, 3), keepdim=True)
        return self.STRENGTH * (free - self.centre)

    def forward(self, images: Tensor) -> Tensor:
        # The residual is a small difference of large terms, which bfloat16 would lose.
        with no_autocast(images):
            # Edges are replicated: zero padding would draw a frame of ±100 around each patch.
            padded = replicate(images.float(), self.padding)
            return F.conv2d(padded, self.kernel())


def build(name: str, classes: int) -> "FAN":
    """Builds a FAN for ``models.load(path, build=forensics.fan.build)``, from a file that ``models.save`` wrote."""
    if name != FAN.name:
        raise ValueError(f"these are weights of a {name}, not of a FAN")
    return FAN(classes)


class FAN(nn.Module):
    """Forensic analysis network.

    Args:
        classes: number of processing histories to tell apart, native included.
        generator: draws the starting weights; they depend on its state alone.

    ``forward`` takes received images (N,3,H,W) in [0,1] with H, W ≥ 16, and returns logits (N, classes), always
    float32.
    """

    name = "FAN"

    def __init__(self, classes: int = 5, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.settings = {"classes": classes}
        self.residual = ConstrainedConv2d()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(below, above, 5, padding=2) for below, above in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True)
        )
        self.pointwise = nn.Conv2d(WIDTHS[-1], WIDTHS[-1], 1)
        self.dense = nn.ModuleList((nn.Linear(WIDTHS[-1], 512), nn.Linear(512, 128)))
        self.decision = nn.Linear(128, classes)
        self.reset(generator if generator is not None else torch.Generator().manual_seed(0))

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draws MSRA starting weights (He et al. 2015) for every layer but the residual one."""
        for layer in (*self.convolutions, self.pointwise, *self.dense, self.decision):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE, generator=generator)
            nn.init.zeros_(layer.bias)

    def layers(self, received: Tensor) -> list[Tensor]:
        """Computes what every layer makes of (N,3,H,W): the residual (N,3,H,W), (N,32,⌊H/2⌋,⌊W/2⌋), … and the cells."""
        found = [self.residual(received)]
        for convolution in self.convolutions:
            # Pooling before the activation gives the same values, as both are monotonic, from a quarter of the pixels.
            found.append(F.leaky_relu(F.max_pool2d(convolution(found[-1]), 2), SLOPE))
        return [*found, F.leaky_relu(self.pointwise(found[-1]), SLOPE)]

    def cells(self, received: Tensor) -> Tensor:
        """Computes the features (N,256,⌊H/16⌋,⌊W/16⌋) of every cell of 16×16 pixels of (N,3,H,W)."""
        return self.layers(received)[-1]

    def features(self, received: Tensor) -> Tensor:
        """Computes the features (N,256) of (N,3,H,W), from which the dense layers decide."""
        return self.cells(received).mean(dim=(2, 3))

    def hidden(self, features: Tensor) -> Tensor:
        """Computes what the decision is made of (…,128) from features (…,256)."""
        for dense in self.dense:
            features = F.leaky_relu(dense(features), SLOPE)
        return features

    def forward(self, received: Tensor) -> Tensor:
        if min(received.shape[-2:]) < CELL:
            height, width = received.shape[-2:]
            raise ValueError(f"the FAN needs patches of at least {CELL}×{CELL} px, got {height}×{width}")
        return self.decision(self.hidden(self.features(received))).float()
