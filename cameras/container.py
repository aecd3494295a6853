"""The container of a RAW file, known by its content: which camera body wrote it, and how long a complete file is.

LibRaw decodes what it finds and accepts files whose end is missing. But TIFF directories and the header of a RAF list
where everything lies, and the boxes of a CR3 their sizes, so a truncated file can be recognised before it is decoded. A
file of another kind, such as headerless ``.raw``, cannot be checked and is refused.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cameras.tiff import HEADERS, Directory, read_tiff

# In folders, files of these suffixes count as RAW files, even damaged ones, which are named; others by their content.
SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef", ".mos"),
    *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)

MAKE, MODEL, PHOTOMETRIC, DNG_VERSION = 271, 272, 262, 50706
SERIAL_NUMBERS = (50735, 42033)  # CameraSerialNumber of DNG, BodySerialNumber of EXIF
COLOR_FILTER_ARRAY, LINEAR_RAW = 32803, 34892

CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")  # the box that holds CMT1, CMT2, …
CR3 = b"ftypcrx "  # after the size of the first box
CR3_DIRECTORIES = (b"CMT1", b"CMT2")  # TIFF files with the first directory and with the EXIF directory

RAF = b"FUJIFILMCCD-RAW "
RAF_MODEL, RAF_EXTENTS = 28, 84  # model (32 bytes); three times offset and length: JPEG, its metadata, sensor data

HEADER = len(RAF)  # bytes that tell the kind


@dataclass(frozen=True)
class Container:
    """make, model, serial: from the first directory that has them, or "". end: the first byte after everything listed.

    directories: of the file, with the tags that were asked for.
    """

    make: str
    model: str
    serial: str
    end: int
    directories: tuple[Directory, ...]

    @property
    def camera(self) -> str:
        """Make and model, or the model alone if it starts with the make: "Canon EOS 30D", "PENTAX K-5"."""
        first = self.make.split()[0].lower() if self.make else ""
        name = self.model if first and self.model.lower().startswith(first) else f"{self.make} {self.model}"
        return name.strip() or "unknown camera"


def read_container(path: Path, tags: frozenset[int] = frozenset()) -> Container:
    """Read the container of a RAW file, with the values of some more tags.

    Raises ValueError with the reason (without the file's name) if it is of no known kind or cut off.
    """
    with path.open("rb") as file:
        return _read(file, tags)


def _read(file: BinaryIO, tags: frozenset[int]) -> Container:
    tags |= {MAKE, MODEL, *SERIAL_NUMBERS}
    file.seek(0)
    header = file.read(HEADER)
    if header[:4] in HEADERS:
        tiff = read_tiff(file, tags)
        directories, end = tiff.directories, tiff.end
    elif header[4:12] == CR3:
        directories, end = _read_cr3(file, tags)
    elif header.startswith(RAF):
        directories, end = _read_raf(file)
    else:
        raise ValueError("not a RAW file of a known kind (its content begins like no TIFF, ORF, RW2, CR3 or RAF)")
    make, model = (_first(directories, tag) for tag in (MAKE, MODEL))
    serial = next((text for tag in SERIAL_NUMBERS if (text := _first(directories, tag))), "")
    return Container(make, model, serial, end, directories)


def looks_raw(path: Path) -> bool:
    """Tell whether the content of a file is that of a RAW file, damaged or not: no TIFF or HEIF picture, no JPEG."""
    with path.open("rb") as file:
        return is_raw(file)


def is_raw(file: BinaryIO) -> bool:
    """As `looks_raw`, of an open file, which is read from its beginning."""
    file.seek(0)
    header = file.read(HEADER)
    if header[:4] not in (b"II*\0", b"MM\0*"):
        return header[:4] in HEADERS or header[4:12] == CR3 or header.startswith(RAF)
    if header[8:10] == b"CR":
        return True
    try:
        directories = _read(file, frozenset((PHOTOMETRIC, DNG_VERSION))).directories
    except ValueError:
        return False
    raw = ((COLOR_FILTER_ARRAY,), (LINEAR_RAW,))
    return any(DNG_VERSION in directory or directory.get(PHOTOMETRIC) in raw for directory in directories)


def _first(directories: tuple[Directory, ...], tag: int) -> str:
    return next((value for entry in directories if isinstance(value := entry.get(tag), str) and value), "")


def _read_raf(file: BinaryIO) -> tuple[tuple[Directory, ...], int]:
    """Make and model of a RAF as a directory, and where its last part ends."""
    file.seek(RAF_MODEL)
    model = file.read(32).split(b"\0")[0].decode("ascii", "replace").strip()
    file.seek(RAF_EXTENTS)
    extents = file.read(24)
    if len(extents) < 24:
        raise ValueError("truncated (incomplete header)")
    numbers = struct.unpack(">6I", extents)
    end = max(start + size for start, size in zip(numbers[::2], numbers[1::2], strict=True))
    return ({MAKE: "FUJIFILM", MODEL: model},), end


def _read_cr3(file: BinaryIO, tags: frozenset[int]) -> tuple[tuple[Directory, ...], int]:
    """The directories in a CR3 (an ISO base media file), and where its last box ends."""
    size = file.seek(0, io.SEEK_END)
    directories: list[Directory] = []
    end = 0
    for kind, content, end in _boxes(file, 0, size):
        if kind == b"moov" and end <= size:
            for entry in _canon_directories(file, content, end):
                directories += read_tiff(io.BytesIO(entry), tags).directories
    return tuple(directories), end


def _canon_directories(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """The contents of CMT1 and CMT2 in Canon's boxes between two positions."""
    for kind, content, following in _boxes(file, start, end):
        file.seek(content)
        if kind == b"uuid" and file.read(len(CANON_UUID)) == CANON_UUID:
            for inner, position, limit in _boxes(file, content + len(CANON_UUID), following):
                if inner in CR3_DIRECTORIES:
                    file.seek(position)
                    yield file.read(limit - position)


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes between two positions: type, where the content begins, where the next box begins.

    The last one may reach beyond the end. Raises ValueError for a box that is shorter than its header.
    """
    while start < end:
        file.seek(start)
        header = file.read(16).ljust(16, b"\0")
        length, kind, long = struct.unpack(">I4sQ", header)
        content = start + (16 if length == 1 else 8)
        following = {0: end, 1: start + long}.get(length, start + length)
        if following < content:
            raise ValueError("damaged or truncated (a box of impossible size)")
        yield kind, content, following
        start = following
