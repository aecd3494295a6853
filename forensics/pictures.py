"""Write developed photographs: PNG and JPEG in 8 bits, TIFF in 16, each with its EXIF."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, get_args

import numpy as np

from cameras import atomic

if TYPE_CHECKING:
    from PIL.Image import Exif

Kind = Literal["png", "jpeg", "tiff"]
SUFFIXES: dict[Kind, str] = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif"}
QUALITY = 95  # of JPEG
assert SUFFIXES.keys() == set(get_args(Kind))


def turned(picture: np.ndarray, orientation: int) -> np.ndarray:
    """A picture (H,W,3) in sensor orientation as a viewer shows it: (H,W,3), or (W,H,3) for EXIF's 5 to 8."""
    if orientation >= 5:
        picture = picture.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def write_picture(path: Path, picture: np.ndarray, exif: "Exif", kind: Kind, quality: int = QUALITY) -> None:
    """Write a picture (H,W,3) in [0,1], atomically; an older file is replaced. Values are rounded to the nearest.

    Args:
        quality: of JPEG, which keeps colour at full resolution (4:4:4).
    """
    from PIL import Image

    with atomic.writing(path) as part, part.open("wb") as file:
        if kind == "tiff":
            _write_tiff(file, np.rint(picture * 65535).astype("<u2"), exif)
            return
        image = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
        if kind == "png":
            image.save(file, "png", exif=exif)
        else:
            image.save(file, "jpeg", exif=exif, quality=quality, subsampling="4:4:4")


def _write_tiff(file: BinaryIO, pixels: np.ndarray, exif: "Exif") -> None:
    """An uncompressed TIFF (6.0) of one strip: (H,W,3) uint16, little-endian. Pillow has no pixels of this type."""
    from PIL import TiffImagePlugin as Tiff

    height, width, channels = pixels.shape
    directory = Tiff.ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    for tag, value in (
        *exif.items(),
        (Tiff.EXIFIFD, exif.get_ifd(Tiff.EXIFIFD)),
        (Tiff.IMAGEWIDTH, width),
        (Tiff.IMAGELENGTH, height),
        (Tiff.BITSPERSAMPLE, (16,) * channels),
        (Tiff.COMPRESSION, 1),
        (Tiff.PHOTOMETRIC_INTERPRETATION, 2),  # RGB
        (Tiff.SAMPLESPERPIXEL, channels),
        (Tiff.PLANAR_CONFIGURATION, 1),  # RGBRGB…
        (Tiff.ROWSPERSTRIP, height),
        (Tiff.STRIPOFFSETS, 0),  # behind the directory: Pillow adds where that is
        (Tiff.STRIPBYTECOUNTS, pixels.nbytes),
    ):
        directory[tag] = value
    directory.save(file)
    file.write(pixels.data)
