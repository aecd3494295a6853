"""dJPEG against libjpeg: what each keeps of photographs, and how close the two come (paper, section 4.2 and Fig. 6)."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from channel import DifferentiableJPEG, encode
from channel.codecs.jpeg import SUBSAMPLINGS
from models.fidelity import psnr

QUALITIES = (*range(10, 100, 10), 95)
ROUNDINGS = ("round", "harmonic", "sin", "soft", "straight-through")  # the last two are round, with another gradient

MEASURED = ("djpeg", "libjpeg", "between")  # attributes of `Agreement`


@dataclass(frozen=True)
class Agreement:
    """What dJPEG and libjpeg do to a photograph; PSNR in dB, infinite where nothing differs.

    Attributes:
        photograph: its name.
        subsampling, quality: of both.
        rounding: of dJPEG.
        djpeg, libjpeg: PSNR against the photograph.
        between: PSNR of dJPEG, whose pixels are not rounded to 8 bits, against libjpeg.
    """

    photograph: str
    subsampling: str
    quality: int
    rounding: str
    djpeg: float
    libjpeg: float
    between: float


@torch.no_grad()
def agreements(
    pictures: Iterable[tuple[str, Tensor]],
    qualities: Sequence[int] = QUALITIES,
    on_quality: Callable[[str], None] = lambda name: None,
) -> list[Agreement]:
    """Measures photographs in every subsampling, at every quality, with every rounding of dJPEG, in that order.

    Args:
        pictures: names of photographs, and their pixels (3, H, W) uint8; one is held at a time.
        qualities: 1 to 100.
        on_quality: is told the photograph's name after each of its qualities.
    """
    found = []
    for name, picture in pictures:
        original = picture[None] / 255
        for subsampling in SUBSAMPLINGS:
            for quality in qualities:
                reference = encode(picture[None], f"jpeg:{quality}:{subsampling}") / 255
                kept = psnr(reference, original).item()
                for rounding in ROUNDINGS:
                    decoded = DifferentiableJPEG(quality, rounding, subsampling)(original)
                    own, between = psnr(decoded, original).item(), psnr(decoded, reference).item()
                    found.append(Agreement(name, subsampling, quality, rounding, own, kept, between))
                on_quality(name)
    return found


def means(found: Sequence[Agreement]) -> list[Agreement]:
    """Returns the means over photographs, which have no name then."""
    groups: dict[tuple[str, int, str], list[Agreement]] = {}
    for one in found:
        groups.setdefault((one.subsampling, one.quality, one.rounding), []).append(one)
    averaged = []
    for group in groups.values():
        djpeg, libjpeg, between = (fmean(getattr(one, name) for one in group) for name in MEASURED)
        averaged.append(replace(group[0], photograph="", djpeg=djpeg, libjpeg=libjpeg, between=between))
    return averaged


def as_libjpeg(curve: Sequence[Agreement], quality: int) -> float | None:
    """Returns the quality at which libjpeg keeps as much as dJPEG at this quality (paper, section 4.1: 80 for 50).

    Args:
        curve: means of one subsampling and one rounding.
        quality: one of the curve's.

    Returns:
        Interpolated; None beyond the qualities of the curve, and where it does not rise.
    """
    ordered = sorted(curve, key=lambda one: one.quality)
    of_libjpeg = [one.libjpeg for one in ordered]
    (kept,) = (one.djpeg for one in ordered if one.quality == quality)
    rises = all(a < b for a, b in pairwise(of_libjpeg)) and math.isfinite(of_libjpeg[-1])
    if not rises or not of_libjpeg[0] <= kept <= of_libjpeg[-1]:
        return None
    return float(np.interp(kept, of_libjpeg, [one.quality for one in ordered]))
