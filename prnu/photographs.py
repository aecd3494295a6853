"""Read photographs from files, pixel by pixel as the sensor took them; paint a map over a photograph.

A fingerprint belongs to the sensor's pixels, so a photograph is neither turned nor scaled. A camera that is held
upright writes the sensor's rows as they are, and an EXIF orientation for the viewer, which is *not* applied here.
"""

import hashlib
import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cameras import folders
from cameras.errors import one_line
from prnu.localise import Map
from prnu.residual import grey

if TYPE_CHECKING:
    from PIL import Image  # imported only where it is needed: training code must not import it

SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")  # of Pillow
MODES = ("RGB", "L", "RGBA", "LA")  # of Pillow: colour, grey, and both with transparency
ORIENTATION = 274  # EXIF's tag: 1 to 8, of which 5 to 8 change height and width
OVERLAY_SIDE = 2048  # pixels at most: an overlay is to be looked at

Size = tuple[int, int]  # height, width


class PhotographError(ValueError):
    """A file that is not a photograph with a fingerprint; the message is one line with the reason."""


def photograph_files(paths: Iterable[Path | str]) -> list[Path]:
    """The files given and the photographs in the folders given, as `folders.find`. Raises ValueError as it does."""
    return folders.find(paths, SUFFIXES, "photographs")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(path: Path) -> Size:
    """Height and width of a photograph in sensor orientation, from its header. Raises PhotographError as `read`."""
    from PIL.TiffImagePlugin import TiffImageFile

    with _opened(path) as image:
        width, height = image.size
        turned = isinstance(image, TiffImageFile) and image.tag_v2.get(ORIENTATION) in (5, 6, 7, 8)  # see `_as_stored`
        return (width, height) if turned else (height, width)


def read(path: Path) -> Tensor:
    """Read a photograph in sensor orientation: RGB (1,3,H,W) float32 in [0,1].

    A grey photograph gets three equal channels. Of 16 bits per channel, the upper 8 are read. In a JPEG file with
    several pictures (phones add previews and gain maps), the first one is the photograph. An opaque channel of
    transparency is dropped.

    Raises:
        PhotographError: a RAW file, and any other file that is no JPEG, PNG, TIFF or WebP; a damaged file; animations
            and several pages; palettes, CMYK and other pixels that no camera writes; transparency.
    """
    with _opened(path) as image:
        pixels = np.atleast_3d(np.array(_as_stored(image)))  # (H,W,1 to 4) uint8
    if pixels.shape[2] in (2, 4):
        if (pixels[..., -1] < 255).any():
            raise PhotographError("has transparent pixels: give the photograph as the camera wrote it")
        pixels = pixels[..., :-1]
    channels = torch.from_numpy(pixels).movedim(-1, 0)[None]  # (1,1 or 3,H,W)
    return (channels.float() / 255).expand(-1, 3, -1, -1).contiguous()


@contextmanager
def _opened(path: Path) -> Iterator["Image.Image"]:
    from PIL import Image, UnidentifiedImageError

    if path.suffix.lower() not in SUFFIXES:  # from a RAW file, Pillow would read the thumbnail
        raise PhotographError(f"is none of {' '.join(SUFFIXES)}; RAW files have to be developed first")
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(path, formats=FORMATS) as image,
        ):
            pictures = getattr(image, "n_frames", 1)
            if pictures > 1 and image.format != "MPO":
                raise PhotographError(f"holds {pictures} pictures: save the photograph by itself")
            if image.mode not in MODES:
                raise PhotographError(f"has pixels of type {image.mode}: save it as RGB or grey in 8 bits")
            yield image
    except PhotographError:
        raise
    except UnidentifiedImageError:
        raise PhotographError(f"is no {', '.join(FORMATS)} file inside") from None
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        raise PhotographError(f"cannot be read: {one_line(getattr(error, 'strerror', None) or error)}") from error


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
    }.get(image.getexif().get(ORIENTATION, 1))  # read before loading, which removes it
    image.load()
    return image if back is None else image.transpose(back)


# --- maps ---


def overlay(photograph: Tensor, found: Map, stride: int) -> bytes:
    """Paint a photograph in grey, and red where tampering is probable: a PNG file, scaled down to 2048 pixels.

    Red becomes stronger from probability 0.5 to 1. Near the edges, where no window is centred, there is no red.

    Args:
        photograph: (1,3,H,W) in [0,1].
        found: its map. stride: of the map's windows.
    """
    from PIL import Image

    height, width = photograph.shape[-2:]
    suspicion = (2 * found.probability[0] - 1).clamp(0, 1).cpu()
    top, left = (int(centres[0]) - stride // 2 for centres in (found.rows, found.columns))
    cells = suspicion.repeat_interleave(stride, 0).repeat_interleave(stride, 1)
    cells = cells[max(-top, 0) :, max(-left, 0) :][: height - max(top, 0), : width - max(left, 0)]
    red = torch.zeros(height, width)
    red[max(top, 0) :, max(left, 0) :][: cells.shape[0], : cells.shape[1]] = cells

    painted = (
        grey(photograph).cpu().expand(3, -1, -1) * (1 - 0.6 * red)
        + 0.6 * red * torch.tensor([1.0, 0, 0])[:, None, None]
    )
    picture = Image.fromarray((painted * 255).round().to(torch.uint8).movedim(0, -1).contiguous().numpy())
    picture.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE))
    file = io.BytesIO()
    picture.save(file, "png")
    return file.getvalue()
