"""analysis of a photograph out of a JPEG file: seconds and peak memory, each in a process of its own"""

import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import models
from benchmarks.rows import Row
from cameras.scenes import scene_sources
from channel import Manipulations
from forensics.analysis.fitting import fit
from forensics.analysis.samples import samples
from forensics.fan import FAN
from forensics.package import Package, load_package, save_package
from forensics.trial import Training, Trial

SIZES = ((512, 768), (4000, 6000))  # of the received photographs


def rows(tiny: bool = False) -> Iterator[Row]:
    sizes = ((64, 96),) if tiny else SIZES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = save(folder / "package", max(sizes))
        for height, width in sizes:
            photograph = folder / f"{height}.jpg"
            write(photograph, height, width)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, gigabytes = pool.apply(measured, (package, photograph))
            megapixels = height * width / 1e6
            yield Row(
                f"analyse {height}×{width} px, two lattices",
                seconds,
                "s",
                figures={"s/Mpx": seconds / megapixels, "GB at most": gigabytes},
                note=f"{os.cpu_count()} threads",
            )


def save(path: Path, received: tuple[int, int]) -> Path:
    """Write a package of untrained networks that accepts photographs of this size."""
    generator = torch.Generator().manual_seed(0)
    trial = Trial("benchmark", "INet", "fixed", training=Training(window=32, patch=32, precision="bfloat16"))
    nip, fan = models.build("INet").eval(), FAN(5, generator).eval()
    stacks = [torch.rand(1, 4, 64, 96, generator=generator) for _ in range(5)]
    calibration = fit(
        list(samples(trial, nip, fan, stacks, ("jpeg:90",), crops=(1.0,))), Manipulations(trial.manipulations).classes
    )
    size = (2 * received[0], 2 * received[1])
    save_package(path, Package(nip, fan, trial, size, calibration))
    return path


def write(path: Path, height: int, width: int) -> None:
    """A scene of 512×768 px at most, repeated."""
    scene = scene_sources("dead-leaves")["dead-leaves"](min(height, 512), min(width, 768), np.random.default_rng(0))
    tiles = (-(-height // scene.shape[0]), -(-width // scene.shape[1]), 1)
    pixels = (255 * np.tile(scene, tiles)[:height, :width] ** (1 / 2.2)).round().astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=90, subsampling=0)


def measured(package: Path, photograph: Path) -> tuple[float, float]:
    """Seconds of an analysis, and gigabytes that this process has needed at most."""
    from forensics.analysis.analyse import analyse

    loaded = load_package(package)
    analyse(loaded, torch.zeros(1, 3, 64, 96, dtype=torch.uint8), 0.5)  # what is compiled or imported at first use
    start = time.perf_counter()
    analyse(loaded, photograph, 0.5)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
