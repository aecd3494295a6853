"""Rate and distortion: what codecs cost and what they keep of the same photographs.

photograph ─ compress ─ bytes ─ decompress ─ photograph
                          │                      │
                   bits per pixel       PSNR, SSIM, MS-SSIM
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, geometric_mean

import torch
from torch import Tensor

from cameras import atomic, photographs
from cameras.errors import one_line
from channel import shrink
from channel.quantization import to_levels
from forensics.compression.coders import Coder, Setting
from models.fidelity import SCALES, WINDOW, ms_ssim, psnr, ssim

METRICS = {"psnr": "PSNR", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}  # attributes of `Rate`, and what people call them
LEAST_SIDE = WINDOW * 2 ** (len(SCALES) - 1)  # of a photograph, in pixels: else MS-SSIM has fewer scales


@dataclass(frozen=True)
class Rate:
    """What one codec at one quality costs and keeps of one photograph.

    Attributes:
        photograph, codec, quality: their names; a quality is that of the encoder, or the name of a weights file.
        height, width: pixels of the photograph.
        bytes: of the whole file, with its header.
        bpp: bits per pixel, 8 · bytes / pixels.
        psnr: of all colours, in dB; infinite where nothing is lost.
        ssim, ms_ssim: as `models.fidelity`, at most 1.
    """

    photograph: str
    codec: str
    quality: str
    height: int
    width: int
    bytes: int
    bpp: float
    psnr: float
    ssim: float
    ms_ssim: float


@dataclass(frozen=True)
class Point:
    """A point of a mean curve: a codec's quality, and the means of what is in `Rate`; see `means`."""

    quality: str
    bpp: float
    psnr: float
    ssim: float
    ms_ssim: float


def read(path: Path, downsample: int = 1) -> Tensor:
    """Reads a photograph (3, H, W) uint8 as it is stored, and reduces it by means of f×f pixels.

    Raises:
        ValueError: it cannot be read, or is too small for all scales of MS-SSIM.
    """
    picture = photographs.read(path)
    if downsample > 1:
        picture = to_levels(shrink(picture / 255, downsample)).byte()
    height, width = picture.shape[-2:]
    if min(height, width) < LEAST_SIDE:
        raise ValueError(f"has {height}×{width} pixels: MS-SSIM needs {LEAST_SIDE}×{LEAST_SIDE}")
    return picture[0]


def rates(
    pictures: Iterable[tuple[str, Tensor]], coders: Sequence[Coder], on_rate: Callable[[Rate], None] = lambda rate: None
) -> list[Rate]:
    """Measures every codec at every quality of its sweep on every photograph.

    Args:
        pictures: names of photographs, and their pixels (3, H, W) uint8; one is held at a time.
        coders: as `forensics.compression.coders.coders` builds them.
        on_rate: is told each result.

    Raises:
        ValueError: a picture that MS-SSIM or a codec does not take.
    """
    found = []
    for name, picture in pictures:
        for coder in coders:
            for setting in coder.sweep:
                found.append(measure(name, picture, coder, setting)[0])
                on_rate(found[-1])
    return found


@torch.no_grad()
def measure(name: str, picture: Tensor, coder: Coder, setting: Setting) -> tuple[Rate, Tensor]:
    """Returns what a codec costs and keeps of a picture (3, H, W) uint8, and the picture after it.

    Raises:
        ValueError: as `rates`.
    """
    try:
        data = setting.compress(picture)
        decoded = setting.decompress(data)
    except (ValueError, OSError) as error:  # Pillow raises both
        raise ValueError(f"{coder.name}, quality {setting.quality}: {one_line(error)}") from error
    a, b = picture[None] / 255, decoded[None] / 255
    height, width = picture.shape[-2:]
    rate = Rate(
        name,
        coder.name,
        setting.quality,
        height,
        width,
        len(data),
        8 * len(data) / (height * width),
        psnr(b, a).item(),
        ssim(b, a).item(),
        ms_ssim(b, a).item(),
    )
    return rate, decoded


def means(rates: Sequence[Rate]) -> dict[str, list[Point]]:
    """Returns the curve of every codec: at every quality the means over photographs, by rising bits per pixel.

    The mean of bits per pixel is the geometric one, and those of SSIM and MS-SSIM are taken in decibels. Over these,
    curves are nearly straight, so that codecs can be compared which spread their bits differently over photographs:
    JPEG 2000 aims at the same PSNR of all, the others do not.
    """
    groups: dict[tuple[str, str], list[Rate]] = {}
    for rate in rates:
        groups.setdefault((rate.codec, rate.quality), []).append(rate)
    curves: dict[str, list[Point]] = {}
    for (codec, quality), group in groups.items():
        psnr, *similarities = (fmean(decibels(name, getattr(rate, name)) for rate in group) for name in METRICS)
        ssim, ms_ssim = (1 - 10 ** (-mean / 10) for mean in similarities)
        point = Point(quality, geometric_mean(rate.bpp for rate in group), psnr, ssim, ms_ssim)
        curves.setdefault(codec, []).append(point)
    return {codec: sorted(points, key=lambda point: point.bpp) for codec, points in curves.items()}


def decibels(metric: str, value: float) -> float:
    """PSNR as it is, and −10·log₁₀(1 − s) of both kinds of SSIM; infinite where nothing is lost."""
    if metric == "psnr":
        return value
    return -10 * math.log10(1 - value) if value < 1 else math.inf


def write_csv(path: Path, rows: Sequence[object], kind: type) -> None:
    """Writes data classes of one kind as a table with a column a field, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)  # type: ignore[call-overload]
    atomic.write(path, text.getvalue().encode())
