"""The files of a package, a folder or a zip file that may come from a stranger.

Only the names below are accepted, with a limit of bytes each. Names, types and sizes are checked before anything is
read, and no file is ever written by a name that a zip file gives.
"""

import errno
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

from cameras.errors import one_line, printable

DOCUMENT = "package.json"
NIP_FILE, FAN_FILE, CALIBRATION_FILE = "nip.safetensors", "fan.safetensors", "calibration.safetensors"
NIP_ONNX, FAN_ONNX, NIP_INT8 = "nip.onnx", "fan.onnx", "nip-int8.onnx"
MEGABYTE = 2**20
LIMITS = {  # bytes of the largest files that are accepted; a UNet has 31 MB, a FAN 5 MB
    DOCUMENT: MEGABYTE,
    NIP_FILE: 256 * MEGABYTE,
    FAN_FILE: 64 * MEGABYTE,
    CALIBRATION_FILE: 64 * MEGABYTE,
    NIP_ONNX: 256 * MEGABYTE,
    FAN_ONNX: 64 * MEGABYTE,
    NIP_INT8: 128 * MEGABYTE,
}
EXTRAS = (NIP_ONNX, FAN_ONNX, NIP_INT8)  # for other programs: kept as they are, and never read here

# The end of a zip file without a comment, and what precedes it in one of more than 4 GB.
END, END_SIZE = b"PK\5\6", 22
LOCATOR, LOCATOR_SIZE = b"PK\6\7", 20

Files = dict[str, Callable[[], IO[bytes]]]  # names, and how each is opened


class PackageError(ValueError):
    """A package that cannot be used or written; one line says why."""


@contextmanager
def opened(path: Path) -> Iterator[Files]:
    """Yield the files of a package, whose names, types and sizes have been checked.

    Raises:
        PackageError: it is no folder and no plain zip file, or holds what a package does not; also for a zip file that
            turns out to be damaged while the block reads it.
    """
    if path.is_dir():
        yield dict(_files_in(path))
        return
    with path.open("rb") as file:
        _check_directory(file)
        try:
            with zipfile.ZipFile(file) as archive:
                yield dict(_entries(archive))
        except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # the disk's, not that of a place before 0
                raise
            raise PackageError(f"a damaged zip file: {one_line(error)}") from error


def content(files: Files, name: str) -> bytes:
    """Read a file, of which there are no more bytes than its limit whatever a zip file announces.

    Raises:
        PackageError: it is larger.
    """
    with files[name]() as file:
        found = file.read(LIMITS[name] + 1)
    if len(found) > LIMITS[name]:
        raise PackageError(f"{name} is larger than the {LIMITS[name]} bytes that are accepted")
    return found


def check_place(path: Path) -> None:
    """Check that a package may be written here: there is nothing yet, an empty folder, or an earlier package.

    Raises:
        PackageError: there is something else, which would be lost.
    """
    if not path.exists() and not path.is_symlink():
        return
    if is_zip(path):
        fit = path.is_file() and DOCUMENT in _names_in_zip(path)
    else:
        names = {each.name for each in path.iterdir()} if path.is_dir() and not path.is_symlink() else {""}
        fit = not names or (DOCUMENT in names and names <= LIMITS.keys())
    if not fit:
        raise PackageError(f"{printable(path)} is there and is no package: name another place")


def is_zip(path: Path) -> bool:
    """Whether a package of this name is written as a zip file."""
    return path.suffix.lower() == ".zip"


def pack(folder: Path, path: Path) -> None:
    """Put the files of a package into a zip file. Weights hardly compress, and are stored as they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in (name for name in LIMITS if (folder / name).exists()):
            archive.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes())


def replace_folder(part: Path, path: Path) -> None:
    """Move a folder to ``path``; an earlier package that is there stays until then."""
    former = part.with_suffix(".former")
    if path.exists():
        path.rename(former)
    try:
        part.rename(path)
    except OSError:
        if former.exists():
            former.rename(path)
        raise
    shutil.rmtree(former, ignore_errors=True)


def _names_in_zip(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []


def _files_in(folder: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    for each in folder.iterdir():
        about = each.lstat()
        _check(each.name, about.st_mode, about.st_size)
        yield each.name, partial(_open, each)


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _entries(archive: zipfile.ZipFile) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    found = set()
    for entry in archive.infolist():
        name = entry.orig_filename
        _check(name, entry.external_attr >> 16, entry.file_size)
        if name in found:
            raise PackageError(f"it holds {name} twice")
        if entry.flag_bits & 1:
            raise PackageError(f"{name} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise PackageError(f"{name} is compressed by another method than deflate")
        found.add(name)
        yield name, partial(archive.open, entry)


def _check(name: str, mode: int, size: int) -> None:
    """Refuse what is no file of a package, by its name, its type or its size."""
    if name not in LIMITS:
        raise PackageError(f"it holds {printable(name)[:80]!r}, which is no file of a package")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):  # zip files of some programs give no type
        raise PackageError(f"{name} is a link or no file at all")
    if size > LIMITS[name]:
        raise PackageError(f"{name} has {size} bytes, more than the {LIMITS[name]} that are accepted")


def _check_directory(file: BinaryIO) -> None:
    """Refuse a file that is no plain zip of few entries, before Python reads a directory of any length."""
    size = file.seek(0, os.SEEK_END)
    if size > sum(LIMITS.values()) + MEGABYTE:
        raise PackageError(f"{size} bytes are more than any package has")
    file.seek(max(size - END_SIZE - LOCATOR_SIZE, 0))
    tail = file.read()
    end = tail[-END_SIZE:]
    if len(end) < END_SIZE or not end.startswith(END) or end[-2:] != b"\0\0":
        raise PackageError("no package: neither a folder nor a complete zip file without a comment")
    entries, directory = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if entries > len(LIMITS) or directory > MEGABYTE or tail.startswith(LOCATOR):
        raise PackageError("a zip file with more in it than a package has")
    file.seek(0)
