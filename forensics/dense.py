"""The FAN over all windows of a photograph at once: convolutions are shared, and only the means are of a window.

    received (1,3,H,W) ─ convolutions ─ cells of 16×16 px ─ means over windows ─ dense ─ logits of every window
                             │
                             └ in tiles with a margin that covers their receptive field

A window that is cut out has zeros beyond its edges where here its surroundings are. So logits differ from those of
single windows, and what is read from them has a calibration of its own.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from forensics.fan import CELL, FAN, WIDTHS

# Pixels beyond a cell on which its features depend: 2 of the residual, and 2 · (1 + 2 + 4 + 8) of the convolutions.
REACH = 2 + 2 * (CELL - 1)
MARGIN = -(-REACH // CELL)  # the same in cells
SCALES = (*(CELL >> level for level in range(len(WIDTHS) + 1)), 1)  # values of each layer per cell, along a side
TILE = 64  # cells on a side, without the margin: half a gigabyte of memory


class Tile(NamedTuple):
    """A part of a photograph.

    Attributes:
        row, column: of the tile, from 0.
        layers: what the layers of the FAN make of it, see :meth:`FAN.layers`, without the margins.
    """

    row: int
    column: int
    layers: list[Tensor]


@torch.no_grad()
def in_tiles(fan: FAN, received: Tensor, tile: int = TILE) -> Iterator[Tile]:
    """Go through a photograph of any size; together the tiles are what the FAN makes of all of it at once.

    Args:
        fan: set to evaluation.
        received: (1,3,H,W) uint8, on the CPU; H, W ≥ 16. Tiles move to the device of the FAN.
        tile: cells on a side of what is computed at once, margins not counted.
    """
    device = next(fan.parameters()).device
    for row, (rows, kept_rows) in enumerate(_pieces(received.shape[2], tile)):
        for column, (columns, kept_columns) in enumerate(_pieces(received.shape[3], tile)):
            layers = fan.layers(received[..., rows, columns].to(device) / 255)
            yield Tile(
                row,
                column,
                [
                    layer[..., _scaled(kept_rows, scale), _scaled(kept_columns, scale)]
                    for layer, scale in zip(layers, SCALES, strict=True)
                ],
            )


def _scaled(kept: slice, scale: int) -> slice:
    return slice(scale * kept.start, scale * kept.stop)


def _pieces(pixels: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """Divides one dimension: the pixels of a tile with its margins, and the cells of the result that are the tile."""
    cells = pixels // CELL
    for first in range(0, cells, tile):
        end = min(first + tile, cells)
        begin, stop = max(first - MARGIN, 0), end + MARGIN
        yield slice(begin * CELL, pixels if stop >= cells else stop * CELL), slice(first - begin, end - begin)


def dense_features(fan: FAN, received: Tensor, tile: int = TILE) -> Tensor:
    """Compute the features of every cell: (1,256,⌊H/16⌋,⌊W/16⌋) float32, on the device of the FAN.

    Arguments are those of :func:`in_tiles`.
    """
    return joined([(part.row, part.layers[-1]) for part in in_tiles(fan, received, tile)])


def joined(parts: Iterable[tuple[int, Tensor]]) -> Tensor:
    """Join what is known of tiles, given with their rows, into a whole (…,h,w)."""
    rows = groupby(parts, key=lambda part: part[0])
    return torch.cat([torch.cat([values for _, values in row], dim=-1) for _, row in rows], dim=-2)


def over_windows(cells: Tensor, window: int) -> Tensor:
    """Average features of cells (N,C,h,w) over every window of ``window`` pixels: (N,h′,w′,C).

    Element (i,j) is of the window whose upper left corner is at pixel (16·i, 16·j).

    Raises:
        ValueError: the photograph is smaller than a window.
    """
    side = max(window // CELL, 1)
    if min(cells.shape[2:]) < side:
        height, width = (CELL * extent for extent in cells.shape[2:])
        raise ValueError(f"a photograph of some {height}×{width} px is smaller than a window of {window} px")
    return F.avg_pool2d(cells, side, stride=1).movedim(1, -1)


@torch.no_grad()
def dense_logits(fan: FAN, received: Tensor, window: int) -> Tensor:
    """Compute the FAN's logits of every window of a photograph: (1,h′,w′,classes) float32, places as `over_windows`.

    Args:
        fan: set to evaluation.
        received: (1,3,H,W) uint8.
        window: side in pixels of what the FAN was trained on.

    Raises:
        ValueError: the photograph is smaller than a window.
    """
    windows = over_windows(dense_features(fan, received), window)
    return fan.decision(fan.hidden(windows)).float()
