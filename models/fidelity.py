"""Fidelity of images to their targets, image by image and differentiable: errors, PSNR, SSIM. Some serve as losses."""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cameras.patches import Patches
from models.nip import NIP, develop
from models.precision import no_autocast

WINDOW, SIGMA = 11, 1.5
UNIFORM_WINDOW = 7
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of MS-SSIM's scales, the finest first
LEAST = 1e-6  # of a scale's similarity, before it is raised to the power of its weight
METRICS = ("loss_nip", "psnr", "ssim", "ssim_paper")


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """L_nip of each image (paper, eq. 1) in 8-bit units: mean((255·Δ)²) over all pixels and colours.

    Args:
        a, b: (N,C,H,W) in [0,1].

    Returns:
        (N,)
    """
    return (255 * (a - b)).square().flatten(1).mean(dim=1)


def absolute_error(a: Tensor, b: Tensor) -> Tensor:
    """L₁ distance of each image in 8-bit units: mean(|255·Δ|) over all pixels and colours.

    Args:
        a, b: (N,C,H,W) in [0,1].

    Returns:
        (N,)
    """
    return (255 * (a - b)).abs().flatten(1).mean(dim=1)


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
    luminance, structure = _similarity(_gaussian_moments(a, b), 1)
    return (luminance * structure).mean(dim=1)


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Multi-scale structural similarity (Wang, Simoncelli & Bovik 2003), averaged over colours and places as `ssim`.

    Contrast and structure count at every scale, luminance at the coarsest. Each scale is the one before, shrunk by
    means of 2×2 pixels. There are five scales, with the published weights, where the shorter side has 176 pixels or
    more. Smaller images have the scales into which the window fits, and the weights of these are divided by their sum:
    values of images with different numbers of scales cannot be compared. A scale whose mean is below 1e-6 counts as
    1e-6, since a negative number has no such power; it has no gradient.

    Args:
        a, b: (N,C,H,W) in [0,1].

    Returns:
        (N,), in (0, 1].

    Raises:
        ValueError: images smaller than the window.
    """
    scales = max(1, min(len(SCALES), (min(a.shape[-2:]) // WINDOW).bit_length()))
    product = torch.ones_like(a[:, 0, 0, 0])
    for scale, weight in enumerate(SCALES[:scales]):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        luminance, structure = _similarity(_gaussian_moments(a, b), 1)
        similarity = luminance * structure if scale == scales - 1 else structure
        product = product * similarity.mean(dim=1).clamp(min=LEAST) ** (weight / sum(SCALES[:scales]))
    return product


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
    luminance, structure = _similarity(moments, 2, unbiased=UNIFORM_WINDOW**2 / (UNIFORM_WINDOW**2 - 1))
    return (luminance * structure).mean(dim=1)


def _gaussian_moments(a: Tensor, b: Tensor) -> Tensor:
    """Local means of a, b, a², b² and ab under SSIM's Gaussian window, wherever it fits in (5,N,places)."""
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs {WINDOW}×{WINDOW} pixels, an image has {a.shape[-2]}×{a.shape[-1]}")
    moments = torch.stack([a, b, a * a, b * b, a * b]).flatten(0, 2)  # (5·N·C, H, W)
    offset = torch.arange(WINDOW, device=a.device, dtype=a.dtype) - WINDOW // 2
    g = torch.softmax(-0.5 * (offset / SIGMA).square(), dim=0).expand(len(moments), 1, -1)
    with no_autocast(a):  # as channels of one image: ten times faster than as images of one channel
        rows = F.conv2d(moments, g[..., None, :], groups=len(moments))
        moments = F.conv2d(rows, g[..., None], groups=len(moments))
    return moments.reshape(5, len(a), -1)


def _similarity(moments: Tensor, data_range: float, unbiased: float = 1) -> tuple[Tensor, Tensor]:
    """SSIM's two factors everywhere, luminance and contrast with structure (N,places), from local means (5,N,places).

    ``unbiased`` corrects the variances.
    """
    mean_a, mean_b, aa, bb, ab = moments
    C1, C2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    product, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    luminance = (2 * product + C1) / (squares + C1)
    structure = (2 * unbiased * (ab - product) + C2) / (unbiased * (aa + bb - squares) + C2)
    return luminance, structure


def _ssim_loss(a: Tensor, b: Tensor) -> Tensor:
    return 1 - ssim(a, b)


def _ms_ssim_loss(a: Tensor, b: Tensor) -> Tensor:
    return 1 - ms_ssim(a, b)


# What a NIP may learn to make small, (N,) of images (N,C,H,W). The first two are in 8-bit units, squared or not, the
# others in [0, 2]: a λ of one is no λ of another.
Loss = Literal["L2", "L1", "SSIM", "MS-SSIM"]
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "L2": squared_error,
    "L1": absolute_error,
    "SSIM": _ssim_loss,
    "MS-SSIM": _ms_ssim_loss,
}


def measure(developed: Tensor, target: Tensor, loss: str = "L2") -> Tensor:
    """The fidelity of every image, (4,n): a row for each of METRICS. RGB of at least 11×11 pixels, for SSIM."""
    return torch.stack([metric(developed, target) for metric in (LOSSES[loss], psnr, ssim, ssim_paper)])


@torch.no_grad()
def evaluate(nip: NIP, batches: Iterable[Patches], precision: str, loss: str = "L2") -> dict[str, float]:
    """Develops patches, (n,4,p,p) to (n,3,2p,2p), and returns their mean fidelity to the targets.

    Args:
        nip: on the device of the patches, in evaluation mode.
        batches: their sizes decide the memory needed, not the result.
        precision: as `models.nip.develop` takes it.
        loss: the one of LOSSES that the NIP learns by.

    Returns:
        `loss_nip` (that loss), `psnr` (dB), `ssim` and `ssim_paper`.
    """
    metrics = [measure(develop(nip, patches.bayer, precision), patches.target, loss) for patches in batches]
    return dict(zip(METRICS, torch.cat(metrics, dim=1).mean(dim=1).tolist(), strict=True))
