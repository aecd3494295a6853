"""Whole photographs of any size, developed in tiles and equal to what a NIP would make of them at once.

                       ┌──────────────┐ what the NIP gets: the tile and a margin that covers its receptive field,
    Bayer stack        │  ┌────────┐  │ from a cell of the same phase on
    (1,4,h,w)          │  │  tile  │  │ what is kept of the result
                       │  └────────┘  │
                       └──────────────┘ at the photograph's own borders there is no margin

So there are no seams, and memory grows with the tile instead of the photograph.
"""

from collections.abc import Iterator
from math import ceil, inf
from typing import NamedTuple

import torch
from torch import Tensor

from models.nip import NIP, develop

TILE = 768  # cells on a side, margins included: 1 to 3 GB of memory, by the NIP
PROBE = (256, 32)  # cells of the strip on which a receptive field is measured


class Box(NamedTuple):
    """A part of a Bayer stack, in cells."""

    top: int
    left: int
    height: int
    width: int


@torch.no_grad()
def develop_whole(
    nip: NIP, bayer: Tensor, precision: str = "float32", box: Box | None = None, tile: int = TILE
) -> Tensor:
    """Develops a photograph of any size: (1,4,h,w) → (1,3,2h,2w) float32 in [0,1], on the device of ``bayer``.

    Args:
        nip: is set to evaluation; it may be on another device than ``bayer``, which then gets tile after tile.
        precision: as in :func:`models.nip.develop`.
        box: develop this part alone, as it is in the whole photograph.
        tile: what is developed at once has at most so many cells on a side, or a few more than its margins. A
            photograph that is no larger is developed at once, and so is any other if its pixels depend on all of it.
    """
    nip.eval()
    device = next(nip.parameters()).device
    h, w = bayer.shape[-2:]
    box = box or Box(0, 0, h, w)
    field = inf if max(h, w) <= tile else reach(nip)
    developed = bayer.new_empty((1, 3, 2 * box.height, 2 * box.width))
    for rows in _pieces(box.top, box.height, h, field, nip.period, tile):
        for columns in _pieces(box.left, box.width, w, field, nip.period, tile):
            stack = bayer[..., rows.taken, columns.taken].to(device)
            developed[..., rows.place, columns.place] = develop(nip, stack, precision)[..., rows.kept, columns.kept]
    return developed


class _Piece(NamedTuple):
    """One dimension of a tile.

    Attributes:
        taken: cells that the NIP gets.
        kept: the pixels of the result that are the tile.
        place: where they belong in the developed photograph.
    """

    taken: slice
    kept: slice
    place: slice


def _pieces(start: int, length: int, size: int, field: float, period: int, tile: int) -> Iterator[_Piece]:
    """Divides ``length`` cells from ``start`` on, of the ``size`` that there are."""
    step = length
    if field < inf:
        step = max(tile - 2 * period * ceil(field / period), period) // period * period
    for first in range(start, start + length, step):
        end = min(first + step, start + length)
        begin = 0 if field == inf else max(int(first - field) // period * period, 0)
        stop = size if field == inf else min(ceil((end + field) / period) * period, size)
        yield _Piece(
            slice(begin, stop),
            slice(2 * (first - begin), 2 * (end - begin)),
            slice(2 * (first - start), 2 * (end - start)),
        )


@torch.no_grad()
def reach(nip: NIP) -> float:
    """Measures how many cells away a pixel can depend on a cell; infinite for all of the photograph.

    A cell that is not a number makes every pixel not a number that depends on it, whatever the weights. Two cells are
    tried, the first and the last of a period: between them the dependence moves one way, so that both bound the rest.
    """
    device, period = next(nip.parameters()).device, nip.period
    length, width = PROBE
    first = length // 2 // period * period
    found = []
    for size in ((length, width), (width, length)):
        along = size.index(length)
        for cell in (first, first + period - 1):
            stack = torch.full((1, 4, *size), 0.5, device=device)
            stack.narrow(2 + along, cell, 1).narrow(3 - along, width // 2, 1).fill_(torch.nan)
            unknown = develop(nip.eval(), stack, "float32").isnan().flatten(0, 1).any(dim=0).any(dim=1 - along)
            cells = unknown.nonzero().flatten().cpu() // 2
            if len(cells) == 0 or cells[0] == 0 or cells[-1] == length - 1:
                return inf
            found += [first + period - 1 - cells[0].item(), cells[-1].item() - first]
    return max(found)
