"""Fidelity of images to their targets, image by image and differentiable: squared error, PSNR and two kinds of SSIM."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from cameras.patches import Patches
from models.nip import NIP, develop
from models.precision import no_autocast

WINDOW, SIGMA = 11, 1.5
UNIFORM_WINDOW = 7
METRICS = ("loss_nip", "psnr", "ssim", "ssim_paper")


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """L_nip of each image (paper, eq. 1) in 8-bit units: mean((255·Δ)²) over all pixels and colours.

    Args:
        a, b: (N,C,H,W) in [0,1].

    Returns:
        (N,)
    """
    return (255 * (a - b)).square().flatten(1).mean(dim=1)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio 10·log₁₀(255² / `squared_error`) of each image.

    Args:
        a, b: (N,C,H,W) in [0,1].

    Returns:
        (N,) in dB; infinite where two images are equal.
    """
    return 10 * torch.log10(255**2 / squared_error(a, b))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity, averaged over colours and over all positions where the window fits in.

    Window and constants are those of Wang et al. 2004, Image Quality Assessment: 11×11 Gaussian, σ = 1.5, which
    weights the (biased) moments; K₁ = 0.01, K₂ = 0.03.

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
    return _similarity(moments.reshape(5, len(a), -1), 1)


def ssim_paper(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity as the paper's authors compute it; larger than `ssim` on the same images.

    Their code calls scikit-image's ``structural_similarity`` on floating-point images without ``data_range``: a uniform
    7×7 window, unbiased moments, K₁ = 0.01, K₂ = 0.03, and a range of 2, as if the images lay in [-1, 1].

    Args:
        a, b: (N,C,H,W) in [0,1].

    Returns:
        (N,), at most 1.

    Raises:
        ValueError: images smaller than the window.
    """
    if min(a.shape[-2:]) < UNIFORM_WINDOW:
        raise ValueError(f"SSIM needs {UNIFORM_WINDOW}×{UNIFORM_WINDOW} pixels, an image has {tuple(a.shape[-2:])}")
    moments = torch.stack([a, b, a * a, b * b, a * b]).flatten(0, 2)  # (5·N·C, H, W)
    moments = F.avg_pool2d(moments, UNIFORM_WINDOW, stride=1).reshape(5, len(a), -1)
    return _similarity(moments, 2, unbiased=UNIFORM_WINDOW**2 / (UNIFORM_WINDOW**2 - 1))


def _similarity(moments: Tensor, data_range: float, unbiased: float = 1) -> Tensor:
    """Mean SSIM (N,) from local means of a, b, a², b² and ab (5,N,places); ``unbiased`` corrects the variances."""
    mean_a, mean_b, aa, bb, ab = moments
    C1, C2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    product, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    luminance = (2 * product + C1) / (squares + C1)
    structure = (2 * unbiased * (ab - product) + C2) / (unbiased * (aa + bb - squares) + C2)
    return (luminance * structure).mean(dim=1)


def measure(developed: Tensor, target: Tensor) -> Tensor:
    """The fidelity of every image, (4,n): a row for each of METRICS. RGB of at least 11×11 pixels, for SSIM."""
    return torch.stack([metric(developed, target) for metric in (squared_error, psnr, ssim, ssim_paper)])


@torch.no_grad()
def evaluate(nip: NIP, batches: Iterable[Patches], precision: str) -> dict[str, float]:
    """Develops patches, (n,4,p,p) to (n,3,2p,2p), and returns their mean fidelity to the targets.

    Args:
        nip: on the device of the patches, in evaluation mode.
        batches: their sizes decide the memory needed, not the result.
        precision: as `models.nip.develop` takes it.

    Returns:
        `loss_nip` (mean((255·Δ)²)), `psnr` (dB), `ssim` and `ssim_paper`.
    """
    metrics = [measure(develop(nip, patches.bayer, precision), patches.target) for patches in batches]
    return dict(zip(METRICS, torch.cat(metrics, dim=1).mean(dim=1).tolist(), strict=True))
