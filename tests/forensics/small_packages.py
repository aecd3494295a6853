"""Packages of a small NIP with weights by a formula, so that one takes a few kilobytes when it is compressed."""

import dataclasses
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

import models
from cameras.scenes import dead_leaves
from cameras.simulate import PRESETS, capture, frame
from channel import Manipulations
from forensics.analysis.fitting import fit
from forensics.analysis.samples import samples
from forensics.fan import FAN
from forensics.package import Package, save_package
from forensics.panel import shrunk_to_8_bits, to_8_bits
from forensics.trial import Distribution, Split, Training, Trial, Validation
from forensics.whole import develop_whole

ABOUT = {"release": "0.1.0", "licence": "none, all invented", "metrics": {"accuracy_real": 0.5}, "λ": [0.1, None]}


def weights_by_formula(module: nn.Module) -> None:
    """Seventeen values, over and over again, small enough for any network."""
    with torch.no_grad():
        for value in module.state_dict().values():
            value.copy_(((torch.arange(value.numel()) % 17 - 7) / 256).reshape(value.shape))


def small_package(isp: str = "INet", **changes: object) -> Package:
    trial = Trial(
        "camera",
        isp,
        0.1,
        seed=1,
        split=Split(3, 1),
        training=Training(iterations=6, batch=2, patch=16),
        validation=Validation(every=2, accuracy_patches=3, fidelity_patches=2, textured=False),
        channel=Distribution(),
    )
    nip, fan = models.build(isp, cfa="GBRG"), FAN(5)
    for network in (nip, fan):
        weights_by_formula(network)
    return dataclasses.replace(Package(nip, fan, trial, (96, 128), None, ABOUT), **changes)


def compressed(folder: Path, path: Path) -> None:
    """A package's folder as any program would zip it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted(folder.iterdir()):
            archive.writestr(zipfile.ZipInfo(each.name), each.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def write_fixture(path: Path, folder: Path) -> None:
    """Make what tests/forensics/package-v1.zip is; only for another version, beside the old one."""
    save_package(folder, small_package())
    compressed(folder, path)


def same(a: Package, b: Package) -> bool:
    equal = [
        x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
        for x, y in ((a.nip.state_dict(), b.nip.state_dict()), (a.fan.state_dict(), b.fan.state_dict()))
    ]
    settings = a.nip.name == b.nip.name and a.nip.settings == b.nip.settings
    return all(equal) and settings and (a.trial, a.size, a.about) == (b.trial, b.size, b.about)


@cache
def judging_package() -> Package:
    """A package with a calibration, of a FAN with weights by chance and ten small simulated photographs.

    What it says is seldom true; that it says it, and how, can be tried. Photographs are received with 96×128 px.
    """
    camera = PRESETS["sim-gbrg"]
    trial = Trial("sim-gbrg", "INet", 0.1, training=Training(patch=16), channel=Distribution())
    nip = models.build("INet", cfa=camera.cfa, cam2srgb=camera.cam2srgb.tolist())
    fan = FAN(5, torch.Generator().manual_seed(0)).eval()
    frames = (
        frame(camera, capture(camera, dead_leaves(192, 256, np.random.default_rng(i)), np.random.default_rng(99 + i)))
        for i in range(10)
    )
    stacks = (torch.from_numpy(each.bayer).movedim(-1, 0)[None] for each in frames)
    found = list(samples(trial, nip, fan, stacks, ("jpeg:50", "jpeg:90")))
    about = ABOUT | {"licence": "<b>none</b>, all invented"}
    return Package(nip, fan, trial, (192, 256), fit(found, Manipulations(trial.manipulations).classes), about)


def received(package: Package, number: int = 50) -> torch.Tensor:
    """A photograph (1,3,96,128) uint8 of the package's camera, that it was not calibrated with."""
    camera = PRESETS["sim-gbrg"]
    scene = dead_leaves(192, 256, np.random.default_rng(number))
    bayer = frame(camera, capture(camera, scene, np.random.default_rng(99 + number))).bayer
    developed = develop_whole(package.nip, torch.from_numpy(bayer).movedim(-1, 0)[None])
    return shrunk_to_8_bits(to_8_bits(developed), package.trial.channel)
