"""The wavelet denoiser of sensor forensics: image = scene + noise, where the scene is smooth or strong.

    image -- db4, 4 levels --> bands -- local Wiener filter of the details --> noise bands -- inverse --> noise

Mıhçak, Kozintsev & Ramchandran, "Spatially adaptive statistical modeling of wavelet image coefficients and its
application to denoising", ICASSP 1999, in the form that Lukáš, Fridrich & Goljan (IEEE TIFS 2006, appendix A)
gave it, with Daubechies' wavelet of eight taps (db4). The code of these authors uses this form; other PRNU software
uses other wavelets or other denoisers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMA = 3 / 255  # σ₀: the noise's standard deviation, for images in [0,1]
LEVELS = 4
WINDOWS = (3, 5, 7, 9)  # sides of the neighbourhoods whose energy is averaged
REACH = max(WINDOWS) // 2

# Daubechies' wavelet with four vanishing moments: the low-pass filter of the inverse transform, orthonormal.
LOW = (
    0.2303778133088965,
    0.7148465705529157,
    0.6308807679298589,
    -0.027983769416859854,
    -0.18703481171909309,
    0.030841381835560764,
    0.0328830116668852,
    -0.010597401785069032,
)
HIGH = tuple(tap * (-1) ** n for n, tap in enumerate(reversed(LOW)))
TAPS = len(LOW)
PAIRS = TAPS // 2
SMALLEST = TAPS  # pixels on a side
CHUNK = 2**19  # coefficients filtered at a time: as many as a processor's cache holds


def denoise(image: Tensor, sigma: float = SIGMA, levels: int = LEVELS) -> Tensor:
    """Remove the noise from an image, in each channel by itself.

    Args:
        image: (N,C,H,W) in [0,1].
        sigma: σ₀, the standard deviation of the noise. With a larger value, more of the scene counts as noise.
        levels: of the wavelet transform.

    Returns:
        (N,C,H,W), not clipped.

    Raises:
        ValueError: as `wavelet_noise`.
    """
    return image - wavelet_noise(image.flatten(0, 1), sigma, levels).reshape(image.shape)


@torch.no_grad()
def wavelet_noise(x: Tensor, sigma: float = SIGMA, levels: int = LEVELS) -> Tensor:
    """The noise that the denoiser removes: x minus its scene.

    The planes are continued by reflection at their edges (half-sample symmetric, PyWavelets' mode "symmetric"); the
    coarsest approximation belongs wholly to the scene.

    Args:
        x: (N,H,W) planes.
        sigma: σ₀, in the units of x.
        levels: of the wavelet transform.

    Returns:
        (N,H,W)

    Raises:
        ValueError: a side shorter than 8 pixels, sigma not positive, or no level.
    """
    if x.ndim != 3 or min(x.shape[1:]) < SMALLEST:
        raise ValueError(f"the denoiser needs planes (N,H,W) of at least {SMALLEST}×{SMALLEST}, not {tuple(x.shape)}")
    if sigma <= 0 or levels < 1:
        raise ValueError(f"the denoiser needs sigma > 0 and levels >= 1, not sigma={sigma}, levels={levels}")
    planes = max(1, CHUNK // x[0].numel())
    return torch.cat([_noise(part, sigma**2, levels) for part in x.split(planes)])


def _noise(x: Tensor, variance: float, levels: int) -> Tensor:
    if levels == 0:
        return torch.zeros_like(x)
    low, *details = analysis(x)
    margin = (REACH,) * 4  # zeros beyond the edges, as in the authors' code
    details = [band * noise_share(least_energy(F.pad(band, margin)), variance) for band in details]
    return synthesis([_noise(low, variance, levels - 1), *details], *x.shape[1:])


def noise_share(energy: Tensor, variance: float | Tensor) -> Tensor:
    """The local Wiener filter: the share σ₀² / (σ² + σ₀²) of each coefficient that is noise, in (0,1].

    The signal's variance is `least_energy` minus that of the noise: σ² = max(0, energy − σ₀²).
    """
    return (energy / variance).clamp_(min=1).reciprocal_()


def least_energy(x: Tensor) -> Tensor:
    """The smallest of the mean squares in the four windows around each coefficient.

    Args:
        x: (N,H+8,W+8), coefficients with a margin for the windows.

    Returns:
        (N,H,W)
    """
    height, width = x.shape[1] - 2 * REACH, x.shape[2] - 2 * REACH
    least = x.new_full((len(x), height, width), torch.inf)
    rows = max(1, CHUNK // (len(x) * width))
    for y in range(0, height, rows):
        _lower(least[:, y : y + rows], x[:, y : y + rows + 2 * REACH].square())
    return least


def _lower(least: Tensor, energy: Tensor) -> None:
    """Lower `least` to the mean energy in each window, in place."""
    height = least.shape[1]
    column = energy[:, REACH : REACH + height].clone()  # sums over the part of a column within a window
    for window in WINDOWS:
        reach, margin = window // 2, REACH - window // 2
        column += energy[:, REACH - reach : REACH - reach + height]
        column += energy[:, REACH + reach : REACH + reach + height]
        total = running_sum(column[:, :, margin : column.shape[2] - margin], window)
        torch.minimum(least, total.mul_(1 / window**2), out=least)


def running_sum(x: Tensor, length: int) -> Tensor:
    """Sums of `length` neighbours in a row, with about log₂(length) additions: (…,W) → (…,W−length+1)."""
    if length == 1:
        return x
    half = running_sum(x, length // 2)
    total = half[..., : -(length // 2)] + half[..., length // 2 :]
    return total[..., :-1] + x[..., length - 1 :] if length % 2 else total


def analysis(x: Tensor) -> list[Tensor]:
    """Compute one level of the wavelet transform.

    Returns:
        Four bands (N,⌊(H+7)/2⌋,⌊(W+7)/2⌋): low-pass in both directions, high-pass down, across, in both.
    """
    return [band for half in split(x, 2) for band in split(half, 1)]


def synthesis(bands: list[Tensor], height: int, width: int) -> Tensor:
    """Inverse of `analysis`: four bands (N,h,w) → (N,height,width)."""
    low, down, across, both = bands
    return merge(merge(low, down, 1), merge(across, both, 1), 2)[:, :height, :width]


def split(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Low-pass and high-pass half along one dimension, n → ⌊(n+7)/2⌋.

    It is a convolution of which every second value is kept, computed as a sum of shifted planes, which is fast.
    """
    x = mirror(x, dim).unflatten(dim, (-1, 2))
    even, odd = (x.select(dim + 1, phase).contiguous() for phase in (0, 1))
    length = even.shape[dim] - PAIRS + 1
    halves = []
    for taps in (LOW, HIGH):
        half = torch.zeros_like(even.narrow(dim, 0, length))
        for k in range(PAIRS):
            half.add_(even.narrow(dim, k, length), alpha=taps[2 * k])
            half.add_(odd.narrow(dim, k, length), alpha=taps[2 * k + 1])
        halves.append(half)
    return halves[0], halves[1]


def merge(low: Tensor, high: Tensor, dim: int) -> Tensor:
    """Inverse of `split`, n → 2n−6: even and odd positions, interleaved."""
    length = low.shape[dim] - PAIRS + 1
    phases = []
    for first in (TAPS - 2, TAPS - 1):
        x = torch.zeros_like(low.narrow(dim, 0, length))
        for k in range(PAIRS):
            x.add_(low.narrow(dim, k, length), alpha=LOW[first - 2 * k])
            x.add_(high.narrow(dim, k, length), alpha=HIGH[first - 2 * k])
        phases.append(x)
    return torch.stack(phases, dim + 1).flatten(dim, dim + 1)


def mirror(x: Tensor, dim: int) -> Tensor:
    """Continue x by reflection as far as the filter reaches, to an even length: … 1 0 | 0 1 … n−1 | n−1 n−2 …"""
    before, after = TAPS - 2, TAPS - 2 + x.shape[dim] % 2
    start, end = x.narrow(dim, 0, before), x.narrow(dim, x.shape[dim] - after, after)
    return torch.cat((start.flip(dim), x, end.flip(dim)), dim)
