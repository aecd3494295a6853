"""A package: what a study hands over to people who examine photographs; a folder or a zip file.

    package.json                        version, trial, size, about; byte count and SHA-256 of every other file
    nip.safetensors                     the NIP, which develops RAW files
    fan.safetensors                     the FAN, which tells manipulations apart
    calibration.safetensors             what its outputs mean; may be missing
    nip.onnx, fan.onnx, nip-int8.onnx   the same networks for other programs; may be missing

A package may come from a stranger: nothing in it is executed, and what does not fit is refused as a whole.
"""

import hashlib
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import models
from cameras import atomic
from cameras.errors import one_line, printable
from channel import Manipulations
from forensics import fan as fans
from forensics.analysis.calibration import Calibration
from forensics.documents import from_document
from forensics.fan import FAN
from forensics.package_files import (
    CALIBRATION_FILE,
    DOCUMENT,
    EXTRAS,
    FAN_FILE,
    NIP_FILE,
    PackageError,
    check_place,
    content,
    is_zip,
    opened,
    pack,
    replace_folder,
)
from forensics.trial import Trial
from models import tensorfile

VERSION = 1  # raise it when an older release could no longer read what is written
ENTRIES = {"version", "trial", "size", "about", "files", "sha256"}  # of package.json
DEPTH = 16  # of nested JSON
SETTING = 512  # largest whole number, and
SETTINGS = 16  # most values in a list, among the settings of a NIP: what a small file makes us build stays small
PIXELS = 10**9  # of a developed photograph


@dataclass(frozen=True)
class Package:
    """What a study hands over.

    Attributes:
        nip, fan: on the CPU, set to evaluation.
        trial: that trained them; its manipulations are the FAN's classes, after native.
        size: height and width of a photograph as the NIP develops it.
        calibration: None where there is none.
        about: metrics with their intervals, provenance, licence note, release; JSON-able.

    Raises:
        PackageError: the parts do not fit each other, or a number is not finite.
    """

    nip: models.NIP
    fan: FAN
    trial: Trial
    size: tuple[int, int]
    calibration: Calibration | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        classes, decided = self.classes, self.fan.decision.out_features
        if decided != len(classes):
            raise PackageError(f"the FAN tells {decided} classes apart, the trial names {len(classes)}")
        if self.nip.name != self.trial.isp:
            raise PackageError(f"the NIP is a {self.nip.name}, that of the trial a {self.trial.isp}")
        height, width = self.size
        if not (min(height, width) >= 2 and height * width <= PIXELS and height % 2 == width % 2 == 0):
            raise PackageError(f"no photograph has a size of {height}×{width} px: two even numbers are needed")
        for name, network in (("NIP", self.nip), ("FAN", self.fan)):
            if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
                raise PackageError(f"the {name} has weights that are not finite numbers")
            network.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        """What the FAN tells apart: native, then the manipulations."""
        return Manipulations(self.trial.manipulations).classes


def load_package(path: str | os.PathLike[str]) -> Package:
    """Load a package from a folder or a zip file.

    Raises:
        PackageError: it is missing, damaged, of a newer release, or unfit in any other way; one line says why.
        OSError: it cannot be read at the moment.
    """
    return _load(Path(path), of=Path(path))


def _load(path: Path, of: Path) -> Package:
    """The package at ``path``; errors name ``of``."""
    if not path.exists():
        raise PackageError(f"{printable(of)}: there is no such package")
    with tempfile.TemporaryDirectory(prefix="package-") as folder:
        try:
            return _read(_fetch(path, Path(folder)), Path(folder))
        except (ValueError, RuntimeError, TypeError, LookupError, OverflowError, RecursionError) as error:
            reason = one_line(error).replace(f"{folder}/", "")  # it says nothing to anybody
            raise PackageError(f"{printable(of)}: {reason}") from error


def _read(document: Mapping[str, Any], folder: Path) -> Package:
    """The package out of its files, which have been verified."""
    calibration = folder / CALIBRATION_FILE
    size = document["size"]
    if not isinstance(size, list) or [type(side) for side in size] != [int, int]:
        raise PackageError("its size is no height and width")
    if not isinstance(document["about"], dict):
        raise PackageError("what it says about itself is no JSON object")
    return Package(
        nip=models.load(folder / NIP_FILE, build=_small_nip),
        fan=models.load(folder / FAN_FILE, build=_small_fan),
        trial=from_document(Trial, document["trial"], "trial"),
        size=(size[0], size[1]),
        calibration=_calibration(calibration) if calibration.exists() else None,
        about=document["about"],
    )


