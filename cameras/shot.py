"""What a RAW file says about its shot, and a photograph's EXIF of it (CIPA DC-008, Exif 2.32).

What identifies a person or a body stays behind: its serial number, its owner, and where it was.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from cameras.container import read_container
from cameras.tiff import EXIF_DIRECTORY, Value

if TYPE_CHECKING:
    from PIL.Image import Exif

ORIENTATION, SOFTWARE, IMAGE_UNIQUE_ID = 274, 305, 42016
CAMERA_TAGS = {"Make": 271, "Model": 272}  # of the first directory
SHOT_TAGS = {
    "ExposureTime": 33434,  # s
    "FNumber": 33437,
    "ISO": 34855,
    "DateTimeOriginal": 36867,
    "FocalLength": 37386,  # mm
}  # of the EXIF directory
PROJECT = "forensic-imaging-pipelines"
MOST_TEXT = 64  # letters
FINEST = 100_000  # denominator of a fraction: exposures of 1/32000 s are exact

Shot = Mapping[str, str | int | Fraction]


def read_shot(path: Path) -> Shot:
    """The tags above of a RAW file, by name, as far as they are there. Raises ValueError as `read_container`."""
    tags = CAMERA_TAGS | SHOT_TAGS
    directories = read_container(path, frozenset(tags.values())).directories
    found: dict[str, str | int | Fraction] = {}
    for name, tag in tags.items():
        values = (_usable(name, directory[tag]) for directory in directories if tag in directory)
        if value := next((value for value in values if value), None):
            found[name] = value
    return found


def exif(shot: Shot, orientation: int, unique_id: str) -> "Exif":
    """EXIF of a photograph that this project developed.

    Args:
        orientation: 1 to 8, how a viewer turns the stored pixels.
        unique_id: 32 hexadecimal digits.
    """
    from PIL.Image import Exif
    from PIL.TiffImagePlugin import IFDRational

    made = Exif()
    made[ORIENTATION] = orientation
    made[SOFTWARE] = PROJECT
    inner = made.get_ifd(EXIF_DIRECTORY)
    inner[IMAGE_UNIQUE_ID] = unique_id
    for name, value in shot.items():
        stored = IFDRational(value.numerator, value.denominator) if isinstance(value, Fraction) else value
        if name in CAMERA_TAGS:
            made[CAMERA_TAGS[name]] = stored
        else:
            inner[SHOT_TAGS[name]] = stored
    return made


def _usable(name: str, value: Value) -> str | int | Fraction | None:
    """A value of the tag's own type, or None: RAW files of damaged or unusual content have others."""
    if name in ("Make", "Model", "DateTimeOriginal"):
        return value[:MOST_TEXT] if isinstance(value, str) and value.isascii() and value.isprintable() else None
    if not isinstance(value, tuple) or not value or not math.isfinite(value[0]) or not 0 < value[0] < 2**16:
        return None
    return int(value[0]) if name == "ISO" else Fraction(value[0]).limit_denominator(FINEST)
