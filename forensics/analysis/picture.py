"""The map of an analysis, painted over its photograph: what was done where, how probable it is, and the regions.

The photograph is grey. Colour begins where *altered* is more probable than *native* (both equally likely beforehand)
and is strongest where it is certain; its hue is that of the most probable manipulation. The hues are those of Okabe and
Ito (2008), which people with any colour vision tell apart. Regions that were decided to be altered have an outline and
a number.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cameras import atomic
from cameras.errors import printable
from cameras.photographs import sha256
from forensics.analysis.analyse import Analysis, Map, Region
from forensics.localisation.maps import at_pixels
from forensics.pictures import turned

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = ("#d55e00", "#56b4e9", "#f0e442", "#cc79a7", "#009e73", "#e69f00", "#0072b2")  # of manipulations, in order
SIDE = 2048  # pixels at most: a map is to be looked at
COVER = 0.75  # of a pixel by colour where altering is certain
MARK = "Photograph"  # in a PNG file: SHA-256 of the photograph that the map is of


class MapError(ValueError):
    """The file of a map exists, and holds something else; the message is one line."""


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def colour(number: int) -> str:
    """The colour ``#rrggbb`` of a manipulation, counted from 0."""
    return COLOURS[number % len(COLOURS)]


def altered(probabilities: Tensor) -> Tensor:
    """Probability (…) of *altered* where it is as likely as *native* beforehand, of probabilities (…,classes).

    Those are of classes that are all equally likely beforehand: *altered* stands for the mean of all but the first.
    """
    one = probabilities[..., 1:].mean(dim=-1)
    return one / (one + probabilities[..., 0]).clamp(min=1e-30)


def shrunk(received: Tensor, side: int = SIDE) -> Tensor:
    """A photograph (1,3,H,W) uint8 with at most so many pixels on its longer side, to look at."""
    from PIL import Image

    image = Image.fromarray(received[0].movedim(0, -1).contiguous().numpy())
    image.thumbnail((side, side))
    return torch.from_numpy(np.array(image)).movedim(-1, 0)[None]


def upright(received: Tensor, orientation: int = 1, side: int = SIDE) -> "Image":
    """A photograph (1,3,H,W) uint8 as a viewer shows it, scaled down to ``side``."""
    from PIL import Image

    return Image.fromarray(turned(_pixels(shrunk(received, side)), orientation))


def painted(received: Tensor, analysis: Analysis, orientation: int = 1, side: int = SIDE) -> "Image":
    """Paint the map of an analysis over its photograph.

    Args:
        received: (1,3,H,W) uint8, as it is stored.
        analysis: of it, with a map.
        orientation: EXIF 1 to 8; the picture is turned as a viewer shows it.
        side: pixels of the longer side, at most.
    """
    from PIL import Image

    assert analysis.map is not None
    small = shrunk(received, side)
    scale = small.shape[2] / received.shape[2]
    grey = _pixels(small).mean(axis=2, keepdims=True)
    share, hue = _paint(analysis.map, scale, *small.shape[2:])
    mixed = np.rint(grey * (1 - share[..., None]) + hue * share[..., None]).astype(np.uint8)
    image = Image.fromarray(turned(mixed, orientation))
    height, width = received.shape[2:]
    for number, region in enumerate(analysis.regions, 1):
        _outline(image, turned_box(region, height, width, orientation), scale, str(number))
    return image


def _pixels(picture: Tensor) -> np.ndarray:
    return picture[0].movedim(0, -1).contiguous().numpy()


