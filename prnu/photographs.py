"""Photographs as fingerprints need them: pixels as numbers in [0, 1]; and a map painted over a photograph."""

import io
from pathlib import Path

import torch
from torch import Tensor

from cameras import photographs
from prnu.localise import Map
from prnu.residual import grey

OVERLAY_SIDE = 2048  # pixels at most: an overlay is to be looked at


def read(path: Path) -> Tensor:
    """Read a photograph as it is stored: RGB (1,3,H,W) float32 in [0,1]. As `cameras.photographs.read`."""
    return photographs.read(path).float() / 255


def overlay(photograph: Tensor, found: Map, stride: int) -> bytes:
    """Paint a photograph in grey, and red where tampering is probable: a PNG file, scaled down to 2048 pixels.

    Red becomes stronger from probability 0.5 to 1. Near the edges, where no window is centred, there is no red.

    Args:
        photograph: (1,3,H,W) in [0,1].
        found: its map. stride: of the map's windows.
    """
    from PIL import Image

    height, width = photograph.shape[-2:]
    suspicion = (2 * found.probability[0] - 1).clamp(0, 1).cpu()
    top, left = (int(centres[0]) - stride // 2 for centres in (found.rows, found.columns))
    cells = suspicion.repeat_interleave(stride, 0).repeat_interleave(stride, 1)
    cells = cells[max(-top, 0) :, max(-left, 0) :][: height - max(top, 0), : width - max(left, 0)]
    red = torch.zeros(height, width)
    red[max(top, 0) :, max(left, 0) :][: cells.shape[0], : cells.shape[1]] = cells

    painted = (
        grey(photograph).cpu().expand(3, -1, -1) * (1 - 0.6 * red)
        + 0.6 * red * torch.tensor([1.0, 0, 0])[:, None, None]
    )
    picture = Image.fromarray((painted * 255).round().to(torch.uint8).movedim(0, -1).contiguous().numpy())
    picture.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE))
    file = io.BytesIO()
    picture.save(file, "png")
    return file.getvalue()
