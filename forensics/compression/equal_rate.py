"""Codecs side by side at equal rate: a part of a photograph, as each leaves it at about as many bits per pixel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from forensics.compression.coders import Coder, Setting
from forensics.compression.rates import Rate, measure

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, ZOOM = 224, 2  # of the part shown, in pixels of the photograph, and how much it is enlarged
COLUMNS, GAP, LINE = 3, 12, 20  # of the page: pictures in a row, pixels between them, pixels of a line of text
BESIDE = 2  # settings on both sides of the best that bisection finds, since a rate may fall a little on its way up


@dataclass(frozen=True)
class Shown:
    """A photograph (3, H, W) uint8 as a codec leaves it, and what that costs."""

    rate: Rate
    picture: Tensor


@torch.no_grad()
def nearest(coder: Coder, picture: Tensor, bpp: float) -> Setting:
    """Returns the setting of a codec whose bits per pixel of a picture (3, H, W) uint8 are nearest to ``bpp``."""
    settings = coder.every

    @cache
    def rate(number: int) -> float:
        return 8 * len(settings[number].compress(picture)) / picture[0].numel()

    low, high = 0, len(settings)
    if coder.rising:
        first, last = low, high
        while first < last:  # the first setting of at least that rate
            middle = (first + last) // 2
            first, last = (first, middle) if rate(middle) >= bpp else (middle + 1, last)
        low, high = max(0, first - 1 - BESIDE), min(high, first + 1 + BESIDE)
    return settings[min(range(low, high), key=lambda number: abs(rate(number) - bpp))]


def at_rate(name: str, picture: Tensor, coders: Sequence[Coder], bpp: float) -> list[Shown]:
    """Returns a photograph (3, H, W) uint8 behind each codec, at its setting that is `nearest` to a rate."""
    return [Shown(*measure(name, picture, coder, nearest(coder, picture, bpp))) for coder in coders]


def place(picture: Tensor, shown: Sequence[Shown], side: int = SIDE) -> tuple[int, int]:
    """Returns the upper left corner of the square that all codecs together change most, in squared error."""
    changes = torch.stack([(one.picture.float() - picture.float()).square().sum(dim=0) for one in shown]).sum(dim=0)
    side = min(side, *changes.shape)
    means = F.avg_pool2d(changes[None, None], side, stride=8)[0, 0]
    top, left = divmod(int(means.argmax()), means.shape[1])
    return 8 * top, 8 * left


def page(picture: Tensor, shown: Sequence[Shown], bpp: float) -> "Image":
    """Draws the original and what each codec leaves of it, ``ZOOM`` times as large, each with its figures.

    Args:
        picture: the photograph (3, H, W) uint8.
        shown: by `at_rate`.
        bpp: the rate aimed at.
    """
    from PIL import Image, ImageDraw, ImageFont

    top, left = place(picture, shown)
    cuts = [one[:, top : top + SIDE, left : left + SIDE] for one in (picture, *(one.picture for one in shown))]
    height, width = (ZOOM * size for size in cuts[0].shape[1:])
    captions = [
        ("original", f"{ZOOM * 100} %, from row {top} and column {left} on; the others at about {bpp:g} bpp"),
        *(_caption(one.rate) for one in shown),
    ]
    font = ImageFont.load_default(size=15)
    rows = math.ceil(len(cuts) / COLUMNS)
    columns = min(COLUMNS, len(cuts))
    step = height + 2 * LINE + GAP
    made = Image.new("RGB", (columns * (width + GAP) + GAP, rows * step + GAP), "white")
    draw = ImageDraw.Draw(made)
    for number, (cut, lines) in enumerate(zip(cuts, captions, strict=True)):
        row, column = divmod(number, COLUMNS)
        x, y = GAP + column * (width + GAP), GAP + row * step
        tile = Image.fromarray(np.ascontiguousarray(cut.permute(1, 2, 0).numpy()))
        made.paste(tile.resize((width, height), Image.Resampling.NEAREST), (x, y))
        for below, text in enumerate(lines):
            draw.text((x, y + height + 3 + below * LINE), text, fill="black", font=font)
    return made


def _caption(rate: Rate) -> tuple[str, str]:
    return f"{rate.codec}, quality {rate.quality}", f"{rate.bpp:.3f} bpp, PSNR {rate.psnr:.2f} dB"
