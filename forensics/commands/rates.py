"""``forensics rates``: what codecs cost and what they keep of the same photographs."""

import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cameras import atomic
from cameras.console import work
from cameras.errors import one_line, printable
from cameras.folders import expand
from cameras.output import JsonOption, Refused, line, out, print_json, refuse_all, show_refused, table
from cameras.photographs import photograph_files
from forensics.compression.bd_rates import BDRate, bd_rates
from forensics.compression.coders import Coder, coders, default_names
from forensics.compression.equal_rate import at_rate, page
from forensics.compression.rates import METRICS, Point, Rate, means, rates, read, write_csv
from forensics.compression.rates_picture import curves
from forensics.development import picture_names

JPEG = "jpeg"


def command(
    photos: Annotated[list[Path], typer.Argument(help="photographs, or folders of them")],
    folder: Annotated[Path, typer.Option("--out", help="where tables and pictures go")],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--codec",
            help="jpeg, webp, avif, jpeg2000, one with a chroma subsampling such as jpeg:4:2:0, or a file with the "
            "weights of a codec that learned; repeat it [default: all encoders]",
        ),
    ] = None,
    qualities: Annotated[
        list[str] | None, typer.Option(help="10,30,50 for all encoders, or jpeg=10,30,50 for one; repeat it")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="the codec that BD-rates compare with [default: jpeg, else the first one]")
    ] = None,
    bpp: Annotated[
        float | None, typer.Option("--at", help="bits per pixel at which codecs are shown side by side")
    ] = None,
    downsample: Annotated[int, typer.Option(min=1, help="reduce photographs by means of so many pixels")] = 1,
    as_json: JsonOption = False,
) -> None:
    """What do codecs cost and keep? Rate–distortion curves and BD-rates on the same photographs."""
    if bpp is not None and not 0 < bpp < math.inf:
        raise ValueError(f"--at must be a positive number of bits per pixel, not {bpp:g}")
    files = photograph_files(photos)
    compared = coders(names or default_names(), qualities or ())
    anchor = against or next((coder.name for coder in compared if coder.name == JPEG), compared[0].name)
    if anchor not in (known := [coder.name for coder in compared]):
        raise ValueError(f"--against {anchor} is not among the codecs: choose one of {', '.join(known)}")
    folder = expand(folder)
    pages = {file: folder / "equal-rate" / name for file, name in picture_names(files, ".png").items()}
    csv_file, bd_file, picture_file = (folder / name for name in ("rates.csv", "bd-rates.csv", "rates.png"))
    _check_new((csv_file, bd_file, picture_file, *(pages.values() if bpp is not None else ())))

    refused: Refused = {}
    measured = _measured(pages, compared, bpp, downsample, refused)
    if not measured:
        refuse_all(refused, "photographs can be measured")
    compared_rates = bd_rates(measured, anchor)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(csv_file, measured, Rate)
    write_csv(bd_file, compared_rates, BDRate)
    atomic.write(picture_file, curves(measured))

    photographs = len({rate.photograph for rate in measured})
    if as_json:
        print_json(
            {
                "photographs": photographs,
                "curves": {codec: [_document(one) for one in points] for codec, points in means(measured).items()},
                "against": anchor,
                "bd_rates": [asdict(one) for one in compared_rates],
                "folder": printable(folder),
            },
            refused,
        )
        return
    _show(means(measured), compared_rates, anchor, photographs)
    show_refused(refused)
    line(f"{csv_file.name}, {bd_file.name}, {picture_file.name} in {printable(folder)}")


def _check_new(files: Sequence[Path]) -> None:
    for file in files:
        if file.exists():
            raise ValueError(f"{printable(file)} exists: choose another folder")


def _measured(
    pages: dict[Path, Path], compared: Sequence[Coder], bpp: float | None, downsample: int, refused: Refused
) -> list[Rate]:
    """Measure photographs one after the other, and show the progress; those that cannot be are added to `refused`.

    With a ``bpp``, the page of each is written that shows codecs side by side.
    """
    measured: list[Rate] = []
    settings = sum(len(coder.sweep) for coder in compared)
    with work(f"{settings} settings of codecs on {len(pages)} photographs", settings * len(pages)) as advance:
        advance(0)
        for number, (file, target) in enumerate(pages.items()):
            done: list[Rate] = []

            def on_rate(rate: Rate, done: list[Rate] = done, number: int = number) -> None:
                done.append(rate)
                advance(number * settings + len(done), f"{rate.photograph}: {rate.codec} {rate.quality}")

            try:
                picture = read(file, downsample)
                rates([(target.stem, picture)], compared, on_rate)
                if bpp is not None:
                    shown = at_rate(target.stem, picture, compared, bpp)
                    content = io.BytesIO()
                    page(picture, shown, bpp).save(content, "png")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    atomic.write(target, content.getvalue())
            except ValueError as error:
                refused[file] = one_line(error)
                continue
            measured += done
    return measured


def _show(curves: dict[str, list[Point]], compared: Sequence[BDRate], anchor: str, photographs: int) -> None:
    rows = [
        (codec, one.quality, f"{one.bpp:.3f}", f"{one.psnr:.2f}", f"{one.ssim:.4f}", f"{one.ms_ssim:.4f}")
        for codec, points in curves.items()
        for one in points
    ]
    title = f"Means over {photographs} photographs, of bpp the geometric one, of SSIM in decibels"
    out.print(table(title, ("codec", "quality", "bpp", "PSNR in dB", "SSIM", "MS-SSIM"), rows))
    if not compared:
        return
    cells: dict[str, list[str]] = {}
    for one in compared:
        cells.setdefault(one.codec, []).append(_percent(one))
    title = f"BD-rate against {anchor}, mean and 95 % interval over photographs"
    out.print(table(title, ("codec", *METRICS.values()), [(codec, *row) for codec, row in cells.items()]))


def _document(point: Point) -> dict[str, Any]:
    return asdict(point) | {"psnr": point.psnr if math.isfinite(point.psnr) else None}  # JSON has no infinity


def _percent(one: BDRate) -> str:
    if one.percent is None:
        return str(one.why_not)
    lines = [f"{one.percent:+.1f} %"]
    if one.low is not None and one.high is not None:
        lines.append(f"{one.low:+.1f} to {one.high:+.1f}")
    if one.photographs < one.of:
        lines.append(f"{one.photographs} of {one.of} photographs")
    return "\n".join(lines)
