"""Training pairs of one camera: Bayer stacks and the RGB images developed from them, in flat files.

A camera is a folder::

    <root>/<name>/index.json     what is stored where, and what was refused
                  bayer.u16      Bayer pixels (R, G1, G2, B) of every image, one image after the other
                  target.u8      RGB pixels of every image, in the same order

Images are appended. The index is replaced only once an image lies safely on disk, so a process may be killed
at any time: bytes past the last indexed image are leftovers, and the next append overwrites them.

Everything is flat, because images differ in size: `Pairs.bayer` is a (P, 4) tensor of all Bayer pixels of the
camera, and `Pairs.target` a (4P, 3) tensor of all RGB pixels. Image i, a Bayer stack of height h and width w,
occupies h·w rows of `bayer` from `offset[i]`, and 4·h·w rows of `target` from 4·`offset[i]`.
"""

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from cameras import atomic
from cameras.raw import CFA_PATTERNS

BAYER_FILE, TARGET_FILE, INDEX_FILE = "bayer.u16", "target.u8", "index.json"
FORMAT = 1
BYTES_PER_BAYER_PIXEL = 4 * 2  # four uint16
BYTES_PER_CELL = 4 * 3  # the 2×2 RGB pixels that one Bayer pixel becomes, uint8
# Frames of one camera model carry the same matrix up to the rounding of the file's rationals.
MATRIX_TOLERANCE = 1e-3
START_OVER = "remove the folder and import the camera again"


# --- The index ---


@dataclass(frozen=True)
class Source:
    """The file an image came from, recognised again by path, size and time of modification."""

    path: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path | str) -> "Source":
        """Raises OSError if the file cannot be looked at."""
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
        return self.offset + self.height * self.width


@dataclass(frozen=True)
class Refusal:
    source: Source
    reason: str


@dataclass(frozen=True)
class Index:
    """Contents of ``index.json``. What belongs to the camera is None until its first image is stored."""

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
        """Bytes that each data file holds at least."""
        return {BAYER_FILE: self.end * BYTES_PER_BAYER_PIXEL, TARGET_FILE: self.end * BYTES_PER_CELL}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(image.name for image in self.images)

    @property
    def shortest_side(self) -> int:
        """Shortest side of any image, in Bayer pixels."""
        return min(min(image.height, image.width) for image in self.images)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) over names and contents of all images, CFA and matrix, whatever the order of import."""
        images = sorted((image.name, image.sha256) for image in self.images)
        return hashlib.sha256(json.dumps([images, self.cfa, self.cam2srgb]).encode()).hexdigest()

    @classmethod
    def read(cls, folder: Path | str) -> "Index":
        """The index of a camera's folder; an empty one if the folder holds none.

        Raises ValueError if the index is damaged.
        """
        path = Path(folder) / INDEX_FILE
        return cls.parse(path.read_bytes(), str(path)) if path.exists() else cls()

    @classmethod
    def parse(cls, content: bytes, origin: str) -> "Index":
        """The index in the content of a file ``origin``. Raises ValueError if it is damaged."""
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
        if images and (document["cfa"] not in CFA_PATTERNS or np.shape(document["cam2srgb"]) != (3, 3)):
            raise ValueError("no valid CFA pattern or colour matrix")
        return cls(
            camera=document["camera"],
            cfa=document["cfa"],
            cam2srgb=document["cam2srgb"] and tuple(tuple(map(float, row)) for row in document["cam2srgb"]),
            development=document["development"],
            images=images,
            refused=tuple(Refusal(Source(**refusal["source"]), refusal["reason"]) for refusal in document["refused"]),
        )

    def write(self, folder: Path | str) -> None:
        """Replace the folder's index atomically."""
        document = {"format": FORMAT, **asdict(self)}
        atomic.write(Path(folder) / INDEX_FILE, json.dumps(document, indent=1).encode())


# --- Writing ---


