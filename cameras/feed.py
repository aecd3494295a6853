"""Bring patches to the device of a network, beside its running step.

    data = "host"     photographs, memory-mapped ─ gather ─ pinned memory ══ copy ══ patches on the GPU
    data = "device"              places of patches ─ pinned memory ══ copy ══ gather from photographs on the GPU

Places are drawn on the host in both cases, so both give the same patches. On a GPU, one thread prepares the next AHEAD
batches while the network computes: it draws and gathers, and copies on a CUDA stream of its own, so that neither the
host nor the running step waits. On a CPU the photographs stay memory-mapped, and there is nothing to run beside.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from cameras import patches
from cameras.pairs import BYTES_PER_BAYER_PIXEL, BYTES_PER_CELL, Pairs
from cameras.patches import Patches, Places, gather_bayer, gather_target, random_places

Data = Literal["auto", "host", "device"]
AHEAD = {"cuda": 2}  # number of batches prepared beside a step, by type of device
SLACK = 2**28  # bytes of a GPU that stay free beside photographs
CELLS = 40 * 128**2  # Bayer pixels that a network develops at once on a GPU where it keeps nothing for gradients

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Photographs:
    """The photographs of one camera, and the device on which patches of them are needed.

    Attributes:
        pairs: all of them, on the host, best memory-mapped.
        device: of the patches.
        stored: those of the training, on the device; None: patches come from the host.
    """

    pairs: Pairs
    device: torch.device
    stored: Pairs | None = None

    @classmethod
    def open(cls, pairs: Pairs, images: Tensor, device: torch.device | str, data: Data) -> "Photographs":
        """Photographs for a training, of which the images with these numbers move to the device with `data` = device.

        With auto they stay on the host until `settle` is called.

        Raises:
            ValueError: another `data`, or `pairs` that are not on the host.
        """
        if data not in ("auto", "host", "device"):
            raise ValueError(f"data must be auto, host or device, not {data!r}")
        if pairs.device.type != "cpu":
            raise ValueError(f"hand the pairs over on the host, not on {pairs.device}: what is needed moves by itself")
        device = torch.device(device)
        return cls(pairs, device, pairs.part(images, device) if data == "device" else None)

    def settle(self, images: Tensor, memory: int | None) -> "Photographs":
        """The same, moved to a GPU where they fit beside all that the process has needed at once so far.

        So call it when a step and a validation have been made. `memory` is as in `room`.
        """
        size = (BYTES_PER_BAYER_PIXEL + BYTES_PER_CELL) * int((self.pairs.height * self.pairs.width)[images].sum())
        if self.stored is not None or size > room(self.device, memory) - SLACK:
            return self
        try:
            return replace(self, stored=self.pairs.part(images, self.device))
        except torch.OutOfMemoryError:  # another process on the same card was faster
            return self


def room(device: torch.device, memory: int | None) -> int:
    """Bytes of a GPU that remain beside the most that this process has reserved at once; none on other devices.

    `memory` are the bytes that the process may use; None: all that is free.
    """
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    most = torch.cuda.max_memory_reserved(device)
    remains = free + torch.cuda.memory_reserved(device) - most
    return remains if memory is None else min(remains, memory - most)


# --- Patches, batch after batch ---


def batches(
    photographs: Photographs,
    images: Tensor,
    number: int,
    count: int,
    patch: int,
    generator: torch.Generator,
    textured: bool,
) -> Iterator[Patches]:
    """`number` random batches of `count` patches, as `cameras.patches.sample` draws them.

    Batches are drawn ahead, and no more than `number`: when the last has been taken, the state of `generator` is that
    after it. Until then, leave the generator alone.
    """
    places = (random_places(photographs.pairs, images, count, patch, generator, textured) for _ in range(number))
    for bayer, target in _gathered(photographs, places, patch, gather_bayer, gather_target):
        yield patches.patches_of(bayer, target)


def patches_at(photographs: Photographs, places: Places, patch: int, size: int) -> Iterator[Patches]:
    """The patches at given places, `size` at a time."""
    slices = (places[start : start + size] for start in range(0, len(places), size))
    for bayer, target in _gathered(photographs, slices, patch, gather_bayer, gather_target):
        yield patches.patches_of(bayer, target)


def bayer_at(photographs: Photographs, places: Places, patch: int, size: int) -> Iterator[Tensor]:
    """The Bayer patches at given places, `size` at a time; their targets are not read."""
    slices = (places[start : start + size] for start in range(0, len(places), size))
    for (bayer,) in _gathered(photographs, slices, patch, gather_bayer):
        yield patches.bayer_to_float(bayer)


def moved(tensors: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Tensors on the host, one after the other on the device."""
    for (tensor,) in _arriving(((tensor,) for tensor in tensors), device, lambda *arrived: arrived):
        yield tensor


