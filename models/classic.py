"""ClassicISP: the standard pipeline as a differentiable one, in which only the demosaicing learns."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cameras.develop import GAMMA
from cameras.padding import reflect
from models.bayer import SampleSelection, bilinear_kernels
from models.nip import NIP, Matrix, clip
from models.precision import no_autocast


class _Gamma(torch.autograd.Function):
    """x^(1/2.2) of x in [0,1]. Below 1/255 the gradient is the one at 1/255; the true gradient has no bound."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x ** (1 / GAMMA)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * x.clamp(min=1 / 255) ** (1 / GAMMA - 1) / GAMMA


class ClassicISP(NIP):
    """The standard pipeline with neural demosaicing, after the toolbox's ClassicISP: 28,740 parameters.

    ::

        bayer ── S 4→12 ── depth to space ──┬── bilinear ────── + ── clip ── M ── clip ── x^(1/2.2) ── y
        (N,4,h,w)          (N,3,2h,2w)      └── CNN, tanh, ·α ──┘        cam2srgb             (N,3,2h,2w)

    The CNN (3×3 convolutions with leaky ReLU, then a 1×1) corrects the bilinear demosaicing. Its last layer starts
    at zero, so the untrained model is exactly the standard pipeline with bilinear demosaicing. Colours are not
    learned.

    Args:
        filters: widths of the 3×3 convolutions.
    """

    starts_as_standard: ClassVar[bool] = True

    bilinear: Tensor
    M: Tensor

    def __init__(
        self,
        cfa: str = "RGGB",
        cam2srgb: Matrix | None = None,
        filters: Sequence[int] = (32, 32, 32, 32),
    ) -> None:
        super().__init__(cfa, cam2srgb, filters=list(filters))
        self.select = SampleSelection(cfa)
        self.register_buffer("bilinear", bilinear_kernels(3), persistent=False)
        self.register_buffer("M", torch.tensor(self.cam2srgb)[:, :, None, None], persistent=False)
        layers: list[nn.Module] = []
        for inputs, width in pairwise((3, *filters)):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        self.cnn = nn.Sequential(*layers, nn.Conv2d((3, *filters)[-1], 3, 1))
        self.alpha = nn.Parameter(torch.tensor(0.1))

    def initialise(self, generator: torch.Generator) -> None:
        """Sets Glorot-uniform convolutions, zeros in the last one, and α = 0.1."""
        *convolutions, last = (module for module in self.cnn if isinstance(module, nn.Conv2d))
        for convolution in convolutions:
            nn.init.xavier_uniform_(convolution.weight, generator=generator)
            nn.init.zeros_(convolution.get_parameter("bias"))
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        nn.init.constant_(self.alpha, 0.1)

    def forward(self, bayer: Tensor) -> Tensor:
        with no_autocast(bayer):
            mosaic = self.select(bayer)
            bilinear = F.conv2d(reflect(mosaic, 1), self.bilinear)
        correction = self.alpha * torch.tanh(self.cnn(mosaic))
        with no_autocast(bayer):
            srgb = F.conv2d(clip(bilinear + correction), self.M)
            return _Gamma.apply(clip(srgb))
