"""Whole photographs developed by any pipeline: the standard one, LibRaw's, or a NIP out of a package or a file."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import models
from cameras.develop import develop, develop_libraw
from cameras.errors import printable
from cameras.folders import expand
from cameras.photographs import sha256
from cameras.raw import RawError, RawFrame
from cameras.shot import IMAGE_UNIQUE_ID, exif, read_shot
from cameras.tiff import EXIF_DIRECTORY
from forensics.package import Package, load_package
from forensics.panel import to_8_bits
from forensics.pictures import QUALITY, SUFFIXES, Kind, turned, write_picture
from forensics.whole import develop_whole
from models.fidelity import psnr


class CameraError(ValueError):
    """A NIP and a photograph of different cameras."""


class ExistsError(ValueError):
    """The file of a picture exists, and holds another one."""


@dataclass(frozen=True)
class Pipeline:
    """What develops: ``standard``, ``libraw``, or the name of a file with a NIP.

    identity: of two pipelines that develop otherwise, it differs.
    """

    name: str
    nip: models.NIP | None
    identity: str

    @classmethod
    def open(cls, name: str) -> "Pipeline":
        """Open ``standard``, ``libraw``, a package (folder or zip file), or a safetensors file with a NIP.

        Raises ValueError for anything else.
        """
        if name in ("standard", "libraw"):
            return cls(name, None, name)
        path = expand(name)
        if path.is_dir() or path.suffix.lower() == ".zip":
            nip = load_package(path).nip
        elif path.exists():
            nip = models.load(path)
        else:
            raise ValueError(
                f"{printable(path)}: no such file; name a package, a NIP's safetensors file, 'standard' or 'libraw'"
            )
        return cls(name, nip.to("cuda" if torch.cuda.is_available() else "cpu"), _identity(nip))

    def develop(self, path: Path, frame: RawFrame) -> np.ndarray:
        """Develop a RAW file, and its frame, in sensor orientation: (H,W,3) float32 in [0,1].

        Raises:
            RawError: LibRaw would develop another frame than the file states.
            CameraError: the NIP is of a camera with another colour filter array.
        """
        if self.nip is None:
            return develop(frame) if self.name == "standard" else develop_libraw(path)
        return _by_nip(self.nip, frame)[0].movedim(0, -1).contiguous().numpy()


@dataclass(frozen=True)
class Developed:
    """A RAW file and its picture.

    picture: where it was written, with its height and width; None where the file was refused.
    psnr: in dB from the standard pipeline; None for the standard pipeline itself.
    refused: why, in one line without the file's name; "" where it was not.
    """

    file: Path
    picture: Path | None = None
    height: int = 0
    width: int = 0
    psnr: float | None = None
    refused: str = ""


def develop_raw(package: Package, raw: str | os.PathLike[str]) -> Tensor:
    """Develop a RAW file by the NIP of a package: RGB (1,3,H,W) uint8 in sensor orientation.

    Raises:
        RawError: the file is no RAW file that can be read.
        CameraError: the package is of a camera with another colour filter array.
    """
    return to_8_bits(_by_nip(package.nip, RawFrame.open(Path(raw))))


def _by_nip(nip: models.NIP, frame: RawFrame) -> Tensor:
    """(1,3,H,W) float32 in [0,1]."""
    if nip.settings["cfa"] != frame.cfa:
        raise CameraError(f"the NIP is of a camera with CFA {nip.settings['cfa']}, the file has {frame.cfa}")
    return develop_whole(nip, torch.from_numpy(frame.bayer).movedim(-1, 0)[None])


def develop_files(
    files: Iterable[Path],
    pipeline: Pipeline,
    folder: Path,
    kind: Kind = "png",
    quality: int = QUALITY,
    upright: bool = True,
) -> Iterator[Developed]:
    """Develop RAW files into pictures of the same names, with the EXIF of the shot.

    Files of one name, from several folders or with several suffixes, get distinct pictures: a hash of the file's path
    is added to the name, such as IMG_0001-3f2a9c01.png. A picture replaces an older one only if that is of the same RAW
    file by the same pipeline; EXIF's ImageUniqueID says so.

    Args:
        files: RAW files, as `cameras.importing.raw_files` finds them.
        folder: where the pictures go; it is created.
        kind, quality: as in `forensics.pictures.write_picture`.
        upright: turn the pixels as the file says that the camera was held. Many viewers turn JPEG files themselves, but
            no PNG and TIFF files. Otherwise the pixels stay as the sensor took them, which its fingerprint needs, and
            EXIF's Orientation says how to turn them.
    """
    folder = expand(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path, name in picture_names(files, SUFFIXES[kind]).items():
        try:
            yield _develop_file(path, pipeline, folder / name, kind, quality, upright)
        except (RawError, CameraError, ExistsError) as error:
            yield Developed(path, refused=str(error).removeprefix(f"{printable(path)}: "))


def _develop_file(path: Path, pipeline: Pipeline, out: Path, kind: Kind, quality: int, upright: bool) -> Developed:
    frame = RawFrame.open(path)
    unique_id = hashlib.sha256(f"{sha256(path)} {pipeline.identity}".encode()).hexdigest()[:32]
    check_replaceable(out, unique_id)
    picture = pipeline.develop(path, frame)
    distance = None if pipeline.name == "standard" else _psnr(picture, develop(frame))
    written = turned(picture, frame.orientation) if upright else picture
    about = exif(read_shot(path), 1 if upright else frame.orientation, unique_id)
    write_picture(out, written, about, kind, quality)
    height, width, _ = written.shape
    return Developed(path, out, height, width, distance)


def check_replaceable(picture: Path, unique_id: str) -> None:
    """Refuse to replace what is not the same picture, made earlier.

    Raises:
        ExistsError: the file exists, and has another ImageUniqueID, or none.
    """
    if picture.exists() and _unique_id(picture) != unique_id:
        raise ExistsError(
            f"{printable(picture)} exists, of another file or by another pipeline: remove it, or choose another folder"
        )


def _unique_id(picture: Path) -> str | None:
    """EXIF's ImageUniqueID of a picture; None where there is none."""
    from PIL import Image

    try:
        with Image.open(picture) as image:
            return image.getexif().get_ifd(EXIF_DIRECTORY).get(IMAGE_UNIQUE_ID)
    except Exception:  # whatever it is, it is no picture of ours
        return None


def picture_names(files: Iterable[Path], suffix: str) -> dict[Path, str]:
    """A name for the picture of every file; no two are the same, not even where upper and lower case are."""
    files = list(files)
    counts = Counter(path.stem.lower() for path in files)
    names = {}
    for path in files:
        mark = f"-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}" if counts[path.stem.lower()] > 1 else ""
        names[path] = f"{path.stem}{mark}{suffix}"
    return names


def _identity(nip: models.NIP) -> str:
    """SHA-256 of a NIP's settings and weights."""
    digest = hashlib.sha256(json.dumps([nip.name, nip.settings], sort_keys=True).encode())
    for name, weights in sorted(nip.state_dict().items()):
        digest.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _psnr(picture: np.ndarray, target: np.ndarray) -> float:
    return psnr(*(torch.from_numpy(image).movedim(-1, 0)[None] for image in (picture, target))).item()