def at_once(device: torch.device, patch: int, batch: int) -> int:
    """Number of patches to develop at a time where nothing is learnt: on a CPU a batch, on a GPU CELLS, if more.

    ``patch`` is their side in Bayer pixels, or the side of what a further network receives of them, if that is larger.
    """
    return batch if device.type == "cpu" else max(batch, CELLS // patch**2)


def _gathered(
    photographs: Photographs,
    places: Iterator[Places],
    patch: int,
    *gathers: Callable[[Pairs, Places, int], Tensor],
) -> Iterator[tuple[Tensor, ...]]:
    """Stored integers at given places, on the device."""
    stored = photographs.stored
    if stored is None:
        pixels = (tuple(gather(photographs.pairs, here, patch) for gather in gathers) for here in places)
        return _arriving(pixels, photographs.device, lambda *arrived: arrived)
    numbers = ((here.image, here.y, here.x) for here in places)
    return _arriving(
        numbers, photographs.device, lambda *here: tuple(gather(stored, Places(*here), patch) for gather in gathers)
    )


# --- From the host to the device ---


def _arriving(
    prepared: Iterator[tuple[Tensor, ...]], device: torch.device, finish: Callable[..., tuple[Tensor, ...]]
) -> Iterator[tuple[Tensor, ...]]:
    """What `finish` makes on the device of tensors that are `prepared` on the host, each in time for its use."""
    if device.type == "cuda":
        return _on_own_stream(prepared, device, finish)
    here = (finish(*(tensor.to(device) for tensor in tensors)) for tensors in prepared)
    return _ahead(here, AHEAD.get(device.type, 0))


def _on_own_stream(
    prepared: Iterator[tuple[Tensor, ...]], device: torch.device, finish: Callable[..., tuple[Tensor, ...]]
) -> Iterator[tuple[Tensor, ...]]:
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))  # the photographs that `finish` reads have arrived

    def copies() -> Iterator[tuple[tuple[Tensor, ...], torch.cuda.Event]]:  # is run in the other thread
        for tensors in prepared:
            with torch.cuda.stream(stream):
                # PyTorch keeps pinned memory from reuse until a copy out of it, which nobody waits for, is done.
                arrived = finish(*(tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors))
                event = stream.record_event()
            yield arrived, event

    for arrived, event in _ahead(copies(), AHEAD["cuda"]):
        step = torch.cuda.current_stream(device)
        step.wait_event(event)
        for tensor in arrived:  # freed memory goes back to `stream`, but not before the step has read it
            tensor.record_stream(step)
        yield arrived


def _ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """The items, of which one thread makes up to `depth` ahead of their use; with 0 there is no thread."""
    if depth == 0:
        yield from items
        return
    with ThreadPoolExecutor(1, "feed") as thread:
        coming = deque(thread.submit(next, items, None) for _ in range(depth))
        while (item := coming.popleft().result()) is not None:
            coming.append(thread.submit(next, items, None))
            yield item
