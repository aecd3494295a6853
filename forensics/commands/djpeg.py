"""``forensics djpeg``: how close the differentiable JPEG comes to libjpeg (paper, Fig. 6)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from cameras import atomic
from cameras.console import work
from cameras.errors import printable
from cameras.folders import expand
from cameras.output import JsonOption, line, out, print_json, table
from cameras.photographs import PhotographError, photograph_files, read
from channel.codecs.jpeg import SUBSAMPLINGS
from forensics.compression.djpeg import QUALITIES, ROUNDINGS, Agreement, agreements, as_libjpeg, means
from forensics.compression.djpeg_picture import validation
from forensics.compression.rates import write_csv

SIDE = 512  # pixels


def command(
    photos: Annotated[list[Path], typer.Argument(help="photographs, or folders of them")],
    picture: Annotated[Path, typer.Option("--out", help="the picture, a PNG file; the table goes beside it, as CSV")],
    side: Annotated[
        int, typer.Option(min=16, help="measure the middle of a photograph, at most so many pixels a side")
    ] = SIDE,
    as_json: JsonOption = False,
) -> None:
    """How close does dJPEG come to libjpeg? PSNR at all qualities, for every rounding, in 4:4:4 and 4:2:0."""
    picture = expand(picture)
    if picture.suffix.lower() != ".png":
        raise ValueError(f"{printable(picture)}: the picture is a PNG file, name it so")
    csv_file = picture.with_suffix(".csv")
    for file in (picture, csv_file):
        if file.exists():
            raise ValueError(f"{printable(file)} exists: choose another name")
    files = photograph_files(photos)
    found = _measured(files, side)
    averaged = means(found)
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_csv(csv_file, found, Agreement)
    atomic.write(picture, validation(averaged, len(files)))
    if as_json:
        print_json({"photographs": len(files), "means": [_document(one) for one in averaged]}, {})
        return
    _show(averaged, len(files))
    line(f"{picture.name}, {csv_file.name} in {printable(picture.parent)}")


def _measured(files: Sequence[Path], side: int) -> list[Agreement]:
    total = len(files) * len(SUBSAMPLINGS) * len(QUALITIES)
    with work(f"dJPEG and libjpeg on {len(files)} photographs", total) as advance:
        done = 0
        advance(done)

        def on_quality(name: str) -> None:
            nonlocal done
            done += 1
            advance(done, name)

        return agreements(_pictures(files, side), on_quality=on_quality)


def _pictures(files: Sequence[Path], side: int) -> Iterator[tuple[str, Tensor]]:
    """Names of photographs, and their middle (3, H, W) uint8. Raises ValueError where one cannot be read."""
    for file in files:
        try:
            photograph = read(file)[0]
        except PhotographError as error:
            raise ValueError(f"{printable(file)} {error}") from error
        H, W = photograph.shape[-2:]
        h, w = min(H, side), min(W, side)
        top, left = (H - h) // 2, (W - w) // 2
        yield file.name, photograph[:, top : top + h, left : left + w]


def _show(averaged: Sequence[Agreement], photographs: int) -> None:
    for subsampling in SUBSAMPLINGS:
        curves = {
            rounding: [one for one in averaged if (one.subsampling, one.rounding) == (subsampling, rounding)]
            for rounding in ROUNDINGS
        }
        rows = [
            (one.quality, f"{one.libjpeg:.1f}", *(f"{c[i].djpeg:.1f} ({c[i].between:.1f})" for c in curves.values()))
            for i, one in enumerate(curves[ROUNDINGS[0]])
        ]
        title = f"{subsampling}: PSNR in dB against {photographs} photographs (dJPEG against libjpeg)"
        out.print(table(title, ("quality", "libjpeg", *ROUNDINGS), rows))
        if (quality := as_libjpeg(curves["sin"], 50)) is not None:
            line(f"dJPEG with sin at quality 50 keeps as much as libjpeg at {quality:.0f}")


def _document(one: Agreement) -> dict[str, object]:
    entries = {name: value for name, value in asdict(one).items() if name != "photograph"}
    return {  # JSON has no infinity
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in entries.items()
    }
