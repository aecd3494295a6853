"""sensor fingerprints of RGB images of 1.5 Mpx, s per megapixel

The peers compute the same residual: "ptwt" with ptwt's transform and torch's pooling, "PyWavelets" with PyWavelets and
SciPy, as in the Python port of the Binghamton code (always one thread). That they are the same is checked.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.rows import Row, is_installed
from benchmarks.timing import Work, interleaved
from prnu import fingerprint, residual, wavelet_noise

SIGMA, LEVELS, WINDOWS = 3 / 255, 4, (3, 5, 7, 9)


def rows(tiny: bool = False) -> Iterator[Row]:
    height, width = (128, 160) if tiny else (1000, 1500)
    megapixels = height * width / 1e6
    count, repeats = (2, 1) if tiny else (4, 3)
    images = list(camera(count, height, width))
    planes = images[0][0]
    peers: dict[str, Callable[[Tensor], Tensor]] = {}
    for name, package, noise in (("ptwt", "ptwt", ptwt_noise), ("PyWavelets", "pywt", pywavelets_noise)):
        if is_installed(package):
            torch.testing.assert_close(noise(planes), wavelet_noise(planes, SIGMA, LEVELS), rtol=0, atol=1e-6)
            peers[name] = noise
    works: dict[str, Work] = {
        "fingerprint": lambda: fingerprint(images),
        "residual": lambda: residual(images[0]),
        "ours": lambda: wavelet_noise(planes, SIGMA, LEVELS),
        **{name: lambda noise=noise: noise(planes) for name, noise in peers.items()},  # type: ignore[misc]
    }
    times = interleaved(works, repeats)
    yield Row(f"fingerprint of {count} images, per image", times["fingerprint"] / count / 1000 / megapixels, "s/Mpx")
    yield Row("residual: denoiser and grey", times["residual"] / 1000 / megapixels, "s/Mpx")
    for name in ("ptwt", "PyWavelets"):
        known = name in peers
        yield Row(
            "denoiser",
            times["ours"] / 1000 / megapixels,
            "s/Mpx",
            name,
            times[name] / 1000 / megapixels if known else None,
            times.ratio(name, "ours") if known else None,
        )
    if Path("/proc/self/status").exists():  # Linux
        for number in (2, 3) if tiny else (4, 16):
            yield Row(f"fingerprint of {number} images, largest memory", peak(number, height, width), "MB")


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
    """Largest memory in MB of a process that computes a fingerprint of images, each computed when it is needed."""
    code = f"from benchmarks.prnu import memory; memory({images}, {height}, {width})"
    command, folder = [sys.executable, "-c", code], Path(__file__).resolve().parents[1]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout)


def memory(images: int, height: int, width: int) -> None:
    """Print the largest memory of this process."""
    torch.set_num_threads(1)
    fingerprint(camera(images, height, width))
    status = Path("/proc/self/status").read_text()  # unlike getrusage, without the parent's memory
    print(int(status.split("VmHWM:")[1].split()[0]) / 1000)
