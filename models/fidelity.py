"""How close images are to each other: PSNR and SSIM, image by image, differentiable."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.nip import no_autocast

WINDOW, SIGMA = 11, 1.5


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio −10·log₁₀ MSE over all pixels and colours of an image.

    Args:
        a, b: (N,C,H,W) in [0,1].

    Returns:
        (N,) in dB; infinite where two images are equal.
    """
    return -10 * torch.log10((a - b).square().flatten(1).mean(dim=1))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity, averaged over colours and over all positions that the window fits into.

    With window and constants of Wang et al. 2004, Image Quality Assessment: 11×11 Gaussian, σ = 1.5, moments
    weighted by it (biased), K₁ = 0.01, K₂ = 0.03.

    Args:
        a, b: (N,C,H,W) in [0,1].

    Returns:
        (N,), at most 1.

    Raises:
        ValueError: images smaller than the window.
    """
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs {WINDOW}×{WINDOW} pixels, an image has {a.shape[-2]}×{a.shape[-1]}")
    moments = torch.stack([a, b, a * a, b * b, a * b]).flatten(0, 2)  # (5·N·C, H, W)
    offset = torch.arange(WINDOW, device=a.device, dtype=a.dtype) - WINDOW // 2
    g = torch.softmax(-0.5 * (offset / SIGMA).square(), dim=0).expand(len(moments), 1, -1)
    with no_autocast(a):  # as channels of one image: ten times faster than as images of one channel
        rows = F.conv2d(moments, g[..., None, :], groups=len(moments))
        moments = F.conv2d(rows, g[..., None], groups=len(moments))
    mean_a, mean_b, aa, bb, ab = moments.reshape(5, len(a), -1)
    C1, C2 = 0.01**2, 0.03**2
    product, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    luminance = (2 * product + C1) / (squares + C1)
    structure = (2 * (ab - product) + C2) / (aa + bb - squares + C2)
    return (luminance * structure).mean(dim=1)
