"""What the FAN finds in a photograph: logits of every place, and the statistics of its layers.

A photograph may have been cropped, so that nothing is known of where the lattice of 16×16 pixels lay on which the FAN
looks. Evidence is the mean over two lattices, which lie half a cell apart in both directions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from forensics.dense import in_tiles, joined, over_windows
from forensics.fan import CELL, FAN, WIDTHS
from models.precision import autocast

SHIFTS = (0, CELL // 2)  # pixels, down and to the right
STATISTICS = 2 * (3 + sum(WIDTHS)) + WIDTHS[-1]  # of a photograph


@dataclass(frozen=True)
class Evidence:
    """What the FAN finds in a photograph.

    Attributes:
        places: logits (h,w,classes) float32 of every window; that of (i,j) is centred some pixels around the middle of
            cell (i,j) and further cells to the right and below, see :func:`forensics.dense.over_windows`.
        logits: their mean (classes,).
        statistics: (STATISTICS,) float32: of every channel of every layer the mean over the photograph, and but for the
            last layer the standard deviation.
        texture: standard deviation of brightness within a cell, on the 8-bit scale; median over the photograph.
    """

    places: Tensor
    logits: Tensor
    statistics: Tensor
    texture: float


@torch.no_grad()
def examine(fan: FAN, received: Tensor, window: int, precision: str = "float32") -> Evidence:
    """Let the FAN look at a photograph.

    Args:
        fan: set to evaluation.
        received: (1,3,H,W) uint8, on the CPU.
        window: side in pixels of what the FAN was trained on.
        precision: of its convolutions, as in its training.

    Raises:
        ValueError: the photograph is smaller than a window and half a cell.
    """
    with autocast(next(fan.parameters()), precision):
        looks = [_look(fan, received[..., shift:, shift:], window) for shift in SHIFTS]
    h, w = (min(places.shape[axis] for places, _ in looks) for axis in (0, 1))
    places = torch.stack([places[:h, :w] for places, _ in looks]).mean(dim=0)
    statistics = torch.stack([found for _, found in looks]).mean(dim=0)
    return Evidence(places.cpu(), places.mean(dim=(0, 1)).cpu(), statistics.cpu(), texture(received))


def _look(fan: FAN, received: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Logits (h,w,classes) on one lattice, and the statistics (S,)."""
    if min(received.shape[2:]) < max(window, CELL):
        height, width = received.shape[2:]
        raise ValueError(f"{height}×{width} px are too few for windows of {window} px")
    parts, sums, squares, counts = [], [], [], []
    for tile in in_tiles(fan, received):
        layers = [layer.double() for layer in tile.layers]
        sums.append([layer.sum(dim=(0, 2, 3)) for layer in layers])
        squares.append([layer.square().sum(dim=(0, 2, 3)) for layer in layers])
        counts.append([layer.shape[2] * layer.shape[3] for layer in layers])
        parts.append((tile.row, tile.layers[-1]))
    numbers = [sum(each) for each in zip(*counts, strict=True)]
    means = [sum(each) / n for each, n in zip(zip(*sums, strict=True), numbers, strict=True)]
    powers = [sum(each) / n for each, n in zip(zip(*squares, strict=True), numbers, strict=True)]
    spreads = [(power - mean**2).clamp(min=0).sqrt() for power, mean in zip(powers, means, strict=True)]
    logits = fan.decision(fan.hidden(over_windows(joined(parts), window))).float()
    return logits[0], torch.cat([*means, *spreads[:-1]]).float()


def texture(received: Tensor) -> float:
    """The median over cells of the standard deviation of brightness in them, 0 to 127.5, of (1,3,H,W) uint8."""
    h, w = (extent // CELL for extent in received.shape[2:])
    grey = received[0, :, : h * CELL, : w * CELL].float().mean(dim=0)
    cells = grey.unflatten(0, (h, CELL)).unflatten(2, (w, CELL))  # (h, CELL, w, CELL)
    return cells.std(dim=(1, 3), correction=0).median().item()
