"""``forensics develop``: whole RAW files become pictures."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from cameras.console import work
from cameras.errors import printable
from cameras.importing import raw_files
from cameras.output import JsonOption, Refused, line, print_json, refuse_all, show_refused
from forensics.development import Developed, Pipeline, develop_files
from forensics.pictures import QUALITY, Kind


def develop(
    paths: Annotated[list[Path], typer.Argument(help="RAW files, or folders of them")],
    by: Annotated[
        str, typer.Option("--with", help="a package (folder or zip file), a NIP's safetensors file, standard or libraw")
    ] = "standard",
    folder: Annotated[Path, typer.Option("--out", help="where the pictures go")] = Path("developed"),
    kind: Annotated[Kind, typer.Option("--format", help="png and jpeg have 8 bits, tiff 16")] = "png",
    quality: Annotated[int | None, typer.Option(min=1, max=100, help=f"of JPEG, in 4:4:4 [default: {QUALITY}]")] = None,
    orientation: Annotated[
        Literal["upright", "sensor"],
        typer.Option(help="upright in every viewer; or as the sensor took it, with an EXIF orientation"),
    ] = "upright",
    as_json: JsonOption = False,
) -> None:
    """Develop whole RAW files, by a package's NIP or by a standard pipeline, with the EXIF of the shot.

    A picture never replaces one of another file or by another pipeline.
    """
    if quality is not None and kind != "jpeg":
        raise ValueError(f"--quality is of --format jpeg; {kind} loses nothing")
    files = raw_files(paths)
    pipeline = Pipeline.open(by)
    done: list[Developed] = []
    refused: Refused = {}
    with work(f"development of {len(files)} photographs", len(files)) as advance:
        advance(0)
        for number, one in enumerate(
            develop_files(files, pipeline, folder, kind, quality or QUALITY, orientation == "upright"), 1
        ):
            if one.refused:
                refused[one.file] = one.refused
            else:
                done.append(one)
            advance(number, one.file.name)
    if not done:
        refuse_all(refused, "files can be developed")

    if as_json:
        print_json({"with": pipeline.name, "developed": [_row(one) for one in done]}, refused)
        return
    for one in done:
        distance = "" if one.psnr is None else f", {one.psnr:.1f} dB from the standard pipeline"
        line(f"{one.file.name}: {one.picture}{distance}")
    show_refused(refused)


def _row(one: Developed) -> dict[str, object]:
    return {
        "file": printable(one.file),
        "picture": printable(one.picture or ""),
        "height": one.height,
        "width": one.width,
        "psnr": one.psnr if one.psnr is None or math.isfinite(one.psnr) else None,  # JSON has no infinity
    }
