"""INet: the standard imaging pipeline, one convolution per step."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from cameras.develop import GAMMA
from cameras.padding import reflect
from models.bayer import SampleSelection, bilinear_kernels
from models.nip import NIP, Matrix, clip
from models.precision import no_autocast

SLOPES = (1.0, 8.0, 64.0, 512.0)  # one tanh for each factor of eight between highlights and shadows


def gamma_features() -> Tensor:
    """Returns weights a such that Σₖ aₖ·tanh(slopeₖ·x) ≈ x^(1/2.2) on [0,1]: linear least squares, slopes fixed.

    The samples are uniform in the output, where fidelity is measured, so that shadows count as much as they are seen.
    There is no constant term, so black stays black; a heavy weight makes the fit meet white.

    Returns:
        (4,) float32.
    """
    y = torch.linspace(0, 1, 1001, dtype=torch.float64)
    weight = torch.ones_like(y)
    weight[-1] = 100
    features = torch.tanh(y[:, None] ** GAMMA * torch.tensor(SLOPES, dtype=torch.float64))  # (1001, 4)
    normal = features.T @ (weight[:, None] * features)
    return torch.linalg.solve(normal, features.T @ (weight * y)).float()


class INet(NIP):
    """The steps of the standard pipeline as layers (paper §3.2, supplement Table 2): 321 parameters.

    ::

        bayer ── S 4→12 ── depth to space ── 5×5 conv ── 1×1 conv ── 1×1 conv, tanh ── 1×1 conv ── clip ── y
        (N,4,h,w)          (N,3,2h,2w)       demosaic    colour      encode 12         decode      (N,3,2h,2w)

    It starts as a working pipeline: bilinear demosaicing, the camera's own matrix, and the gamma curve fitted by
    `gamma_features`. It always computes in float32: slopes of hundreds turn bfloat16 into banding.
    """

    starts_as_standard: ClassVar[bool] = True

    def __init__(self, cfa: str = "RGGB", cam2srgb: Matrix | None = None) -> None:
        super().__init__(cfa, cam2srgb)
        self.select = SampleSelection(cfa)
        self.demosaic = nn.Conv2d(3, 3, 5, bias=False)
        self.colour = nn.Conv2d(3, 3, 1, bias=False)
        self.encode = nn.Conv2d(3, 12, 1)
        self.decode = nn.Conv2d(12, 3, 1)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Sets the weights of the standard pipeline; nothing is random."""
        self.demosaic.weight.copy_(bilinear_kernels(5))
        self.colour.weight.copy_(torch.tensor(self.cam2srgb)[:, :, None, None])
        encode = torch.kron(torch.eye(3), torch.tensor(SLOPES)[:, None])  # (12, 3): four features a colour
        decode = torch.kron(torch.eye(3), gamma_features()[None, :])  # (3, 12)
        for layer, weight in ((self.encode, encode), (self.decode, decode)):
            layer.weight.copy_(weight[:, :, None, None])
            nn.init.constant_(layer.get_parameter("bias"), 0)

    def forward(self, bayer: Tensor) -> Tensor:
        with no_autocast(bayer):
            mosaic = self.select(bayer)
            rgb = self.demosaic(reflect(mosaic, 2))  # reflection keeps the CFA's phase
            srgb = self.colour(rgb)
            y = self.decode(torch.tanh(self.encode(srgb)))
            return clip(y)
