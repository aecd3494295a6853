"""Open a camera's folder as tensors, split its images, and verify their checksums."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cameras.pairs.index import BAYER_FILE, START_OVER, TARGET_FILE, Index, StoredImage
from cameras.pairs.storing import content_hash, empty_index, quantise

NOWHERE = -(2**40)  # the offset of an image that is not there


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
        data_hash: SHA-256 (hex) of the names and contents of all images, the CFA and the matrix, in any order of
            import.
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
    data_hash: str

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
        """Make pairs in memory from (bayer, target) arrays as in `append`; names default to "0000", "0001", …

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
            stored.append(StoredImage(name, height, width, offset, content_hash(bayer, target)))
        return cls._of(
            replace(empty_index(camera, cfa, cam2srgb, None), images=tuple(stored)),
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
            data_hash=index.data_hash,
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    @property
    def device(self) -> torch.device:
        return self.bayer.device

    def to(self, device: torch.device | str) -> "Pairs":
        """The same pairs with all their tensors on a device; on the CPU they stay memory-mapped."""
        tensors = ("bayer", "target", "offset", "height", "width")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    def part(self, images: torch.Tensor, device: torch.device | str) -> "Pairs":
        """The same pairs with the pixels of some images alone, on a device; nothing else is read.

        All images keep their numbers. Whoever gathers from one that was left out gets an IndexError on a CPU: its
        offset lies before the beginning.

        Args:
            images: (k,) int64, numbers of the images, on the host.
            device: for all tensors.
        """
        cells = (self.height * self.width)[images]
        ends = cells.cumsum(0)
        bayer = torch.empty((int(cells.sum()), 4), dtype=self.bayer.dtype, device=device)
        target = torch.empty((4 * len(bayer), 3), dtype=self.target.dtype, device=device)
        for source, count, end in zip(self.offset[images].tolist(), cells.tolist(), ends.tolist(), strict=True):
            bayer[end - count : end] = self.bayer[source : source + count]
            target[4 * (end - count) : 4 * end] = self.target[4 * source : 4 * (source + count)]
        offset = torch.full_like(self.offset, NOWHERE)
        offset[images] = ends - cells
        height, width = self.height.to(device), self.width.to(device)
        return replace(self, bayer=bayer, target=target, offset=offset.to(device), height=height, width=width)

    def image(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole image i: Bayer stack (1, 4, h, w) and target (1, 3, 2h, 2w), float32 in [0, 1]."""
        offset, height, width = (int(extent[i]) for extent in (self.offset, self.height, self.width))
        cells = height * width
        bayer = self.bayer[offset : offset + cells].view(1, height, width, 4)
        target = self.target[4 * offset : 4 * (offset + cells)].view(1, 2 * height, 2 * width, 3)
        return bayer_to_float(bayer), target_to_float(target)


def bayer_to_float(bayer: torch.Tensor) -> torch.Tensor:
    """(n, h, w, 4) int16 with the bits of uint16 -> (n, 4, h, w) float32 in [0, 1]."""
    planes = bayer.view(torch.uint16).permute(0, 3, 1, 2)
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(65535)


def target_to_float(target: torch.Tensor) -> torch.Tensor:
    """(n, H, W, 3) uint8 -> (n, 3, H, W) float32 in [0, 1]."""
    return target.permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)


def _map(path: Path, dtype: np.dtype, shape: tuple[int, int]) -> torch.Tensor:
    """The first bytes of a file as a tensor that reads from disk only what is used."""
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


def split(names: Sequence[str], train: int, validation: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide images at random into those to train on and those to validate on.

    The choice depends on the seed and the set of names, not on the order of import. With another number of training
    images, the validation images stay the same.

    Returns:
        Indices into `names` of the training and of the validation images, int64, in random order.

    Raises:
        ValueError: there are fewer images than requested.
    """
    if train < 1 or validation < 1:
        raise ValueError(f"a split needs at least one image on each side, not {train} + {validation}")
    shuffled = _shuffled(names, seed, (train, validation))
    return shuffled[validation : validation + train], shuffled[:validation]


def held_out(names: Sequence[str], train: int, validation: int, test: int, seed: int) -> torch.Tensor:
    """Choose images for the test, which `split` with the same seed gives neither to training nor to validation.

    With other numbers of training and validation images, the test images stay the same.

    Returns:
        Indices into `names`, int64, in random order; empty with ``test`` = 0.

    Raises:
        ValueError: there are fewer images than requested.
    """
    return _shuffled(names, seed, (train, validation, test))[len(names) - test :]


def _shuffled(names: Sequence[str], seed: int, parts: Sequence[int]) -> torch.Tensor:
    """Indices into `names` in random order, of which parts of these sizes can be taken."""
    if sum(parts) > len(names):
        raise ValueError(
            f"the split asks for {' + '.join(map(str, parts))} images, but there are only {len(names)}: "
            "import more, or set a smaller split in the study"
        )
    by_name = torch.tensor(sorted(range(len(names)), key=names.__getitem__))
    return by_name[torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))]


def verify(folder: Path | str, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Index:
    """Compare every stored image with the checksum in the index; return the index.

    Args:
        folder: of the camera.
        on_progress: called with the number of images compared and the number of all images.

    Raises:
        ValueError: there are no pairs, or an image differs from what was stored; the message names it.
    """
    pairs, index = Pairs.open(folder), Index.read(folder)
    for done, image in enumerate(index.images):
        on_progress(done, len(index.images))
        bayer = pairs.bayer[image.offset : image.end].view(image.height, image.width, 4)
        target = pairs.target[4 * image.offset : 4 * image.end].view(2 * image.height, 2 * image.width, 3)
        if content_hash(bayer.numpy(), target.numpy()) != image.sha256:
            raise ValueError(f"{folder}: image {image.name} is damaged; {START_OVER}")
    on_progress(len(index.images), len(index.images))
    return index
