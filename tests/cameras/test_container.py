"""Containers without TIFF's magic number: CR3 and RAF made here, box by box; and which files look like RAW files."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cameras.container import CANON_UUID, looks_raw, read_container


def tiff(*tags: tuple[int, str]) -> bytes:
    """A directory with texts alone."""
    content = io.BytesIO()
    extra = [(code, 2, 0, text, True) for code, text in tags]
    tifffile.imwrite(content, np.zeros((2, 2), np.uint8), metadata=None, software=False, extratags=extra)
    return content.getvalue()


def box(kind: bytes, content: bytes, long: bool = False) -> bytes:
    if long:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), kind) + content


CANON = CANON_UUID + box(b"CNCV", b"CanonCR3") + box(b"CMT1", tiff((271, "Canon"), (272, "Canon EOS R6")))
CANON += box(b"CMT2", tiff((42033, "012345678901")))
TEXT = bytes(range(16)) + struct.pack(">I", 3) + b"no boxes at all"
MOOV = box(b"uuid", TEXT) + box(b"uuid", CANON) + box(b"trak", b"")
HEAD = box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", MOOV) + box(b"uuid", TEXT)
CR3 = HEAD + box(b"mdat", bytes(1000), long=True)


@pytest.mark.parametrize("long", [False, True])
def test_cr3(tmp_path: Path, long: bool) -> None:
    path = tmp_path / "a.CR3"
    path.write_bytes(CR3[:24] + box(b"moov", MOOV, long) + box(b"uuid", TEXT) + box(b"mdat", bytes(1000), long))
    container = read_container(path)
    assert (container.camera, container.serial) == ("Canon EOS R6", "012345678901")
    assert container.end == path.stat().st_size
    assert looks_raw(path)


@pytest.mark.parametrize("length", [len(CR3) - 1, len(CR3) - 1000, len(CR3) - 1010, len(HEAD) - 5, 200, 60, 28, 14])
def test_a_cr3_cut_anywhere_ends_too_early(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.CR3"
    path.write_bytes(CR3[:length])
    try:
        assert read_container(path).end > length
    except ValueError as error:
        assert "truncated" in str(error)


def test_an_rw2_says_elsewhere_where_its_data_are(tmp_path: Path) -> None:
    entries = [
        (271, 2, 4, b"Pan\0"),
        (272, 2, 4, b"GH4\0"),
        (273, 4, 1, b"\xff" * 4),
        (279, 4, 1, struct.pack("<I", 99)),
    ]
    content = b"IIU\0" + struct.pack("<IH", 8, len(entries))
    content += b"".join(struct.pack("<HHI", *entry) + value for *entry, value in entries) + bytes(4)
    path = tmp_path / "a.rw2"
    path.write_bytes(content)
    container = read_container(path)
    assert (container.camera, container.end) == ("Pan GH4", 8)
    assert looks_raw(path)


def test_raf(tmp_path: Path) -> None:
    content = bytearray(200)
    content[:16] = b"FUJIFILMCCD-RAW "
    content[28:34] = b"X-A5\0\0"
    content[84:108] = struct.pack(">6I", 108, 20, 128, 30, 158, 42)
    path = tmp_path / "a.RAF"
    path.write_bytes(content)
    container = read_container(path)
    assert (container.camera, container.serial, container.end) == ("FUJIFILM X-A5", "", 200)
    assert looks_raw(path)
    path.write_bytes(content[:100])
    with pytest.raises(ValueError, match="truncated"):
        read_container(path)


def test_pictures_do_not_look_raw(tmp_path: Path) -> None:
    picture = Image.new("RGB", (16, 16))
    for name in ("a.tif", "a.jpg", "a.png", "a.webp", "a.avif"):
        picture.save(tmp_path / name)
        assert not looks_raw(tmp_path / name), name
    for content in (b"", b"II", b"II*\0", b"text", CR3[:4]):
        (tmp_path / "b").write_bytes(content)
        assert not looks_raw(tmp_path / "b")


def test_real_files_look_raw_whatever_their_name(shared_raw: Path) -> None:
    for path in shared_raw.iterdir():
        assert looks_raw(path)
        assert read_container(path).end <= path.stat().st_size
    assert {read_container(path).serial for path in shared_raw.glob("nikon*")} == {"6438342"}
