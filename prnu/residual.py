"""The noise residual of a photograph, and filters that clean residuals and fingerprints."""

import torch
import torch.nn.functional as F
from torch import Tensor

from prnu.denoise import REACH, SIGMA, least_energy, noise_share, wavelet_noise

LUMA = (0.298936021293775, 0.587043074451121, 0.114020904255103)  # Matlab's rgb2gray: ITU-R BT.601 to 15 digits
SATURATED = 250 / 255  # a channel with a lower maximum is not saturated anywhere
VICINITY = 9  # side of the square in which the noise's variance is measured
ROUNDED = 1 / 255**2 / 12  # variance of rounding to 8 bits: the least variance of noise
PEAK = 12.0  # energy relative to the neighbourhood's: noise exceeds it at one of e¹² = 160,000 frequencies


def residual(image: Tensor, sigma: float = SIGMA) -> Tensor:
    """Noise residual W = image − denoised image: each channel by itself, then grey.

    This is the order of the authors' code for a query; a fingerprint becomes grey only after its estimation per channel
    (`prnu.fingerprint`). The residual is not cleaned: see `zero_mean` and `wiener_dft`.

    Args:
        image: (N,3,H,W) or grey (N,1,H,W), float in [0,1].
        sigma: σ₀ of the denoiser.

    Returns:
        (N,H,W); for a constant image it is 0 up to rounding.

    Raises:
        ValueError: no batch of images, or smaller than 8×8.
    """
    return grey(channel_residual(image, sigma))


def channel_residual(image: Tensor, sigma: float = SIGMA) -> Tensor:
    """The residual of each channel: (N,C,H,W) → (N,C,H,W). Raises ValueError as `residual`."""
    check(image, "an image")
    return wavelet_noise(image.flatten(0, 1), sigma).reshape(image.shape)


def check(image: Tensor, name: str) -> None:
    """Raise ValueError if this is no batch of images."""
    if image.ndim != 4 or len(image) == 0 or image.shape[1] not in (1, 3) or not image.is_floating_point():
        found = f"{tuple(image.shape)} {str(image.dtype).removeprefix('torch.')}"
        raise ValueError(f"{name} must be a float tensor (N,3,H,W), or grey (N,1,H,W), in [0,1], not {found}")


def grey(x: Tensor) -> Tensor:
    """Luma of three channels, or the only channel itself: (N,C,H,W) → (N,H,W)."""
    if x.shape[1] == 1:
        return x[:, 0]
    return torch.einsum("nchw,c->nhw", x, x.new_tensor(LUMA))


def saturation(image: Tensor) -> Tensor:
    """The pixels of each channel that are blown out and therefore show no PRNU.

    A pixel is saturated if it and one of its four neighbours have the channel's largest value, and this is above
    250/255.

    Args:
        image: (N,C,H,W) in [0,1].

    Returns:
        (N,C,H,W) bool, true where saturated.
    """
    peak = image.amax(dim=(2, 3), keepdim=True)
    brightest = (image == peak) & (peak > SATURATED)
    around = F.pad(brightest, (1, 1, 1, 1))
    beside = around[..., 1:-1, :-2] | around[..., 1:-1, 2:]
    return brightest & (beside | around[..., :-2, 1:-1] | around[..., 2:, 1:-1])


def local_variance(noise: Tensor) -> Tensor:
    """The variance σ² of the noise around every pixel: its mean square over 9×9 pixels, plus that of rounding.

    Args:
        noise: residuals (N,H,W).

    Returns:
        (N,H,W), positive.
    """
    around = F.pad(noise.square()[:, None], (VICINITY // 2,) * 4, mode="reflect")
    return F.avg_pool2d(around, VICINITY, stride=1)[:, 0] + ROUNDED


def zero_mean(x: Tensor) -> Tensor:
    """Subtract the mean of every row and every column, in each of the four phases of the Bayer cell by itself.

    This removes what cameras of one model share: traces of the read-out and of the colour filter's interpolation.

    Args:
        x: (N,H,W) or (H,W).

    Returns:
        The same shape.
    """
    centred = torch.empty_like(x)
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        phase = x[..., down::2, across::2]
        phase = phase - phase.mean(dim=-1, keepdim=True)
        centred[..., down::2, across::2] = phase - phase.mean(dim=-2, keepdim=True)
    return centred


@torch.no_grad()
def wiener_dft(x: Tensor) -> Tensor:
    """Remove periodic patterns: JPEG's block grid, patterns of columns or rows, demosaicing.

    The spectrum passes the denoiser's local Wiener filter, with the variance of x as that of the noise. This is the
    clean-up of the authors' code. Because this filter averages over windows, it lets single peaks pass with up to 80
    times the noise's energy. So values that exceed the energy of their neighbourhood more than noise does are reduced
    to that energy first. The spectrum is periodic, and so are the neighbourhoods.

    Args:
        x: (N,H,W) or (H,W).

    Returns:
        The same shape.

    Raises:
        ValueError: a side shorter than 9 pixels.
    """
    if min(x.shape[-2:]) < 2 * REACH + 1:
        raise ValueError(f"the Wiener filter needs 9×9 pixels or more, not {tuple(x.shape)}")
    planes = x.reshape(-1, *x.shape[-2:])
    height, width = planes.shape[1:]
    spectrum = torch.fft.rfft2(planes, norm="ortho")  # (N,H,⌊W/2⌋+1): one half; the other is its mirror image
    magnitude = spectrum.abs()
    opposite = magnitude.flip(1).roll(1, 1)  # (−v, u) at (v, u)
    left, right = opposite[..., 1 : 1 + REACH], opposite[..., (width + 1) // 2 - REACH : (width + 1) // 2]
    around = torch.cat((left.flip(2), magnitude, right.flip(2)), dim=2)
    around = torch.cat((around[:, -REACH:], around, around[:, :REACH]), dim=1)

    energy = least_energy(around)
    variance = planes.var(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    gain = noise_share(energy, variance)
    level = energy.sqrt_()
    gain *= torch.where(magnitude > PEAK**0.5 * level, level / magnitude, 1)
    return torch.fft.irfft2(spectrum * gain, s=(height, width), norm="ortho").reshape(x.shape)
