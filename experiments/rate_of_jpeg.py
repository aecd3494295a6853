"""How well does channel.codecs.jpeg_rate estimate the bytes of libjpeg? Its weights are fitted here, and reported on.

    python experiments/rate_of_jpeg.py FOLDER            a minute for 76 photographs of 1200 pixels, on one core

Every fourth photograph, from the first on, is fitted: least squares of the relative error, at all qualities, in 4:4:4
and 4:2:0. Every fourth from the second on is reported. Real bytes are those of libjpeg with optimized codes, without
the header. Beside it stands an estimate that was rejected: the entropy of quantized Laplacians, one per frequency.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cameras.console import work
from cameras.photographs import photograph_files, read
from channel.codecs import jpeg
from channel.codecs.jpeg_rate import WEIGHTS, bits, counted
from channel.codecs.learned_jpeg import SPEED, LearnedJPEG

QUALITIES = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 98)
PERTURBED = "whole, other tables"
FACTOR = 0.5  # by up to e^±FACTOR, the steps of those differ from libjpeg's
SIDE, CROPS = 256, 2  # of crops, and how many of a photograph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--step", type=int, default=4, help="fit and report every so many photographs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = photograph_files([options.photographs])
    with torch.no_grad():
        fitted = fit(files[:: options.step])
        print("stored:", *WEIGHTS, "fitted:", *fitted.round(3))
        report(files[1 :: options.step], fitted)


def fit(files: Sequence[Path]) -> np.ndarray:
    """The weights (4,) by least squares of the relative error: the estimate is linear in them."""
    rows = []
    with work("fit", len(files)) as advance:
        for done, path in enumerate(files, 1):
            for codec, quantized in codecs(picture := read(path)[0], QUALITIES):
                rounded = [one.round() for one in coefficients(codec, quantized)]
                counts = [sum(counted(one, unit).item() for one in rounded) for unit in np.eye(len(WEIGHTS)).tolist()]
                rows.append(np.array(counts) / scan_bits(codec, picture))
            advance(done)
    return np.linalg.lstsq(np.array(rows), np.ones(len(rows)), rcond=None)[0]


def report(files: Sequence[Path], fitted: np.ndarray) -> None:
    """Print estimates divided by real bits: means, relative errors (RMS and largest), by pictures and quality."""
    rows = []
    with work("report", len(files)) as advance:
        for done, path in enumerate(files, 1):
            rows += [row for name, part in parts(read(path)[0], done) for row in ratios(name, part, done, fitted)]
            advance(done)
    table = pd.DataFrame(rows).groupby(["pictures", "quality"], sort=False)
    rms, largest = (lambda ratio: (ratio - 1).pow(2).mean() ** 0.5), (lambda ratio: (ratio - 1).abs().max())
    shown = {
        f"{estimate} {name}": table[estimate].agg(by)
        for estimate in ("stored", "fitted", "Laplace")
        for name, by in (("ratio", "mean"), ("RMS", rms), ("largest", largest))
    }
    print(pd.DataFrame({"n": table.size(), **shown}).round(3).to_string())


def parts(picture: Tensor, seed: int) -> Iterator[tuple[str, Tensor]]:
    """A photograph (3, H, W) whole, again for tables that are perturbed, and parts of it at random places."""
    yield "whole", picture
    yield PERTURBED, picture
    draws = torch.Generator().manual_seed(seed)
    for _ in range(CROPS):
        y, x = (int(torch.randint(extent - SIDE + 1, (), generator=draws)) for extent in picture.shape[1:])
        yield f"{SIDE}²", picture[:, y : y + SIDE, x : x + SIDE]


def ratios(pictures: str, picture: Tensor, seed: int, fitted: np.ndarray) -> Iterator[dict[str, Any]]:
    """Estimates of one picture (3, H, W), divided by its real bits."""
    draws = torch.Generator().manual_seed(seed)
    for codec, quantized in codecs(picture, QUALITIES):
        if pictures == PERTURBED:
            codec.log_steps += FACTOR * (2 * torch.rand(2, 8, 8, generator=draws) - 1) / SPEED
        found, real = coefficients(codec, quantized), scan_bits(codec, picture)
        yield {
            "pictures": pictures,
            "quality": codec.quality,
            "stored": sum(bits(one).item() for one in found) / real,
            "fitted": sum(counted(one.round(), fitted.tolist()).item() for one in found) / real,
            "Laplace": sum(entropy_of_laplacians(one) for one in found) / real,
        }


def codecs(picture: Tensor, qualities: Sequence[int]) -> Iterator[tuple[LearnedJPEG, list[tuple[Tensor, int]]]]:
    """Codecs of all subsamplings and qualities, and the planes of a picture (3, H, W) that they quantize."""
    for subsampling in jpeg.SUBSAMPLINGS:
        quantized = planes(picture, subsampling)
        for quality in qualities:
            yield LearnedJPEG(quality, subsampling=subsampling), quantized


def planes(picture: Tensor, subsampling: str) -> list[tuple[Tensor, int]]:
    """What JPEG quantizes at once: planes (1, C, h, w), and the number of the first of them."""
    found = []

    def caught(entered: Tensor, first: int) -> Tensor:
        found.append((entered, first))
        return entered

    jpeg.DifferentiableJPEG(subsampling=subsampling).through(picture[None] / 255, caught)
    return found


def coefficients(codec: LearnedJPEG, quantized: Sequence[tuple[Tensor, int]]) -> list[Tensor]:
    """DCT coefficients (C, 1, h, w, 64) in units of the codec's steps, not rounded."""
    encode, _ = jpeg.matrices(codec.tables()[[0, 1, 1]], codec.DD)
    return [jpeg.dct(entered, encode[first : first + entered.shape[1]]) for entered, first in quantized]


def scan_bits(codec: LearnedJPEG, picture: Tensor) -> int:
    """Bits of the coefficients in a real file: without what precedes them, and without the end marker."""
    data = codec.compress(picture)
    return 8 * (len(data) - data.index(b"\xff\xda") - 14 - 2)  # 14 bytes are the header of a scan of three planes


def entropy_of_laplacians(coefficients: Tensor) -> float:
    """Bits by the entropy of rounded Laplacians whose scales b are mean magnitudes (Lam & Goodman 2000).

    One for every frequency of every plane; of the DC, for differences to the block before, as JPEG codes them.
    """
    blocks = coefficients.flatten(1, 3).double()  # (C, blocks, 64)
    magnitudes = torch.cat((blocks[..., :1].diff(dim=1).abs().mean(1), blocks[..., 1:].abs().mean(1)), dim=-1)
    b = magnitudes.clamp(min=1e-3)
    nonzero, further = torch.exp(-1 / (2 * b)), torch.exp(-1 / b)  # P(magnitude ≥ 1), P(≥ k + 1 | ≥ k)
    each = binary_entropy(nonzero) + nonzero * (1 + binary_entropy(further) / (1 - further))  # with one for the sign
    return blocks.shape[1] * each.sum().item()


def binary_entropy(p: Tensor) -> Tensor:
    return (torch.special.entr(p) + torch.special.entr(1 - p)) / np.log(2)


if __name__ == "__main__":
    main()