class PairError(ValueError):
    """An image that a camera's folder does not take. The message names the image and the reason."""


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
    """Store one image of a camera; safe against being killed, and against another process that appends.

    Args:
        folder: the camera's folder, created if there is none.
        name: of the image, unique within the camera.
        bayer: (h, w, 4) planes R, G1, G2, B; floating point in [0, 1], or uint16.
        target: (2h, 2w, 3) developed RGB; floating point in [0, 1], or uint8.
        cfa: the sensor's 2×2 cell in row-major order, such as "RGGB".
        cam2srgb: (3, 3) from white-balanced camera RGB to linear sRGB.
        camera: make and model.
        source: the file it was read from, if any.
        development: what made the target of the Bayer stack; one camera's targets are all made the same way.

    Raises:
        PairError: arrays that do not fit each other, an image that is stored already (same name or same
            content), or one of another camera, CFA, colour matrix or development than those in the folder.
        ValueError: the folder is damaged.
    """
    folder = Path(folder)
    bayer_u16, target_u8 = quantise(name, bayer, target)
    empty = _empty_index(camera, cfa, cam2srgb, development)
    digest = _digest(bayer_u16, target_u8)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        index = Index.read(folder)
        if index.images:
            _require_same_camera(index, empty, name, folder)
        else:
            index = replace(empty, refused=index.refused)
        if source:
            index = _forget(index, source)
        for other in index.images:
            if other.sha256 == digest:
                raise PairError(f"{name}: duplicate of {other.name}")
            if other.name == name:
                raise PairError(f"{name}: there is another image of this name in {folder}")
        height, width, _ = bayer_u16.shape
        image = StoredImage(name, height, width, index.end, digest, source)
        _write_at(folder / BAYER_FILE, index.end * BYTES_PER_BAYER_PIXEL, bayer_u16)
        _write_at(folder / TARGET_FILE, index.end * BYTES_PER_CELL, target_u8)
        replace(index, images=(*index.images, image)).write(folder)
    return image


def refuse(folder: Path | str, source: Source, reason: str) -> None:
    """Remember that a file was refused, and why, in place of what was remembered of the same path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        index = _forget(Index.read(folder), source)
        replace(index, refused=(*index.refused, Refusal(source, reason))).write(folder)


def _forget(index: Index, source: Source) -> Index:
    """The index without refusals of the same path."""
    return replace(index, refused=tuple(entry for entry in index.refused if entry.source.path != source.path))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    import fcntl  # POSIX only, and reading needs no lock

    with (folder / BAYER_FILE).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed, or by the death of the process
        yield


def _write_at(path: Path, position: int, array: np.ndarray) -> None:
    with path.open("r+b" if path.exists() else "wb") as file:
        if os.fstat(file.fileno()).st_size < position:
            raise ValueError(f"{path} is shorter than its index says; {START_OVER}")
        file.seek(position)
        file.write(array.data)
        file.truncate()  # leftovers of a longer image whose append was interrupted
        file.flush()
        os.fsync(file.fileno())


def _require_same_camera(index: Index, other: Index, name: str, folder: Path) -> None:
    for what in ("camera", "cfa", "development"):
        expected, found = getattr(index, what), getattr(other, what)
        if found != expected:
            raise PairError(f"{name}: {what} is {found}, but {expected} for the images already in {folder}")
    if not np.allclose(np.array(index.cam2srgb), np.array(other.cam2srgb), rtol=0, atol=MATRIX_TOLERANCE):
        raise PairError(f"{name}: its colour matrix is not that of the images already in {folder}")


def quantise(name: str, bayer: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 4) and (2h, 2w, 3) arrays of `append` as uint16 and uint8; PairError says what does not fit."""
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


