"""Append images to a camera's folder; remember refused files."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from cameras.pairs.index import (
    BAYER_FILE,
    BYTES_PER_BAYER_PIXEL,
    BYTES_PER_CELL,
    START_OVER,
    TARGET_FILE,
    Index,
    Refusal,
    Source,
    StoredImage,
)
from cameras.raw import CFA_PATTERNS

# Frames of one camera model have the same matrix up to the rounding of the file's rationals.
MATRIX_TOLERANCE = 1e-3


class PairError(ValueError):
    """An image that cannot be stored in a camera's folder. The message names the image and the reason."""


def append(
    folder: Path | str,
    name: str,
    bayer: np.ndarray,
    target: np.ndarray,
    *,
    cfa: str,
    cam2srgb: np.ndarray,
    camera: str,
    source: Source | None = None,
    development: str = "menon",
) -> StoredImage:
    """Store one image of a camera. The process may be killed, and other processes may append at the same time.

    Args:
        folder: the camera's folder; it is created if necessary.
        name: of the image, unique within the camera.
        bayer: (h, w, 4) planes R, G1, G2, B; floating point in [0, 1], or uint16.
        target: (2h, 2w, 3) developed RGB; floating point in [0, 1], or uint8.
        cfa: the sensor's 2×2 cell in row-major order, such as "RGGB".
        cam2srgb: (3, 3) from white-balanced camera RGB to linear sRGB.
        camera: make and model.
        source: the file that it was read from, if any.
        development: how the target was made from the Bayer stack; it is the same for all targets of a camera.

    Raises:
        PairError: the arrays do not fit each other; an image of this name or content is stored already; or camera,
            CFA, colour matrix or development differ from those in the folder.
        ValueError: the folder is damaged.
    """
    folder = Path(folder)
    bayer_u16, target_u8 = quantise(name, bayer, target)
    empty = empty_index(camera, cfa, cam2srgb, development)
    sha256 = content_hash(bayer_u16, target_u8)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        index = Index.read(folder)
        if index.images:
            _require_same_camera(index, empty, name, folder)
        else:
            index = replace(empty, refused=index.refused)
        if source:
            index = _without_refusal(index, source)
        for other in index.images:
            if other.sha256 == sha256:
                raise PairError(f"{name}: duplicate of {other.name}")
            if other.name == name:
                raise PairError(f"{name}: there is another image of this name in {folder}")
        height, width, _ = bayer_u16.shape
        image = StoredImage(name, height, width, index.end, sha256, source)
        _write_at(folder / BAYER_FILE, index.end * BYTES_PER_BAYER_PIXEL, bayer_u16)
        _write_at(folder / TARGET_FILE, index.end * BYTES_PER_CELL, target_u8)
        replace(index, images=(*index.images, image)).write(folder)
    return image


def refuse(folder: Path | str, source: Source, reason: str) -> None:
    """Remember that a file was refused, and why. This replaces an earlier refusal of the same path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        index = _without_refusal(Index.read(folder), source)
        replace(index, refused=(*index.refused, Refusal(source, reason))).write(folder)


def quantise(name: str, bayer: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the (h, w, 4) and (2h, 2w, 3) arrays of `append` into uint16 and uint8.

    Raises PairError if shapes, types or values do not fit.
    """
    bayer, target = np.asarray(bayer), np.asarray(target)
    if bayer.ndim != 3 or bayer.shape[2] != 4 or 0 in bayer.shape:
        raise PairError(f"{name}: the Bayer stack has shape {bayer.shape}, expected (h, w, 4)")
    height, width, _ = bayer.shape
    if target.shape != (2 * height, 2 * width, 3):
        raise PairError(f"{name}: the target has shape {target.shape}, expected {(2 * height, 2 * width, 3)}")
    return (
        _to_integer(f"{name}: Bayer stack", bayer, np.dtype("<u2")),
        _to_integer(f"{name}: target", target, np.dtype("u1")),
    )


def empty_index(camera: str, cfa: str, cam2srgb: np.ndarray, development: str | None) -> Index:
    """The index of a camera without images. Raises PairError for an unknown CFA or an unfit matrix."""
    if cfa not in CFA_PATTERNS:
        raise PairError(f"{camera}: unknown Bayer pattern {cfa!r}: use one of {', '.join(CFA_PATTERNS)}")
    matrix = np.asarray(cam2srgb, dtype=np.float32)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise PairError(f"{camera}: cam2srgb is no finite 3×3 matrix: {matrix.tolist()}")
    return Index(camera, cfa, tuple(tuple(row) for row in matrix.tolist()), development)


def content_hash(bayer: np.ndarray, target: np.ndarray) -> str:
    """SHA-256 (hex) of an image's size and its quantised pixels."""
    content = hashlib.sha256(f"{bayer.shape[0]}x{bayer.shape[1]}".encode())
    content.update(bayer.data)
    content.update(target.data)
    return content.hexdigest()


def _to_integer(what: str, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if values.dtype == dtype:
        return np.ascontiguousarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise PairError(f"{what} is {values.dtype}, expected {dtype} or floating point in [0, 1]")
    if not (values.min() >= 0 and values.max() <= 1):  # written so that NaN fails
        raise PairError(f"{what} has values outside [0, 1]")
    scaled = values.astype(np.float32) * np.float32(np.iinfo(dtype).max)
    return np.ascontiguousarray(np.rint(scaled).astype(dtype))


def _without_refusal(index: Index, source: Source) -> Index:
    """The index without refusals of the same path."""
    return replace(index, refused=tuple(entry for entry in index.refused if entry.source.path != source.path))


def _require_same_camera(index: Index, other: Index, name: str, folder: Path) -> None:
    for what in ("camera", "cfa", "development"):
        expected, found = getattr(index, what), getattr(other, what)
        if found != expected:
            raise PairError(f"{name}: {what} is {found}, but {expected} for the images already in {folder}")
    if not np.allclose(np.array(index.cam2srgb), np.array(other.cam2srgb), rtol=0, atol=MATRIX_TOLERANCE):
        raise PairError(f"{name}: its colour matrix is not that of the images already in {folder}")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to the folder while the block runs."""
    import fcntl  # POSIX only; reading needs no lock

    with (folder / BAYER_FILE).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed or the process dies
        yield


def _write_at(path: Path, position: int, array: np.ndarray) -> None:
    """Write an array to disk at a position of a file; remove what follows it."""
    with path.open("r+b" if path.exists() else "wb") as file:
        if os.fstat(file.fileno()).st_size < position:
            raise ValueError(f"{path} is shorter than its index says; {START_OVER}")
        file.seek(position)
        file.write(array.data)
        file.truncate()  # leftovers of a longer image whose append was interrupted
        file.flush()
        os.fsync(file.fileno())