def _small_nip(name: str, **settings: Any) -> models.NIP:
    """A NIP whose settings cannot ask for much more memory than that of a study."""
    for setting, value in settings.items():
        values = value if isinstance(value, list) else [value]
        if len(values) > SETTINGS or any(isinstance(one, int) and not 0 <= one <= SETTING for one in values):
            raise ValueError(f"the setting {setting[:40]!r} of the NIP is beyond {SETTING}, or a longer list")
    return models.build(name, **settings)


def _small_fan(name: str, classes: int) -> FAN:
    if type(classes) is not int or not 2 <= classes <= SETTING:
        raise ValueError(f"a FAN tells 2 to {SETTING} classes apart")
    return fans.build(name, classes)


def _calibration(path: Path) -> Calibration:
    return Calibration.from_tensors(*tensorfile.read(path, "calibration"))


def save_package(path: str | os.PathLike[str], package: Package, extra: Mapping[str, Path] | None = None) -> None:
    """Write a package as a whole or not at all: a zip file if its name ends in ``.zip``, else a folder.

    Equal packages give equal bytes. An earlier package there is replaced.

    Args:
        extra: further files by their names, of :data:`forensics.package_files.EXTRAS`.

    Raises:
        PackageError: something else is there, or what would be written could not be loaded.
        OSError: it cannot be written; what was there is still there.
    """
    path, extra = Path(path), extra or {}
    check_place(path)
    if unknown := sorted(extra.keys() - set(EXTRAS)):
        raise PackageError(f"{unknown[0]} is no file of a package: there are {', '.join(EXTRAS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir()
        _write_files(part, package, extra)
        _load(part, of=path)
        if is_zip(path):
            with atomic.writing(path) as file:
                pack(part, file)
        else:
            replace_folder(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_files(folder: Path, package: Package, extra: Mapping[str, Path]) -> None:
    models.save(folder / NIP_FILE, package.nip)
    models.save(folder / FAN_FILE, package.fan)
    if package.calibration is not None:
        tensorfile.write(folder / CALIBRATION_FILE, "calibration", *package.calibration.to_tensors())
    for name, source in extra.items():
        shutil.copyfile(source, folder / name)
    document = {
        "version": VERSION,
        "trial": asdict(package.trial),
        "size": list(package.size),
        "about": package.about,
        "files": {each.name: _listed(each) for each in sorted(folder.iterdir())},
    }
    try:
        document = json.loads(json.dumps(document, allow_nan=False))  # as it will be read
        text = json.dumps(document | {"sha256": _digest(document)}, indent=1, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise PackageError(f"what the package says about itself is no JSON: {one_line(error)}") from None
    atomic.write(folder / DOCUMENT, text)


def _listed(path: Path) -> dict[str, Any]:
    """What package.json lists of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _fetch(path: Path, folder: Path) -> dict[str, Any]:
    """Copy the files of a package into a folder and return its package.json, once everything has been verified."""
    with opened(path) as files:
        if DOCUMENT not in files:
            raise PackageError(f"no package: it holds no {DOCUMENT}")
        document = _parsed(content(files, DOCUMENT))
        listed = document["files"]
        if not isinstance(listed, dict) or DOCUMENT in listed or {DOCUMENT, *listed} != files.keys():
            raise PackageError(f"its files are not those that {DOCUMENT} lists")
        if lost := {NIP_FILE, FAN_FILE} - listed.keys():
            raise PackageError(f"it has no {min(lost)}")
        for name, expected in listed.items():
            found = content(files, name)
            if expected != {"bytes": len(found), "sha256": hashlib.sha256(found).hexdigest()}:
                raise PackageError(f"{name} is damaged: it is not what {DOCUMENT} lists")
            if name not in EXTRAS:
                (folder / name).write_bytes(found)
    return document


def _parsed(content: bytes) -> dict[str, Any]:
    """package.json, which is intact and of this version."""
    try:
        document = json.loads(content)
        depth = _depth(document)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{DOCUMENT} is no JSON: {one_line(error, 100)}") from error
    if not isinstance(document, dict) or type(document.get("version")) is not int:
        raise PackageError(f"no package: {DOCUMENT} names no version")
    if document["version"] > VERSION:
        raise PackageError(
            f"made by a newer release: its version is {document['version']}, this release reads up to {VERSION}"
        )
    if document["version"] < 1 or depth > DEPTH:
        raise PackageError(f"{DOCUMENT} has an impossible version, or is nested deeper than {DEPTH}")
    if document.keys() != ENTRIES:
        raise PackageError(f"{DOCUMENT} has other entries than a package of version {VERSION}")
    if document.pop("sha256") != _digest(document):
        raise PackageError(f"{DOCUMENT} is damaged: its contents do not match the checksum written with them")
    return document


def _depth(value: object) -> int:
    """How deep JSON is nested.

    Raises:
        ValueError: a number is not finite.
    """
    if isinstance(value, dict | list):
        return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    return 0
