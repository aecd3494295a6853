"""UNet: the encoder-decoder with skip connections, developing at half resolution."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.bayer import bilinear_cells
from models.hinges import gamma_hinges
from models.nip import NIP, Matrix, clip
from models.precision import no_autocast

WIDTHS = (32, 64, 128, 256, 512)


class Block(nn.Module):
    """cᵢ: two 3×3 convolutions of one width, each followed by a leaky ReLU (α = 0.2)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(inputs, width, 3, padding=1)
        self.c2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.c1(x), 0.2, inplace=True)
        return F.leaky_relu(self.c2(x), 0.2, inplace=True)


def set_first(layer: nn.Conv2d, weight: Tensor, bias: Tensor | float, skipped: int = 0) -> None:
    """Sets the first m outputs of a layer.

    Args:
        layer: to change.
        weight: (m, n, 3, 3), or (m, n) for the middle tap, of the n inputs after the `skipped` ones. All other weights
            of these outputs become zero.
        bias: (m,), or one number.
    """
    m, n = weight.shape[:2]
    layer.weight[:m] = 0
    if weight.ndim == 2:
        middle = layer.kernel_size[0] // 2
        layer.weight[:m, skipped : skipped + n, middle, middle] = weight
    else:
        layer.weight[:m, skipped : skipped + n] = weight
    layer.get_parameter("bias")[:m] = bias


class UNet(NIP):
    """UNet after Chen et al. 2018, Learning to See in the Dark (supplement Table 3): 7,760,268 parameters.

    ::

        bayer ── c₁ 32 ───────────────────────── | ── c₉ 32 ── 1×1 conv 12 ── depth to space ── clip ── y
        (N,4,h,w)   └ pool ── c₂ 64 ──────────── | ── c₈ ── s₈ ┘                              (N,3,2h,2w)
                          └ pool ── c₃ 128 ───── | ── c₇ ── s₇ ┘
                                └ pool ── c₄ 256 | ── c₆ ── s₆ ┘          s: transposed 2×2 convolution
                                      └ pool ─── c₅ 512 ─── s₅ ┘          |: concatenation

    h and w may be any size: pooling keeps an odd last row or column, and each upsampling is cropped to its skip.
    """

    def __init__(self, cfa: str = "RGGB", cam2srgb: Matrix | None = None) -> None:
        super().__init__(cfa, cam2srgb)
        self.down = nn.ModuleList(Block(inputs, width) for inputs, width in pairwise((4, *WIDTHS)))
        steps = list(pairwise(reversed(WIDTHS)))  # 512→256, …, 64→32
        self.s = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2, bias=False) for a, b in steps)
        self.up = nn.ModuleList(Block(a, b) for a, b in steps)  # a = b from s + b from the skip
        self.c10 = nn.Conv2d(WIDTHS[0], 12, 1)

    def initialise(self, generator: torch.Generator) -> None:
        """Sets He-normal weights and zero biases.

        With the authors' Glorot weights the signal fades over 23 layers, and training starts slowly.
        """
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                # Torch counts four taps for each input channel; at stride 2 only one of them meets an output pixel.
                std = math.sqrt(2 / ((1 + 0.2**2) * module.in_channels))
                nn.init.normal_(module.weight, std=std, generator=generator)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.2, generator=generator)
                nn.init.zeros_(module.get_parameter("bias"))

    @torch.no_grad()
    def start_as_standard(self) -> None:
        """Makes twelve channels of c₁, 24 of c₉ and the last layer the standard pipeline; the rest stays random.

        ::

            c₁ ── bilinear demosaicing ── 12 ──────────── identity ── 12 ── |
            c₉ ── colours, two hinges for each output ─ 24 ─ two hinges ─ 24 ── 1×1 conv 12

        What comes from below, and the other channels, add nothing at first: their weights in c₉ and in the last layer
        are zero.
        """
        c1, c9 = self.down[0], self.up[-1]
        assert isinstance(c1, Block)
        assert isinstance(c9, Block)
        a, b, w, d, c, e = (value.float() for value in gamma_hinges())
        colours = torch.kron(torch.tensor(self.cam2srgb), torch.eye(4))  # (12, 12): output 4·colour + position
        each = torch.eye(12)
        set_first(c1.c1, bilinear_cells(self.settings["cfa"]), 0)
        set_first(c1.c2, each, 0)
        set_first(c9.c1, torch.kron(colours, a[:, None]), b.repeat(12), skipped=WIDTHS[0])
        set_first(c9.c2, torch.kron(each, w), d.repeat(12))
        set_first(self.c10, torch.kron(each, c[None, :]), e)

    def forward(self, bayer: Tensor) -> Tensor:
        skips = [self.down[0](bayer)]
        for c in self.down[1:]:
            skips.append(c(F.max_pool2d(skips[-1], 2, ceil_mode=True)))
        x = skips.pop()
        for s, c in zip(self.s, self.up, strict=True):
            skip = skips.pop()
            x = c(torch.cat([s(x)[..., : skip.shape[-2], : skip.shape[-1]], skip], dim=1))
        with no_autocast(bayer):  # bfloat16 would put pixels on a grid of 1/256, a trace that no camera leaves
            return clip(F.pixel_shuffle(self.c10(x.to(self.c10.weight)), 2))
