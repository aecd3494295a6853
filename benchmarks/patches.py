"""Time to sample one batch of patches, compared with one joint training step of a NIP and the FAN.

    python -m benchmarks.patches [--isp UNet] [--patch 128] [--batch 20] [--precision float32] [--textured]

The step is that of `forensics.training`, including sampling: with the paper's manipulations and channel, channels-last,
in the given precision, by fused Adam. "Textured" is the paper's variance filter.

Pairs of noise are written to a temporary folder (5 bytes per pixel), memory-mapped, and moved to the device if it is a
GPU. "Cold" removes the files from the page cache before every batch, so everything is read from disk.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import models
from benchmarks.timing import milliseconds
from cameras.pairs import Pairs, append
from cameras.patches import Patches, fixed_places, sample
from forensics import Trial
from forensics.joint import loss_fan, loss_nip
from forensics.training import build_model
from forensics.trial import Training
from models.nip import move


def write_noise(folder: Path, images: int, megapixels: float) -> None:
    """Write images of 3:2 whose contrast grows from left to right, so that the variance filter rejects some places."""
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
    """Remove a folder's files from the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--isp", choices=list(models.NIPS), default="UNet")
    parser.add_argument("--batch", type=int, default=20, help="patches in a batch")
    parser.add_argument("--patch", type=int, default=128, help="side in Bayer pixels")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--textured", action="store_true", help="train on textured patches")
    parser.add_argument("--steps", type=int, default=3, help="training steps timed, after one to warm up")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    device, count, patch = torch.device(settings.device), settings.batch, settings.patch

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_noise(folder, settings.images, settings.megapixels)
        pairs = Pairs.open(folder).to(device)
        images = torch.arange(len(pairs), device=device)
        generator = torch.Generator().manual_seed(0)

        def batch(textured: bool) -> Callable[[], Patches]:
            return lambda: sample(pairs, images, count, patch, generator, textured)

        rows = {"sample": milliseconds(batch(False), 30), "sample, textured": milliseconds(batch(True), 30)}
        if device.type == "cpu":
            cold = Pairs.open(folder)  # a new mapping: pages in use by another one stay in the cache
            del pairs
            pairs = cold
            rows["sample, cold"] = milliseconds(batch(False), 5, before=lambda: forget(folder))
        one = images[:1]
        rows["fixed places of one image, textured"] = milliseconds(
            lambda: fixed_places(pairs, one, 100, patch, generator, textured=True), 3
        )

        training = Training(batch=count, patch=patch, textured=settings.textured, precision=settings.precision)
        trial = Trial(camera="noise", isp=settings.isp, lam=0.1, training=training)
        nip = models.build(trial.isp, cfa=pairs.cfa, cam2srgb=pairs.cam2srgb.tolist())
        model = build_model(trial, nip)
        move(model, device, trial.training.precision)
        adam = torch.optim.Adam(model.parameters(), lr=training.learning_rate, fused=True)

        def step() -> None:
            patches = sample(pairs, images, count, patch, generator, training.textured)
            logits, developed = model(patches.bayer, generator)
            loss = loss_fan(logits) + trial.lam * loss_nip(developed, patches.target)
            adam.zero_grad()
            loss.backward()
            adam.step()

        whole = milliseconds(step, settings.steps)
    print(
        f"{count} patches of RAW {patch}, {len(images)} images of {settings.megapixels:g} Mpx, "
        f"{device}, {settings.threads} threads"
    )
    for name, time_taken in rows.items():
        share = f"{time_taken / whole:9.2%} of a step" if name.startswith("sample") else ""
        print(f"{name:38}{time_taken:10.2f} ms {share}")
    filtered = ", textured" if training.textured else ""
    print(f"{f'training step, {trial.isp}, {training.precision}{filtered}':38}{whole:10.2f} ms")


if __name__ == "__main__":
    main()