def _paint(found: Map, scale: float, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """How much of every pixel is covered (height,width), and by which colour (height,width,3)."""

    def enlarged(values: Tensor) -> Tensor:
        return at_pixels(values, (found.first * scale,) * 2, found.stride * scale, height, width)

    share = COVER * (2 * enlarged(altered(found.probabilities)) - 1).clamp(0, 1)
    manipulations = torch.stack([enlarged(each) for each in found.probabilities[..., 1:].unbind(dim=-1)])
    hues = np.array([tuple(bytes.fromhex(colour(number)[1:])) for number in range(len(manipulations))])
    return share.numpy(), hues[manipulations.argmax(dim=0).numpy()]


def turned_box(region: Region, height: int, width: int, orientation: int) -> Box:
    """Where a region of a photograph of height × width stored pixels lies in it when it is turned for a viewer."""
    rows, columns = ((region.top, region.height, height), (region.left, region.width, width))
    if orientation >= 5:
        rows, columns = columns, rows
    top, left = rows[0], columns[0]
    if orientation in (2, 3, 6, 7):
        left = columns[2] - columns[0] - columns[1]
    if orientation in (3, 4, 7, 8):
        top = rows[2] - rows[0] - rows[1]
    return Box(top, left, rows[1], columns[1])


def _outline(image: "Image", box: Box, scale: float, number: str) -> None:
    """Draw a box in black and white, which is seen on anything, and its number in its corner."""
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(image)
    left, top = round(box.left * scale), round(box.top * scale)
    right, bottom = round((box.left + box.width) * scale) - 1, round((box.top + box.height) * scale) - 1
    thick = max(2, max(image.size) // 500)
    for inset, ink in ((0, "black"), (thick, "white")):
        corner = (left + inset, top + inset, max(right - inset, left + inset), max(bottom - inset, top + inset))
        draw.rectangle(corner, outline=ink, width=thick)
    font = ImageFont.load_default(size=max(12, max(image.size) // 45))
    place = (left + 3 * thick, top + 3 * thick)
    draw.rectangle(_grown(draw.textbbox(place, number, font=font), 2 * thick), fill="black")
    draw.text(place, number, fill="white", font=font)


def _grown(corners: tuple[float, float, float, float], by: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = corners
    return left - by, top - by, right + by, bottom + by


def with_legend(image: "Image", classes: Sequence[str]) -> "Image":
    """A painted map with the names of its colours below it; classes begin with *native*."""
    from PIL import Image, ImageDraw, ImageFont

    names = ("altered by:", *classes[1:])
    font = ImageFont.load_default(size=14)
    line, places, x, y = 24, [], 8, 0
    for number, name in enumerate(names):
        wide = int(font.getlength(name)) + (0 if number == 0 else 20) + 16
        if x > 8 and x + wide > image.width:
            x, y = 8, y + line
        places.append((x, y))
        x += wide
    made = Image.new("RGB", (image.width, image.height + y + line), "white")
    made.paste(image)
    draw = ImageDraw.Draw(made)
    for number, (name, (x, y)) in enumerate(zip(names, places, strict=True)):
        top = image.height + y
        if number:
            draw.rectangle((x, top + 6, x + 13, top + 19), fill=colour(number - 1), outline="black")
        draw.text((x + (20 if number else 0), top + 3), name, fill="black", font=font)
    return made


def check_map_files(stem: Path, photograph: Path) -> None:
    """Refuse to replace what is no map of this photograph: ``stem.png`` and ``stem.npy``.

    Raises:
        MapError: such a file exists, and is something else.
    """
    from PIL import Image

    png, npy = _files(stem)
    existing = next((path for path in (png, npy) if path.exists()), None)
    if existing is None:
        return
    try:
        with Image.open(png, formats=("PNG",)) as image:
            mark = image.info.get(MARK)
    except Exception:  # whatever it is, it is no map of ours
        mark = None
    if mark is None or mark != sha256(photograph):
        raise MapError(f"{printable(existing)} exists, and is no map of this photograph: choose another folder")


def write_map(stem: Path, image: "Image", found: Map, photograph: Path) -> tuple[Path, Path]:
    """Write a painted map as ``stem.png`` and its probabilities (h,w,classes) float32 as ``stem.npy``.

    Raises:
        MapError: as `check_map_files`.
    """
    from PIL.PngImagePlugin import PngInfo

    check_map_files(stem, photograph)
    png, npy = _files(stem)
    about, picture, numbers = PngInfo(), io.BytesIO(), io.BytesIO()
    about.add_text(MARK, sha256(photograph))
    image.save(picture, "png", pnginfo=about)
    np.save(numbers, found.probabilities.float().numpy())
    atomic.write(png, picture.getvalue())
    atomic.write(npy, numbers.getvalue())
    return png, npy


def _files(stem: Path) -> tuple[Path, Path]:
    return stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.npy")


def data_uri(image: "Image") -> str:
    """A picture as an address that a page can hold: JPEG without loss of colour resolution."""
    file = io.BytesIO()
    image.save(file, "jpeg", quality=88, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
