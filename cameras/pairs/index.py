"""The index of a camera's folder, ``index.json``: which images are stored where, and which files were refused."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cameras import atomic
from cameras.raw import CFA_PATTERNS

BAYER_FILE, TARGET_FILE, INDEX_FILE = "bayer.u16", "target.u8", "index.json"
FORMAT = 1
BYTES_PER_BAYER_PIXEL = 4 * 2  # four uint16
BYTES_PER_CELL = 4 * 3  # uint8: the 2×2 RGB pixels that one Bayer pixel becomes
RULES = 2  # of refusing files; raise it when files that were refused may be accepted now, so that they are tried again
START_OVER = "remove the folder and import the camera again"


@dataclass(frozen=True)
class Source:
    """The file that an image came from. Its path, size and modification time identify it."""

    path: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path | str) -> "Source":
        """Describe a file. Raises OSError if its size and time cannot be read."""
        path = Path(path).resolve()
        status = path.stat()
        return cls(str(path), status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class StoredImage:
    """One image: `height` × `width` Bayer pixels from row `offset` of the flat Bayer tensor."""

    name: str
    height: int
    width: int
    offset: int
    sha256: str
    source: Source | None = None

    @property
    def end(self) -> int:
        """The row after the image's last one."""
        return self.offset + self.height * self.width


@dataclass(frozen=True)
class Refusal:
    """A file that was refused, and why. rules: the number of the rules by which it was."""

    source: Source
    reason: str
    rules: int = RULES

    @property
    def holds(self) -> bool:
        """The rules are still the same."""
        return self.rules == RULES


@dataclass(frozen=True)
class Index:
    """Contents of ``index.json``. Camera, CFA, matrix and development are None until the first image is stored."""

    camera: str | None = None
    cfa: str | None = None
    cam2srgb: tuple[tuple[float, ...], ...] | None = None
    development: str | None = None
    images: tuple[StoredImage, ...] = ()
    refused: tuple[Refusal, ...] = ()

    @property
    def end(self) -> int:
        """Number of Bayer pixels stored."""
        return self.images[-1].end if self.images else 0

    @property
    def sizes(self) -> dict[str, int]:
        """The least number of bytes in each data file."""
        return {BAYER_FILE: self.end * BYTES_PER_BAYER_PIXEL, TARGET_FILE: self.end * BYTES_PER_CELL}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(image.name for image in self.images)

    @property
    def shortest_side(self) -> int:
        """Shortest side of any image, in Bayer pixels."""
        return min(min(image.height, image.width) for image in self.images)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 (hex) of the names and contents of all images, the CFA and the matrix, in any order of import."""
        images = sorted((image.name, image.sha256) for image in self.images)
        return hashlib.sha256(json.dumps([images, self.cfa, self.cam2srgb]).encode()).hexdigest()

    @classmethod
    def read(cls, folder: Path | str) -> "Index":
        """Read the index of a camera's folder; an empty index if there is none.

        Raises ValueError if the index is damaged.
        """
        path = Path(folder) / INDEX_FILE
        return cls.parse(path.read_bytes(), str(path)) if path.exists() else cls()

    @classmethod
    def parse(cls, content: bytes, origin: str) -> "Index":
        """Parse the content of the index file ``origin``. Raises ValueError if it is damaged."""
        try:
            return cls._parse(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{origin} is damaged ({reason}); {START_OVER}") from None

    @classmethod
    def _parse(cls, document: dict) -> "Index":
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, expected {FORMAT}")
        images = tuple(
            StoredImage(**{**image, "source": image["source"] and Source(**image["source"])})
            for image in document["images"]
        )
        _check_images(images)
        if images and (document["cfa"] not in CFA_PATTERNS or np.shape(document["cam2srgb"]) != (3, 3)):
            raise ValueError("no valid CFA pattern or colour matrix")
        return cls(
            camera=document["camera"],
            cfa=document["cfa"],
            cam2srgb=document["cam2srgb"] and tuple(tuple(map(float, row)) for row in document["cam2srgb"]),
            development=document["development"],
            images=images,
            refused=tuple(
                Refusal(Source(**refusal["source"]), refusal["reason"], refusal.get("rules", 1))
                for refusal in document["refused"]
            ),
        )

    def write(self, folder: Path | str) -> None:
        """Replace the folder's index atomically."""
        document = {"format": FORMAT, **asdict(self)}
        atomic.write(Path(folder) / INDEX_FILE, json.dumps(document, indent=1).encode())


def _check_images(images: tuple[StoredImage, ...]) -> None:
    """Raise ValueError unless the images have names and checksums and lie one after the other without gaps."""
    end = 0
    for image in images:
        if {type(image.name), type(image.sha256)} != {str}:
            raise ValueError("an image has no name or no checksum")
        extent = (image.offset, image.height, image.width)
        if {type(value) for value in extent} != {int} or image.offset != end or min(extent[1:]) < 1:
            raise ValueError(f"image {image.name} has an impossible extent")
        end = image.end
    if len({image.name for image in images}) < len(images):
        raise ValueError("two images have the same name")
