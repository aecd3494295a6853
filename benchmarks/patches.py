"""a batch of 20 patches of RAW 64 from memory-mapped photographs, and its share of a step of the UNet

Photographs of noise, 6 Mpx each, lie in a temporary folder. "Cold" removes the files from the page cache before every
batch, so that everything is read from disk. "Textured" is the paper's variance filter.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks import joint_step
from benchmarks.rows import Row
from benchmarks.timing import Work, interleaved
from cameras.feed import Photographs, batches
from cameras.pairs import Pairs, append
from cameras.patches import Patches
from models.precision import in_bfloat16

ENDLESS = 10**9  # batches


def noise(images: int, megapixels: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bayer stacks (h,w,4) uint16 and targets (2h,2w,3) uint8 of 3:2.

    Contrast grows from left to right, so that the variance filter rejects some places.
    """
    rng = np.random.default_rng(0)
    height = round((megapixels * 1e6 / 6) ** 0.5)
    width = 3 * height // 2
    contrast = np.linspace(0, 1, 2 * width, dtype=np.float32)[:, None]
    for _ in range(images):
        values = rng.random((2 * height, 2 * width, 3), dtype=np.float32) - 0.5
        target = np.clip(127.5 + 255 * contrast * values, 0, 255).astype(np.uint8)
        yield rng.integers(0, 65536, (height, width, 4), dtype=np.uint16), target


def rows(tiny: bool = False) -> Iterator[Row]:
    images, megapixels, patch, batch, repeats = (2, 0.1, 16, 2, 1) if tiny else (8, 6.0, 64, 20, 5)
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, (bayer, target) in enumerate(noise(images, megapixels)):
            append(folder, f"{number}", bayer, target, cfa="RGGB", cam2srgb=np.eye(3), camera="noise")

        def source(textured: bool = False) -> Callable[[], Patches]:
            pairs, numbers = Pairs.open(folder), torch.arange(images)
            generator = torch.Generator().manual_seed(0)
            photographs = Photographs.open(pairs, numbers, device, "host")
            return batches(photographs, numbers, ENDLESS, batch, patch, generator, textured).__next__

        steps = {
            precision: joint_step.build("UNet", precision, patch, batch, device).step
            for precision in ("float32", "bfloat16")
            if precision == "float32" or in_bfloat16(device, precision)
        }
        works: dict[str, Work] = {"batch": source(), "batch, textured": source(textured=True), **steps}
        times = interleaved(works, repeats)
        for name in ("batch", "batch, textured"):
            shares = {f"% of a {precision} step": 100 * times.ratio(name, precision) for precision in steps}
            yield Row(name, times[name], "ms", figures=shares)
        del works  # pages that a mapping has in use stay in the cache
        cold = interleaved({"cold": source()}, repeats, before=lambda: forget(folder))
        yield Row("batch, cold", cold["cold"], "ms")


def forget(folder: Path) -> None:
    """Remove a folder's files from the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
