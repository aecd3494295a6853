"""``forensics compare``: two pipelines on the same RAW files."""

import csv
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from cameras.console import work
from cameras.errors import printable
from cameras.importing import raw_files
from cameras.output import JsonOption, Refused, err, line, out, print_json, refuse_all, show_refused, table
from forensics.comparison import DISTANCES, Compared, compare_files
from forensics.development import Pipeline
from forensics.interval import mean_interval

DIGITS = {"psnr": 2, "ssim": 4, "ms_ssim": 4, "flip": 4}
HEADINGS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "flip": "FLIP"}
assert DIGITS.keys() == HEADINGS.keys() == set(DISTANCES)


def compare(
    one: Annotated[
        str,
        typer.Argument(
            metavar="A", help="a package (folder or zip file), a NIP's safetensors file, standard or libraw"
        ),
    ],
    other: Annotated[str, typer.Argument(metavar="B", help="another one")],
    paths: Annotated[list[Path], typer.Argument(metavar="PHOTOGRAPH...", help="RAW files, or folders of them")],
    folder: Annotated[Path, typer.Option("--out", help="where the pages go, one for each file")] = Path("compared"),
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="comma-separated output")] = False,
) -> None:
    """How far do two pipelines lie apart? PSNR, SSIM, MS-SSIM and FLIP of whole RAW files, and a page that shows both.

    FLIP: how different they look, from 0 (equal) to 1. A page never replaces one of another file or other pipelines.
    """
    if as_json and as_csv:
        raise ValueError("--json and --csv exclude each other")
    files = raw_files(paths)
    pipelines = Pipeline.open(one), Pipeline.open(other)
    done: list[Compared] = []
    refused: Refused = {}
    with work(f"comparison on {len(files)} photographs", len(files)) as advance:
        advance(0)
        for number, found in enumerate(compare_files(files, *pipelines, folder), 1):
            if found.refused:
                refused[found.file] = found.refused
            else:
                done.append(found)
            advance(number, found.file.name)
    if not done:
        refuse_all(refused, "files can be compared")

    means = {name: mean_interval([found.distances[name] for found in done]) for name in DISTANCES}
    if as_json:
        content = {"a": one, "b": other, "compared": [_row(found) for found in done]}
        print_json(content | {"mean": {name: _in_json(mean) for name, mean in means.items()}}, refused)
    elif as_csv:
        show_refused(refused, err)
        writer = csv.DictWriter(sys.stdout, list(_row(done[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**_row(found), **found.distances} for found in done)
    else:
        rows = [
            (found.file.name, *(f"{found.distances[name]:.{DIGITS[name]}f}" for name in DISTANCES)) for found in done
        ]
        if len(done) > 1:
            rows.append((f"mean of {len(done)} [95 %]", *(_in_words(means[name], DIGITS[name]) for name in DISTANCES)))
        out.print(table(f"A: {one}, B: {other}", ("file", *HEADINGS.values()), rows))
        show_refused(refused)
        for found in done:
            line(f"{found.file.name}: {found.page}")


def _row(found: Compared) -> dict[str, object]:
    return {
        "file": printable(found.file),
        "page": printable(found.page or ""),
        "height": found.height,
        "width": found.width,
        "identical": math.isinf(found.distances["psnr"]),
        **{name: _finite(found.distances[name]) for name in DISTANCES},
    }


def _in_json(mean: tuple[float, float, float]) -> dict[str, float | None]:
    return dict(zip(("mean", "low", "high"), map(_finite, mean), strict=True))


def _finite(value: float) -> float | None:
    """JSON has neither infinity nor NaN."""
    return value if math.isfinite(value) else None


def _in_words(mean: tuple[float, float, float], digits: int) -> str:
    value, low, high = (f"{each:.{digits}f}" for each in mean)
    return value if math.isnan(mean[1]) else f"{value} [{low}, {high}]"
