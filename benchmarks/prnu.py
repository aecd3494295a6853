"""Time and memory of a fingerprint, including residuals, in this project and by two other libraries.

    python -m benchmarks.prnu [--height 1000] [--width 1500] [--threads 1 2] [--images 6]

Seconds per megapixel of an RGB image, medians; more than one thread helps only if cores are idle. "ptwt" is the same
denoiser with ptwt's transform and torch's pooling, "PyWavelets" with PyWavelets and SciPy, as in the Python port of the
Binghamton code (always one thread). The benchmark checks that all three give the same residual.

Then the largest memory of a process that reads 5 and 50 images, each of them computed when it is needed.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import milliseconds
from prnu import fingerprint, residual, saturation, wavelet_noise, wiener_dft, zero_mean

SIGMA, LEVELS, WINDOWS = 3 / 255, 4, (3, 5, 7, 9)


def ptwt_noise(x: Tensor) -> Tensor:
    """(N,H,W) → (N,H,W)"""
    import ptwt  # used only here

    low, *details = ptwt.wavedec2(x, "db4", mode="symmetric", level=LEVELS)

    def wiener(band: Tensor) -> Tensor:
        means = [F.avg_pool2d(band.square(), window, 1, window // 2) for window in WINDOWS]
        signal = torch.stack(means).amin(dim=0).sub(SIGMA**2).clamp(min=0)
        return band * SIGMA**2 / (signal + SIGMA**2)

    noise = [type(level)(*(wiener(band) for band in level)) for level in details]
    return ptwt.waverec2((torch.zeros_like(low), *noise), "db4")[..., : x.shape[-2], : x.shape[-1]]


def pywavelets_noise(x: Tensor) -> Tensor:
    """(N,H,W) → (N,H,W)"""
    import pywt  # used only here
    from scipy.ndimage import uniform_filter

    def wiener(band: np.ndarray) -> np.ndarray:
        means = [uniform_filter(band**2, window, mode="constant") for window in WINDOWS]
        signal = np.maximum(np.min(means, axis=0) - SIGMA**2, 0)
        return band * SIGMA**2 / (signal + SIGMA**2)

    planes = []
    for plane in x.numpy():
        low, *details = pywt.wavedec2(plane, "db4", mode="symmetric", level=LEVELS)
        noise = [tuple(wiener(band) for band in level) for level in details]
        planes.append(pywt.waverec2([np.zeros_like(low), *noise], "db4")[: plane.shape[0], : plane.shape[1]])
    return torch.from_numpy(np.stack(planes))


def camera(images: int, height: int, width: int) -> Iterator[Tensor]:
    """Images of noise on shading, (1,3,H,W) each."""
    generator = torch.Generator().manual_seed(0)
    shading = torch.linspace(0.2, 0.8, width)
    for _ in range(images):
        yield torch.randn(1, 3, height, width, generator=generator).mul_(0.02).add_(shading).clamp_(0, 1)


def peak(images: int, height: int, width: int) -> float:
    """Largest memory in MB of a process that computes a fingerprint."""
    code = f"from benchmarks.prnu import memory; memory({images}, {height}, {width})"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def memory(images: int, height: int, width: int) -> None:
    torch.set_num_threads(1)
    fingerprint(camera(images, height, width))
    status = Path("/proc/self/status").read_text()  # Linux; unlike getrusage, without the parent's memory
    print(int(status.split("VmHWM:")[1].split()[0]) / 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--width", type=int, default=1500)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--images", type=int, default=6)
    settings = parser.parse_args()
    size = settings.height, settings.width
    megapixels = settings.height * settings.width / 1e6

    images = list(camera(settings.images, *size))
    image = images[0]
    planes, W = image[0], residual(image)
    for other in (ptwt_noise, pywavelets_noise):
        torch.testing.assert_close(other(planes), wavelet_noise(planes, SIGMA, LEVELS), rtol=0, atol=1e-6)

    print(f"{settings.width}×{settings.height} RGB; s per megapixel")
    print(f"{'threads':34}" + "".join(f"{threads:8}" for threads in settings.threads))
    for name, work, count in (
        (f"fingerprint of {settings.images} images, per image", lambda: fingerprint(images), settings.images),
        ("residual: denoiser and grey", lambda: residual(image), 1),
        ("    with ptwt", lambda: ptwt_noise(planes), 1),
        ("    with PyWavelets and SciPy", lambda: pywavelets_noise(planes), 1),
        ("saturation", lambda: saturation(image), 1),
        ("zero_mean", lambda: zero_mean(W), 1),
        ("wiener_dft", lambda: wiener_dft(W), 1),
    ):
        row = []
        for threads in settings.threads:
            torch.set_num_threads(threads)
            row.append(milliseconds(work, 5) / count / 1000 / megapixels)
        print(f"{name:34}" + "".join(f"{seconds:8.3f}" for seconds in row), flush=True)

    few, many = (peak(count, *size) for count in (5, 50))
    print(f"peak memory: {few:.0f} MB with 5 images, {many:.0f} MB with 50")


if __name__ == "__main__":
    main()
