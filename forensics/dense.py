"""The FAN over all windows of a photograph at once: convolutions are shared, and only the means are of a window.

    received (1,3,H,W) ─ convolutions ─ cells of 16×16 px ─ means over windows ─ dense ─ logits of every window
                             │
                             └ in tiles with a margin that covers their receptive field

A window that is cut out has zeros beyond its edges where here its surroundings are. So logits differ from those of
single windows, and what is read from them has a calibration of its own.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from forensics.fan import CELL, FAN

# Pixels beyond a cell on which its features depend: 2 of the residual, and 2 · (1 + 2 + 4 + 8) of the convolutions.
REACH = 2 + 2 * (CELL - 1)
MARGIN = -(-REACH // CELL)  # the same in cells
TILE = 64  # cells on a side, without the margin: half a gigabyte of memory


@torch.no_grad()
def dense_features(fan: FAN, received: Tensor, tile: int = TILE) -> Tensor:
    """Compute the features of every cell of a photograph of any size, in tiles.

    Args:
        fan: set to evaluation.
        received: (1,3,H,W) uint8, on the CPU; H, W ≥ 16. Tiles move to the device of the FAN.
        tile: cells on a side of what is computed at once, margins not counted.

    Returns:
        (1,256,⌊H/16⌋,⌊W/16⌋) float32 on the device of the FAN, equal to those of the whole photograph at once.
    """
    device = next(fan.parameters()).device
    rows = []
    for vertical, kept_rows in _pieces(received.shape[2], tile):
        row = [
            fan.cells(received[..., vertical, horizontal].to(device) / 255)[..., kept_rows, kept_columns]
            for horizontal, kept_columns in _pieces(received.shape[3], tile)
        ]
        rows.append(torch.cat(row, dim=3))
    return torch.cat(rows, dim=2)


def _pieces(pixels: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """Divides one dimension: the pixels of a tile with its margins, and the cells of the result that are the tile."""
    cells = pixels // CELL
    for first in range(0, cells, tile):
        end = min(first + tile, cells)
        begin, stop = max(first - MARGIN, 0), end + MARGIN
        yield slice(begin * CELL, pixels if stop >= cells else stop * CELL), slice(first - begin, end - begin)


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
