"""Packages of a small NIP with weights by a formula, so that one takes a few kilobytes when it is compressed."""

import dataclasses
import zipfile
from pathlib import Path

import torch
from torch import nn

import models
from forensics.fan import FAN
from forensics.package import Package, save_package
from forensics.trial import Distribution, Split, Training, Trial, Validation

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
