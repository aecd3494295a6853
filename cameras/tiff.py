"""Read the directories of TIFF files, and of RAW formats that are TIFF with another magic number (ORF, RW2)."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

HEADERS = {
    b"II*\0": "<",
    b"MM\0*": ">",  # TIFF, CR2, DNG, NEF, ARW, PEF, …
    b"IIRO": "<",
    b"IIRS": "<",
    b"MMOR": ">",  # ORF
    b"IIU\0": "<",  # RW2
}
SUB_DIRECTORIES, EXIF_DIRECTORY = 330, 34665
EXTENTS = ((273, 279), (324, 325), (513, 514))  # (offsets, byte counts) of strips, tiles, embedded JPEG
MOST_BYTES = 2**26  # of a value; the largest in practice is some hundred kB
UNKNOWN = 0xFFFFFFFF  # RW2 has this offset where another tag says where the data are
BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # by field type
NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}
FRACTIONS = {5: "I", 10: "i"}
TEXT, UNDEFINED = 2, 7

Field = tuple[int, int, int]  # type, size in bytes, where its content lies in the file
Value = str | bytes | tuple[int, ...] | tuple[float, ...]
Directory = dict[int, Value]  # by tag


@dataclass(frozen=True)
class Tiff:
    """directories: all that the file links, the first one first. end: the first byte after everything listed."""

    directories: tuple[Directory, ...]
    end: int


def read_tiff(file: BinaryIO, tags: frozenset[int]) -> Tiff:
    """Read all directories of a classic TIFF file, with the values of some tags.

    Raises ValueError with the reason if there is no TIFF header or a directory is cut off.
    """
    file.seek(0)
    header = file.read(8)
    order = HEADERS.get(header[:4])
    if order is None:
        raise ValueError("no TIFF header")
    if len(header) < 8:
        raise ValueError("truncated (incomplete TIFF header)")
    directories: list[Directory] = []
    end = len(header)
    waiting, seen = [struct.unpack(order + "I", header[4:])[0]], {0}
    while waiting:
        position = waiting.pop()
        if position in seen:
            continue
        seen.add(position)
        fields, following = _directory(file, order, position)
        links = (tag for tag in (SUB_DIRECTORIES, EXIF_DIRECTORY) if tag in fields)
        waiting += [following, *(start for tag in links for start in _integers(file, order, fields[tag]))]
        end = max([end, *(value + size for _, size, value in fields.values() if size > 4)])
        for extent in EXTENTS:
            starts, sizes = (_integers(file, order, fields[tag]) if tag in fields else [] for tag in extent)
            ends = (start + size for start, size in zip(starts, sizes, strict=False) if start != UNKNOWN)
            end = max([end, *ends])
        directories.append({tag: _value(file, order, fields[tag]) for tag in tags & fields.keys()})
    return Tiff(tuple(directories), end)


def _directory(file: BinaryIO, order: str, position: int) -> tuple[dict[int, Field], int]:
    """The fields of a directory by tag, and the position of the next directory (0 if none)."""
    file.seek(position)
    head = _exactly(file, 2)
    entries = _exactly(file, 12 * struct.unpack(order + "H", head)[0])
    fields = {}
    for start in range(0, len(entries), 12):
        tag, kind, count, value = struct.unpack(order + "HHII", entries[start : start + 12])
        size = BYTES.get(kind, 0) * count
        fields[tag] = (kind, size, value if size > 4 else position + 2 + start + 8)
    return fields, struct.unpack(order + "I", _exactly(file, 4))[0]


def _integers(file: BinaryIO, order: str, field: Field) -> list[int]:
    """The unsigned integers of a field; an empty list if it is of another type."""
    value = _value(file, order, field) if field[0] in (1, 3, 4, 13) else ()
    return [int(number) for number in value]


def _value(file: BinaryIO, order: str, field: Field) -> Value:
    """The value of a field: numbers as a tuple, a fraction as a float (NaN if its denominator is 0)."""
    kind, size, position = field
    file.seek(position)
    content = _exactly(file, size)
    if kind == TEXT:
        return content.split(b"\0")[0].decode("ascii", "replace").strip()
    if kind in NUMBERS:
        return struct.unpack(f"{order}{size // BYTES[kind]}{NUMBERS[kind]}", content)
    if kind in FRACTIONS:
        parts = struct.unpack(f"{order}{size // 4}{FRACTIONS[kind]}", content)
        return tuple(a / b if b else float("nan") for a, b in zip(parts[::2], parts[1::2], strict=True))
    return content


def _exactly(file: BinaryIO, size: int) -> bytes:
    if size > MOST_BYTES:
        raise ValueError(f"damaged (a directory names a value of {size} bytes)")
    content = file.read(size)
    if len(content) < size:
        raise ValueError("truncated (its directory is incomplete)")
    return content
