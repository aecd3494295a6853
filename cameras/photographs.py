"""Read photographs from files: the pixels as they are stored, and what the file says about itself.

Traces of a sensor, of a camera's processing and of JPEG belong to the stored pixels. So a photograph is neither turned
nor scaled. A camera that is held upright writes the sensor's rows as they are, and an EXIF orientation for the viewer,
which is *not* applied here.

| file                                             | what happens                                                    |
|--------------------------------------------------|-----------------------------------------------------------------|
| JPEG, PNG, TIFF, WebP, AVIF in RGB, 8 bits       | read                                                            |
| grey                                             | read, with three equal channels                                 |
| RGB or grey with transparency                    | read where every pixel is opaque, refused otherwise             |
| RGB of 16 bits a channel                         | the upper 8 bits are read                                       |
| grey of 16 or 32 bits, palette, CMYK, YCbCr, Lab | refused: no camera stores a photograph so                       |
| JPEG with several pictures (of phones)           | the first one is read; the others are previews and gain maps    |
| animation, several pages                         | refused                                                         |
| up to 200 megapixels / more                      | read / refused, before memory is taken                          |
| damaged or cut off, RAW, GIF, HEIC, no picture   | refused                                                         |
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from cameras import folders
from cameras.container import is_raw
from cameras.errors import one_line

if TYPE_CHECKING:
    from PIL import Image  # imported only where it is needed: training code must not import it

SUFFIXES = (".avif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # of photographs in folders
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF")  # of Pillow
MODES = ("RGB", "L", "RGBA", "LA")  # of Pillow: colour, grey, and both with transparency
ORIENTATION = 274  # EXIF's tag: 1 to 8, of which 5 to 8 change height and width
PNG_EXIF = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}  # where a PNG can state an orientation
MOST_PIXELS = 200_000_000  # of a photograph: the largest sensors of phones; 600 MB as `read` returns it
SUBSAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1"}

Source = Path | BinaryIO  # a file, or its content


class PhotographError(ValueError):
    """A file that is not read as a photograph; the message is one line with the reason, without the file's name."""


@dataclass(frozen=True)
class Header:
    """What a photograph's file says about itself.

    Attributes:
        format: one of `FORMATS`.
        height, width: of the stored pixels.
        orientation: EXIF 1 to 8, how a viewer turns the stored pixels; 1 where the file does not say it.
        grey: whether it has one channel.
        bits: of a channel, 8 or 16.
        jpeg_quality: 1 to 100 of a JPEG file whose quantisation tables are those of the JPEG standard, scaled as
            libjpeg scales them; None for other tables (of cameras, of Photoshop) and for other formats.
        subsampling: of a JPEG file's chroma, such as "4:2:0"; None for grey, for unusual ones and for other formats.
    """

    format: str
    height: int
    width: int
    orientation: int
    grey: bool
    bits: int
    jpeg_quality: int | None
    subsampling: str | None


def photograph_files(paths: Iterable[Path | str]) -> list[Path]:
    """The files given and the photographs in the folders given, as `folders.find`. Raises ValueError as it does."""
    return folders.find(paths, SUFFIXES, "photographs")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def header(source: Source) -> Header:
    """Read what a file says about itself, without its pixels. Raises PhotographError as `read`, but for the pixels."""
    with _opened(source) as image:
        deep = any(";16" in str(part) for part in getattr(image, "tile", ()))  # before anything is loaded
        orientation, (width, height) = _orientation(image), image.size
        if image.format == "TIFF" and orientation >= 5:  # Pillow states the size that it has when turned
            width, height = height, width
        return Header(
            format="JPEG" if image.format == "MPO" else str(image.format),
            height=height,
            width=width,
            orientation=orientation,
            grey=image.mode in ("L", "LA"),
            bits=16 if deep else 8,
            jpeg_quality=_quality(getattr(image, "quantization", {})),
            subsampling=_subsampling(getattr(image, "layer", [])),
        )


