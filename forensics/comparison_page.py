"""One photograph as two pipelines develop it, on a page: both, their difference, and the spectra of all three.

heading: the file, the pipelines, their distance
whole photograph        A    B    |A − B|, amplified
its middle, pixel by pixel   (where the photograph is larger than a column)
log-magnitude spectra   A    B    A − B
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cameras import atomic
from cameras.errors import printable
from cameras.shot import exif
from forensics.spectrum import difference_scale, grey, reduced, spectrum

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 512  # pixels of a panel, at most
NARROWEST = 300  # of a column: its title has to fit
GAP, LINE = 12, 22  # pixels between panels, and of a line of text
Panels = list[tuple[str, np.ndarray]]  # title, and pixels (h,w,3) uint8


def draw(one: np.ndarray, other: np.ndarray, heading: Sequence[str]) -> "Image":
    """The page of two pictures (H,W,3) in [0,1] of one size."""
    a, b = (255 * picture for picture in (one, other))
    factor = difference_scale(a, b)
    shown = [to_bytes(a), to_bytes(b), to_bytes(factor * np.abs(a - b))]
    names = ("A", "B", f"|A - B|, {factor} times")  # the font has no other letters than ASCII
    rows: list[Panels] = [[(name, _shrunk(picture)) for name, picture in zip(names, shown, strict=True)]]
    if max(one.shape) > SIDE:
        middles = (_middle(picture) for picture in shown)
        rows.append([(f"{name}, middle, 1:1", picture) for name, picture in zip(names, middles, strict=True)])
    spectra = (_shrunk(grey(reduced(_spectrum(image), SIDE // 2))) for image in (a, b, a - b))
    titles = ("spectrum of A", "spectrum of B", "spectrum of A - B")
    rows.append(list(zip(titles, spectra, strict=True)))
    footing = ("Spectra: log(10 + |F|), zero frequency in the middle, each from its least (black) to its greatest.",)
    return _arranged(rows, [printable(line) for line in heading], footing)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Values from 0 to 255, rounded; larger ones are 255."""
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def write_page(path: Path, page: "Image", unique_id: str) -> None:
    """Write a page as a PNG file, atomically, with EXIF's ImageUniqueID of 32 hexadecimal digits."""
    with atomic.writing(path) as part, part.open("wb") as file:
        page.save(file, "png", exif=exif({}, 1, unique_id))


def _spectrum(image: np.ndarray) -> np.ndarray:
    return spectrum(image.transpose(2, 0, 1)[None])


def _shrunk(picture: np.ndarray) -> np.ndarray:
    """With at most `SIDE` pixels on a side, each the mean of those that it stands for."""
    from PIL.Image import Resampling, fromarray

    image = fromarray(np.ascontiguousarray(picture))
    image.thumbnail((SIDE, SIDE), Resampling.BOX)
    return np.asarray(image)


def _middle(picture: np.ndarray) -> np.ndarray:
    top, left = (max(side - SIDE, 0) // 2 for side in picture.shape[:2])
    return picture[top : top + SIDE, left : left + SIDE]


def _arranged(rows: Sequence[Panels], heading: Sequence[str], footing: Sequence[str]) -> "Image":
    """Lines of text, rows of panels with their titles, and lines of text, one below the other on white."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=15)
    wide = max(NARROWEST, *(picture.shape[1] for row in rows for _, picture in row))
    heights = [LINE + max(picture.shape[0] for _, picture in row) + GAP for row in rows]
    size = (GAP + 3 * (wide + GAP), 3 * GAP + LINE * (len(heading) + len(footing)) + sum(heights))
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)

    def lines(texts: Iterable[str], y: int) -> int:
        for text in texts:
            pen.text((GAP, y), text, fill="black", font=font)
            y += LINE
        return y

    y = lines(heading, GAP) + GAP
    for row, height in zip(rows, heights, strict=True):
        for column, (title, picture) in enumerate(row):
            x = GAP + column * (wide + GAP)
            pen.text((x, y), title, fill="black", font=font)
            page.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, y + LINE))
        y += height
    lines(footing, y)
    return page
