"""The TIFF container of a RAW file: its make, its model, and the size that a complete file has.

CR2, DNG, NEF, ARW and PEF are TIFF files. LibRaw decodes what it finds and accepts files whose end is missing. But the
directory lists where every strip and tile lies, so a truncated file can be recognised before it is decoded.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAKE, MODEL, SUB_DIRECTORIES = 271, 272, 330
EXTENTS = ((273, 279), (324, 325), (513, 514))  # (offsets, byte counts) of strips, tiles, embedded JPEG
BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # by field type
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I"}

Field = tuple[int, int, int]  # type, size in bytes, where its content lies in the file


@dataclass(frozen=True)
class Container:
    """make, model: from the first directory that has them, or "". end: the first byte after everything listed."""

    make: str
    model: str
    end: int


def read_container(path: Path) -> Container:
    """Read the directories of a classic TIFF file.

    Raises ValueError with the reason (without the file's name) if there is no TIFF header or a directory is cut off.
    """
    with path.open("rb") as file:
        header = file.read(8)
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(header[:4])
        if order is None:
            raise ValueError("not a RAW file (no TIFF header)")
        if len(header) < 8:
            raise ValueError("truncated (incomplete TIFF header)")
        strings: dict[int, str] = {}
        end = len(header)
        waiting, seen = [struct.unpack(order + "I", header[4:])[0]], {0}
        while waiting:
            position = waiting.pop()
            if position in seen:
                continue
            seen.add(position)
            fields, following = _directory(file, order, position)
            waiting += [following, *_numbers(file, order, fields.get(SUB_DIRECTORIES))]
            end = max([end, *(value + size for _, size, value in fields.values() if size > 4)])
            for offsets, counts in EXTENTS:
                starts, sizes = (_numbers(file, order, fields.get(tag)) for tag in (offsets, counts))
                end = max([end, *(start + size for start, size in zip(starts, sizes, strict=False))])
            for tag in {MAKE, MODEL} & fields.keys() - strings.keys():
                strings[tag] = _content(file, fields[tag]).split(b"\0")[0].decode("ascii", "replace").strip()
    return Container(strings.get(MAKE, ""), strings.get(MODEL, ""), end)


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


def _numbers(file: BinaryIO, order: str, field: Field | None) -> list[int]:
    """The integers of a field; an empty list if it is absent or of another type."""
    if field is None or field[0] not in INTEGERS:
        return []
    content = _content(file, field)
    letter = INTEGERS[field[0]]
    return list(struct.unpack(f"{order}{len(content) // struct.calcsize('=' + letter)}{letter}", content))


def _content(file: BinaryIO, field: Field) -> bytes:
    _, size, position = field
    file.seek(position)
    return _exactly(file, size)


def _exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise ValueError("truncated (its directory is incomplete)")
    return content