def read(source: Source) -> Tensor:
    """Read a photograph's pixels as they are stored: RGB (1,3,H,W) uint8.

    Raises:
        PhotographError: a file that the table above refuses, or one that cannot be opened.
    """
    with _opened(source) as image:
        pixels = np.atleast_3d(np.array(_as_stored(image)))  # (H,W,1 to 4) uint8
    if pixels.shape[2] in (2, 4):
        if (pixels[..., -1] < 255).any():
            raise PhotographError("has transparent pixels: give the photograph as the camera wrote it")
        pixels = pixels[..., :-1]
    channels = torch.from_numpy(pixels).movedim(-1, 0)[None]  # (1,1 or 3,H,W)
    return channels.expand(-1, 3, -1, -1).contiguous()


@contextmanager
def _opened(source: Source) -> Iterator["Image.Image"]:
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # of this process; Pillow's own limit lies at 179 megapixels
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            source.open("rb") if isinstance(source, Path) else nullcontext(source) as file,
        ):
            if is_raw(file):  # Pillow would read the thumbnail
                raise PhotographError("is a RAW file: it has to be developed first")
            image = Image.open(file, formats=FORMATS)
            if image.width * image.height > MOST_PIXELS:
                raise _too_large()
            pictures = getattr(image, "n_frames", 1)
            if pictures > 1 and image.format != "MPO":
                raise PhotographError(f"holds {pictures} pictures: save the photograph by itself")
            if image.mode not in MODES:
                raise PhotographError(f"has pixels of type {image.mode}: save it as RGB or grey in 8 bits")
            yield image
    except PhotographError:
        raise
    except Image.DecompressionBombError:
        raise _too_large() from None
    except UnidentifiedImageError:
        raise PhotographError(f"is no {', '.join(FORMATS)} file inside") from None
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        raise PhotographError(f"cannot be read: {one_line(getattr(error, 'strerror', None) or error)}") from error


def _too_large() -> PhotographError:
    return PhotographError(f"has more than {MOST_PIXELS / 1e6:.0f} megapixels: give a part of it")


def _orientation(image: "Image.Image") -> int:
    """EXIF's orientation of an image that is not loaded yet: loading turns a TIFF file and removes the tag."""
    if image.format == "PNG" and not image.info.keys() & PNG_EXIF:
        return 1  # without looking for EXIF behind the pixels, where no program writes it: that would decode them
    with suppress(Exception):  # of damaged EXIF, Pillow raises many kinds of errors; the pixels are there nevertheless
        orientation = image.getexif().get(ORIENTATION, 1)
        return orientation if orientation in range(1, 9) else 1
    return 1


def _as_stored(image: "Image.Image") -> "Image.Image":
    """The picture without its orientation applied: on loading, Pillow turns TIFF files, but no others."""
    from PIL.Image import Transpose

    if image.format != "TIFF":
        return image
    back = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_90,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_270,
    }.get(_orientation(image))
    image.load()
    return image if back is None else image.transpose(back)


# --- JPEG ---


def _quality(tables: dict[int, Any]) -> int | None:
    """The quality at which libjpeg writes these quantisation tables: one of grey, two of colour."""
    found = tuple(tuple(tables[number]) for number in sorted(tables))
    return _qualities().get(found)


@cache
def _qualities() -> dict[tuple[tuple[int, ...], ...], int]:
    """The quality of every pair of tables, and of every table for grey, as Pillow's libjpeg writes them."""
    from PIL import Image

    found: dict[tuple[tuple[int, ...], ...], int] = {}
    for quality in range(1, 101):
        for mode in ("RGB", "L"):
            content = BytesIO()
            Image.new(mode, (8, 8)).save(content, "jpeg", quality=quality)
            with Image.open(content) as image:
                tables: dict[int, Any] = getattr(image, "quantization", {})
                found[tuple(tuple(table) for _, table in sorted(tables.items()))] = quality
    return found


def _subsampling(layers: list[tuple[int, int, int, int]]) -> str | None:
    """The chroma subsampling of a JPEG file's layers: number, horizontal and vertical factor, table."""
    if len(layers) != 3:
        return None
    (_, h, v, _), *chroma = layers
    factors = {(h // one[1], v // one[2]) for one in chroma if h % one[1] == 0 and v % one[2] == 0}
    return SUBSAMPLING.get(factors.pop()) if len(factors) == 1 else None
