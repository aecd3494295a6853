"""DNet: joint demosaicing and denoising by a deep stack of normalised convolutions."""

from itertools import pairwise
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cameras.padding import reflect
from models.bayer import SampleSelection, bilinear_kernels
from models.hinges import gamma_chords
from models.nip import NIP, Matrix, clip
from models.precision import no_autocast


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that, while frozen, uses its running statistics even after `.train()`."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.freeze(True)

    def freeze(self, frozen: bool) -> None:
        self.frozen = frozen
        self.train(not frozen)

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and not self.frozen)


class Reflection(nn.Module):
    """Mirrors one pixel at every border, back to the size before a 3×3 convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return reflect(x, 1)


def layer(inputs: int, features: int) -> nn.Sequential:
    """cᵢ: 3×3 convolution without padding, BN, ReLU, and reflection padding back to the size of its input."""
    convolution = nn.Conv2d(inputs, features, 3, bias=False)
    return nn.Sequential(convolution, BatchNorm(features), nn.ReLU(inplace=True), Reflection())


class DNet(NIP):
    """DNet after Gharbi et al. 2016, Joint Demosaicking and Denoising (supplement Table 4): 493,976 parameters.

    ::

        bayer ──┬── c₁ … c₁₄ 64 ── c₁₅ 12 ── depth to space ──┐ f_conv
        (N,4,h,w)                                             | ── c₁₇ 64, ReLU ── 1×1 conv ── clip ── y
                └── S 4→12 ───────────────── depth to space ──┘ f_bayer                       (N,3,2h,2w)

    h and w must be at least 4. The batch normalisation in c₁ … c₁₅ is frozen, see `NIP.freeze_statistics`.
    """

    tolerance: ClassVar[float] = 1e-5  # its slow training sometimes ended early with wrong colours (paper)

    def __init__(self, cfa: str = "RGGB", cam2srgb: Matrix | None = None) -> None:
        super().__init__(cfa, cam2srgb)
        self.c = nn.Sequential(*(layer(a, b) for a, b in pairwise((4, *14 * [64], 12))))
        self.select = SampleSelection(cfa)
        self.c17 = nn.Conv2d(6, 64, 3)
        self.rgb = nn.Conv2d(64, 3, 1, bias=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Sets He-normal weights before a ReLU, Glorot for the last layer: the authors' choice starts all grey."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module is not self.rgb:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(self.c17.get_parameter("bias"))
        nn.init.xavier_uniform_(self.rgb.weight, generator=generator)

    @torch.no_grad()
    def start_as_standard(self) -> None:
        """Makes c₁₇ and the last layer the standard pipeline out of f_bayer; c₁ … c₁₆ stay random.

        Of the 64 features, 21 of each colour are the hinges of the gamma curve, and one is constant. f_conv adds
        nothing at first: its weights in c₁₇ are zero.
        """
        t, c = gamma_chords(21)
        scale = c.sqrt()  # weights into a hinge and out of it are equally large, as in `gamma_hinges`
        srgb = torch.tensor(self.cam2srgb)[:, :, None, None] * bilinear_kernels(3).sum(1)  # (3, 3, 3, 3)
        self.c17.weight.zero_()
        self.c17.weight[:63, 3:] = torch.kron(srgb, -scale[:, None, None, None].float())
        bias = self.c17.get_parameter("bias")
        bias[:63] = (scale * t).repeat(3)
        bias[63] = 1
        self.rgb.weight[:, :63, 0, 0] = torch.kron(torch.eye(3), -(c / scale)[None, :].float())
        self.rgb.weight[:, 63] = 1

    def freeze_statistics(self, frozen: bool = True) -> Self:
        for module in self.modules():
            if isinstance(module, BatchNorm):
                module.freeze(frozen)
        return self

    def forward(self, bayer: Tensor) -> Tensor:
        f_conv = F.pixel_shuffle(self.c(bayer), 2)
        f_bayer = self.select(bayer)
        c17 = F.relu(self.c17(torch.cat([f_conv, f_bayer], dim=1)), inplace=True)
        with no_autocast(bayer):  # see UNet
            return clip(self.rgb(reflect(c17.to(self.rgb.weight), 1)))
