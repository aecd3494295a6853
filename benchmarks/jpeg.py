"""JPEG, a batch of 20 photographs of 128 × 128 px at quality 50: dJPEG forward and backward, and its PSNR to libjpeg

PSNR is the mean over four photographs of 256 × 256 px at qualities 10, 50 and 95. libjpeg (through Pillow) has no
gradient: its time is that of encoding and decoding.
"""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor

from benchmarks.rows import Row, is_installed
from benchmarks.timing import Work, interleaved
from channel import DifferentiableJPEG, encode
from models.fidelity import psnr

QUALITIES = (10, 50, 95)
QUALITY = 50  # that is timed
CODECS = (
    ("sin", "4:4:4"),
    ("round", "4:4:4"),
    ("soft", "4:4:4"),
    ("harmonic", "4:4:4"),
    ("sin", "4:2:0"),
    ("round", "4:2:0"),
    ("soft", "4:2:0"),
    ("harmonic", "4:2:0"),
)

Codec = Callable[[int], Callable[[Tensor], Tensor]]  # of a quality


def rows(tiny: bool = False) -> Iterator[Row]:
    batch, size, repeats = (2, 32, 1) if tiny else (20, 128, 7)
    images = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    integers = (255 * images.detach()).byte()
    has_kornia = is_installed("kornia")
    for rounding, subsampling in CODECS[:: 4 if tiny else 1]:

        def ours(quality: int, r: str = rounding, s: str = subsampling) -> Callable[[Tensor], Tensor]:
            return DifferentiableJPEG(quality, r, s)

        works = {"ours": _both_ways(ours, images)}
        compared = has_kornia and subsampling == "4:2:0"  # the only one that it has
        if compared:
            works["kornia"] = _both_ways(_kornia, images)
        times = interleaved(works, repeats, warmup=2)
        yield Row(
            f"dJPEG {rounding} {subsampling}",
            times["ours"],
            "ms",
            "kornia" if subsampling == "4:2:0" else "",
            times["kornia"] if compared else None,
            times.ratio("kornia", "ours") if compared else None,
            _fidelity(ours, subsampling),
        )
    if has_kornia:
        yield Row("PSNR of kornia's 4:2:0", _fidelity(_kornia, "4:2:0")[f"dB at {QUALITY}"], "dB")
    one = interleaved({"libjpeg": lambda: encode(integers, f"jpeg:{QUALITY}")}, repeats)
    yield Row("libjpeg 4:4:4, encode and decode", one["libjpeg"], "ms")


def _both_ways(codec: Codec, images: Tensor) -> Work:
    operator = codec(QUALITY)
    return lambda: torch.autograd.grad(operator(images).sum(), images)


def _kornia(quality: int) -> Callable[[Tensor], Tensor]:
    from kornia.enhance import jpeg_codec_differentiable

    return lambda x: jpeg_codec_differentiable(x, x.new_full((len(x),), quality))


def _fidelity(codec: Codec, subsampling: str) -> dict[str, float]:
    """PSNR against libjpeg by quality."""
    photos, scores = _photographs(), {}
    for quality in QUALITIES:
        reference = encode(photos, f"jpeg:{quality}:{subsampling}") / 255
        with torch.no_grad():
            scores[f"dB at {quality}"] = psnr(codec(quality)(photos / 255), reference).mean().item()
    return scores


@cache
def _photographs(size: int = 256) -> Tensor:
    """Crops (4, 3, size, size) uint8 of photographs that scikit-image ships."""
    from skimage import data

    sources = (data.astronaut()[:, 100:], data.astronaut()[220:], data.chelsea(), data.coffee()[100:])
    crops = [np.ascontiguousarray(source[:size, :size]) for source in sources]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
