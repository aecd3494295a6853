"""Two pipelines on the same photographs: how far their pictures lie apart, in figures and to look at."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cameras.errors import printable
from cameras.folders import expand
from cameras.photographs import sha256
from cameras.raw import RawError, RawFrame
from forensics.comparison_page import draw, write_page
from forensics.development import CameraError, ExistsError, Pipeline, check_replaceable, picture_names
from forensics.pictures import turned
from models.fidelity import WINDOW, ms_ssim, psnr, ssim
from models.flip import flip

DISTANCES = ("psnr", "ssim", "ms_ssim", "flip")


@dataclass(frozen=True)
class Compared:
    """A RAW file as two pipelines develop it.

    page: the picture that shows both; None where the file was refused.
    distances: by the names of `DISTANCES`: PSNR in dB (infinite where both are equal), SSIM, MS-SSIM, FLIP.
    refused: why, in one line without the file's name; "" where it was not.
    """

    file: Path
    page: Path | None = None
    height: int = 0
    width: int = 0
    distances: Mapping[str, float] = field(default_factory=dict)
    refused: str = ""


def compare_files(files: Iterable[Path], one: Pipeline, other: Pipeline, folder: Path) -> Iterator[Compared]:
    """Develop RAW files by two pipelines and write a page for each, such as IMG_0001-compared.png.

    A page replaces an older one only if that is of the same RAW file and the same pipelines.

    Args:
        files: RAW files, as `cameras.importing.raw_files` finds them.
        folder: where the pages go; it is created.
    """
    folder = expand(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path, name in picture_names(files, "-compared.png").items():
        try:
            yield _compare_file(path, one, other, folder / name)
        except (RawError, CameraError, ExistsError) as error:
            yield Compared(path, refused=str(error).removeprefix(f"{printable(path)}: "))


def _compare_file(path: Path, one: Pipeline, other: Pipeline, page: Path) -> Compared:
    frame = RawFrame.open(path)
    mark = f"{sha256(path)} {one.identity} {other.identity}"
    unique_id = hashlib.sha256(mark.encode()).hexdigest()[:32]
    check_replaceable(page, unique_id)
    a, b = one.develop(path, frame), other.develop(path, frame)
    if a.shape != b.shape:  # of sensors whose pixels are not square, LibRaw's picture is stretched
        sizes = " and ".join(f"{picture.shape[0]}×{picture.shape[1]}" for picture in (a, b))
        raise RawError(f"{printable(path)}: the pipelines give pictures of {sizes} pixels, which cannot be compared")
    found = distances(a, b)
    heading = [path.name, f"A: {Path(one.name).name}", f"B: {Path(other.name).name}", in_words(found)]
    write_page(page, draw(turned(a, frame.orientation), turned(b, frame.orientation), heading), unique_id)
    height, width, _ = a.shape
    return Compared(path, page, height, width, found)


def distances(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """How far two pictures (H,W,3) in [0,1] lie apart, by the names of `DISTANCES`; 0.3 GB of memory per megapixel.

    Raises:
        RawError: they are smaller than the window of SSIM.
    """
    height, width, _ = one.shape
    if min(height, width) < WINDOW:
        raise RawError(f"{height}×{width} pixels are too few for SSIM, which needs {WINDOW}×{WINDOW}")
    a, b = (torch.from_numpy(picture).movedim(-1, 0)[None] for picture in (one, other))
    found = psnr(a, b).item(), ssim(a, b).item(), ms_ssim(a, b).item(), flip(a, b).item()
    return dict(zip(DISTANCES, found, strict=True))


def in_words(found: Mapping[str, float]) -> str:
    similar = f"SSIM {found['ssim']:.4f}, MS-SSIM {found['ms_ssim']:.4f}"
    return f"PSNR {found['psnr']:.2f} dB, {similar}, FLIP {found['flip']:.4f}"