def _to_integer(what: str, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if values.dtype == dtype:
        return np.ascontiguousarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise PairError(f"{what} is {values.dtype}, expected {dtype} or floating point in [0, 1]")
    if not (values.min() >= 0 and values.max() <= 1):  # written so that NaN fails
        raise PairError(f"{what} has values outside [0, 1]")
    scaled = values.astype(np.float32) * np.float32(np.iinfo(dtype).max)
    return np.ascontiguousarray(np.rint(scaled).astype(dtype))


def _empty_index(camera: str, cfa: str, cam2srgb: np.ndarray, development: str | None) -> Index:
    if cfa not in CFA_PATTERNS:
        raise PairError(f"{camera}: unknown Bayer pattern {cfa!r}: use one of {', '.join(CFA_PATTERNS)}")
    matrix = np.asarray(cam2srgb, dtype=np.float32)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise PairError(f"{camera}: cam2srgb is no finite 3×3 matrix: {matrix.tolist()}")
    return Index(camera, cfa, tuple(tuple(row) for row in matrix.tolist()), development)


def _digest(bayer: np.ndarray, target: np.ndarray) -> str:
    content = hashlib.sha256(f"{bayer.shape[0]}x{bayer.shape[1]}".encode())
    content.update(bayer.data)
    content.update(target.data)
    return content.hexdigest()


# --- Reading ---


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of one camera as flat tensors, memory-mapped or on a device.

    Memory-mapped tensors are read-only: an in-place operation on them kills the process.

    Attributes:
        bayer: (P, 4) int16, the bits of the uint16 Bayer pixels R, G1, G2, B.
        target: (4P, 3) uint8 RGB pixels.
        offset, height, width: (n,) int64, extent of every image in Bayer pixels.
        names: of the n images.
        cfa: the sensor's 2×2 cell in row-major order.
        cam2srgb: (3, 3) float32, white-balanced camera RGB -> linear sRGB.
        camera: make and model.
        fingerprint: sha256 (hex) over names and contents of all images, CFA and matrix, whatever the order
            of import.
    """

    bayer: torch.Tensor
    target: torch.Tensor
    offset: torch.Tensor
    height: torch.Tensor
    width: torch.Tensor
    names: tuple[str, ...]
    cfa: str
    cam2srgb: np.ndarray
    camera: str
    fingerprint: str

    @classmethod
    def open(cls, folder: Path | str) -> "Pairs":
        """Memory-map a camera's folder.

        Raises ValueError if there are no pairs, or if they are damaged.
        """
        folder = Path(folder)
        index = Index.read(folder)
        if not index.images:
            raise ValueError(f"no pairs in {folder}: import or simulate the camera first")
        return cls._of(
            index,
            _map(folder / BAYER_FILE, np.dtype(np.int16), (index.end, 4)),
            _map(folder / TARGET_FILE, np.dtype(np.uint8), (4 * index.end, 3)),
        )

    @classmethod
    def from_images(
        cls,
        images: Iterable[tuple[np.ndarray, np.ndarray]],
        cfa: str,
        cam2srgb: np.ndarray,
        camera: str,
        names: Sequence[str] | None = None,
    ) -> "Pairs":
        """Pairs in memory, from (bayer, target) arrays as in `append`; names default to "0000", "0001", …

        Raises ValueError for arrays, names, CFA or matrix that do not fit.
        """
        arrays = [quantise(f"image {i}", bayer, target) for i, (bayer, target) in enumerate(images)]
        names = [f"{i:04d}" for i in range(len(arrays))] if names is None else names
        if not arrays or not len(arrays) == len(names) == len(set(names)):
            raise ValueError(f"{camera}: {len(arrays)} images and {len(set(names))} different names for them")
        stored: list[StoredImage] = []
        for name, (bayer, target) in zip(names, arrays, strict=True):
            height, width, _ = bayer.shape
            offset = stored[-1].end if stored else 0
            stored.append(StoredImage(name, height, width, offset, _digest(bayer, target)))
        return cls._of(
            replace(_empty_index(camera, cfa, cam2srgb, None), images=tuple(stored)),
            torch.from_numpy(np.concatenate([bayer.reshape(-1, 4) for bayer, _ in arrays]).view(np.int16)),
            torch.from_numpy(np.concatenate([target.reshape(-1, 3) for _, target in arrays])),
        )

    @classmethod
    def _of(cls, index: Index, bayer: torch.Tensor, target: torch.Tensor) -> "Pairs":
        assert index.cfa is not None and index.cam2srgb is not None
        return cls(
            bayer=bayer,
            target=target,
            offset=torch.tensor([image.offset for image in index.images]),
            height=torch.tensor([image.height for image in index.images]),
            width=torch.tensor([image.width for image in index.images]),
            names=index.names,
            cfa=index.cfa,
            cam2srgb=np.array(index.cam2srgb, dtype=np.float32),
            camera=index.camera or "",
            fingerprint=index.fingerprint,
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    @property
    def device(self) -> torch.device:
        return self.bayer.device

    @cached_property
    def shortest_side(self) -> int:
        """Shortest side of any image, in Bayer pixels; kept on the host."""
        return int(torch.minimum(self.height, self.width).min())

    def to(self, device: torch.device | str) -> "Pairs":
        """The same pairs with all their tensors on a device; on the CPU they stay memory-mapped."""
        tensors = ("bayer", "target", "offset", "height", "width")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    def image(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole image i: Bayer stack (1, 4, h, w) and target (1, 3, 2h, 2w), float32 in [0, 1]."""
        offset, height, width = (int(extent[i]) for extent in (self.offset, self.height, self.width))
        cells = height * width
        bayer = self.bayer[offset : offset + cells].view(1, height, width, 4)
        target = self.target[4 * offset : 4 * (offset + cells)].view(1, 2 * height, 2 * width, 3)
        return bayer_to_float(bayer), target_to_float(target)


def bayer_to_float(bayer: torch.Tensor) -> torch.Tensor:
    """(n, h, w, 4) int16 holding the bits of uint16 -> (n, 4, h, w) float32 in [0, 1]."""
    planes = bayer.view(torch.uint16).permute(0, 3, 1, 2)
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(65535)


def target_to_float(target: torch.Tensor) -> torch.Tensor:
    """(n, H, W, 3) uint8 -> (n, 3, H, W) float32 in [0, 1]."""
    return target.permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)


