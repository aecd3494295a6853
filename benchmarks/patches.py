"""Time to sample one batch of patches, against one joint training step of UNet and FAN.

    python -m benchmarks.patches [--images 20] [--megapixels 12] [--count 20] [--patch 128] [--device cpu]

Pairs of noise are written to a temporary folder (5 bytes a pixel), memory-mapped, and moved to the device if
that is a GPU. "Cold" drops the files from the page cache before every batch: all it touches is read from disk.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import models
from cameras.pairs import Pairs, append
from cameras.patches import fixed_places, sample
from channel import Channel, Manipulations
from forensics import FAN, JointModel
from forensics.joint import loss_fan, loss_nip


def milliseconds(function: Callable[[], object], repeats: int, before: Callable[[], object] | None = None) -> float:
    """Median time of a call after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        if before:
            before()
        start = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def write_noise(folder: Path, images: int, megapixels: float) -> None:
    """Images of 3:2 whose contrast grows from left to right: the variance filter has something to do."""
    rng = np.random.default_rng(0)
    height = round((megapixels * 1e6 / 6) ** 0.5)
    width = 3 * height // 2
    contrast = np.linspace(0, 1, 2 * width, dtype=np.float32)[:, None]
    for number in range(images):
        noise = rng.random((2 * height, 2 * width, 3), dtype=np.float32) - 0.5
        target = (127.5 + 255 * contrast * noise).astype(np.uint8)
        bayer = rng.integers(0, 65536, (height, width, 4), dtype=np.uint16)
        append(folder, f"{number}", bayer, target, cfa="RGGB", cam2srgb=np.eye(3), camera="noise")


def forget(folder: Path) -> None:
    """Drop a folder's files from the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--count", type=int, default=20, help="patches in a batch")
    parser.add_argument("--patch", type=int, default=128, help="side in Bayer pixels")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    device, count, patch = torch.device(settings.device), settings.count, settings.patch

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_noise(folder, settings.images, settings.megapixels)
        pairs = Pairs.open(folder).to(device)
        images = torch.arange(len(pairs), device=device)
        generator = torch.Generator(device).manual_seed(0)

        def batch(textured: bool) -> Callable[[], object]:
            return lambda: sample(pairs, images, count, patch, generator, textured)

        rows = {"sample": milliseconds(batch(False), 30), "sample, textured": milliseconds(batch(True), 30)}
        if device.type == "cpu":
            cold = Pairs.open(folder)  # a mapping of its own: pages in use by another stay in the cache
            del pairs
            pairs = cold
            rows["sample, cold"] = milliseconds(batch(False), 5, lambda: forget(folder))
        one = images[:1]
        rows["fixed places of one image, textured"] = milliseconds(
            lambda: fixed_places(pairs, one, 100, patch, generator, textured=True), 3
        )

        manipulations = Manipulations(("sharpen", "gaussian", "jpeg:80", "resample"))
        joint = JointModel(models.build("UNet"), manipulations, Channel(), FAN()).to(device)
        optimiser = torch.optim.Adam(joint.parameters(), lr=1e-4)
        patches = sample(pairs, images, count, patch, generator, textured=False)

        def step() -> None:
            logits, developed = joint(patches.bayer)
            loss = loss_fan(logits) + 0.1 * loss_nip(developed, patches.target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        training = milliseconds(step, 10 if device.type == "cuda" else 2)
    print(f"{count} patches of RAW {patch}, {len(images)} images of {settings.megapixels:g} Mpx, {device}")
    for name, time_taken in rows.items():
        share = f"{time_taken / training:9.2%} of a step" if name.startswith("sample") else ""
        print(f"{name:38}{time_taken:10.2f} ms {share}")
    print(f"{'joint training step (UNet, FAN)':38}{training:10.2f} ms")


if __name__ == "__main__":
    main()