def split(names: Sequence[str], train: int, validation: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide images at random into those to train on and those to validate on.

    The choice depends on the seed and the set of names, not on the order of import, and a different number of
    training images leaves the validation images as they are.

    Returns:
        Indices into `names` of the training and of the validation images, int64, in random order.

    Raises:
        ValueError: there are fewer images than asked for.
    """
    if train < 1 or validation < 1:
        raise ValueError(f"a split needs at least one image on each side, not {train} + {validation}")
    if train + validation > len(names):
        raise ValueError(
            f"the split asks for {train} + {validation} images, but there are only {len(names)}: "
            "import more, or set a smaller split in the study"
        )
    by_name = torch.tensor(sorted(range(len(names)), key=names.__getitem__))
    shuffled = by_name[torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))]
    return shuffled[validation : validation + train], shuffled[:validation]


def _map(path: Path, dtype: np.dtype, shape: tuple[int, int]) -> torch.Tensor:
    """A file's first bytes as a tensor that reads from disk only what is touched."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        size = 0
    needed = shape[0] * shape[1] * dtype.itemsize
    if size < needed:
        raise ValueError(f"{path} holds {size} of the {needed} bytes its index lists; {START_OVER}")
    mapped = np.memmap(path, dtype=dtype, mode="r", shape=shape)
    with warnings.catch_warnings():
        # A writable private mapping would not warn, but it counts as memory, and a camera can be larger.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(mapped)


def verify(folder: Path | str, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Index:
    """Compare every stored image with the checksum in the index; returns the index.

    Args:
        folder: of the camera.
        on_progress: told (images compared, images in all).

    Raises:
        ValueError: there are no pairs, or an image is not what was stored; the message names it.
    """
    pairs, index = Pairs.open(folder), Index.read(folder)
    for done, image in enumerate(index.images):
        on_progress(done, len(index.images))
        bayer = pairs.bayer[image.offset : image.end].view(image.height, image.width, 4)
        target = pairs.target[4 * image.offset : 4 * image.end].view(2 * image.height, 2 * image.width, 3)
        if _digest(bayer.numpy(), target.numpy()) != image.sha256:
            raise ValueError(f"{folder}: image {image.name} is damaged; {START_OVER}")
    on_progress(len(index.images), len(index.images))
    return index
