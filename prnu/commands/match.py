"""``prnu match``: which of these cameras took which photograph?"""

import csv
import math
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from cameras.errors import printable
from cameras.output import JsonOption, Refused, err, line, out, print_json, show_refused, table
from cameras.photographs import photograph_files
from prnu.commands.enrolled import Enrolled
from prnu.commands.reading import none_left, photographs
from prnu.match import PCE_THRESHOLD, pce
from prnu.residual import residual

NEAR_COPY = "a photograph that {} was estimated from: if it is a copy of it, it matches and proves nothing"


@dataclass(frozen=True)
class Comparison:
    """A photograph and a fingerprint; `dy`, `dx` is the position of the photograph's top left corner in it.

    near_copy: whether it looks like a photograph that the fingerprint was estimated from; None if that is not known.
    """

    photograph: str
    fingerprint: str
    camera: str
    pce: float
    dy: int
    dx: int
    correlation: float
    pvalue: float
    log10_pvalue: float
    match: bool
    near_copy: bool | None


def match(
    fingerprints: Annotated[list[Path], typer.Argument(help="safetensors files with fingerprints")],
    photos: Annotated[list[Path], typer.Option(help="photographs, or folders of them: any number")],
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="comma-separated output")] = False,
) -> None:
    """Which of these cameras took which photograph? PCE above 60 is a match.

    A photograph that is smaller than the fingerprint counts as a crop: it is compared at all positions. Photographs
    that the fingerprint was estimated from are refused, because they always match. A photograph that looks like one of
    them may be a copy of it, and its match then proves nothing: it is marked.
    """
    if as_json and as_csv:
        raise ValueError("--json and --csv exclude each other")
    cameras = [Enrolled.open(path) for path in fingerprints]
    refused: Refused = {}
    comparisons: list[Comparison] = []
    files = photograph_files(photos)
    for path, photograph in photographs(files, f"match of {len(files)} photographs", refused):
        found, reasons = _compare(path, photograph, cameras)
        comparisons += found
        if reasons:
            refused[path] = "; ".join(reasons)
    if not comparisons:
        none_left(refused)

    if as_json:
        remarks = [camera.remark for camera in cameras if camera.remark]
        compared = [asdict(one) for one in comparisons]
        print_json({"threshold": PCE_THRESHOLD, "comparisons": compared, "remarks": remarks}, refused)
    elif as_csv:
        show_refused(refused, err)
        writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Comparison)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(one) for one in comparisons)
    else:
        show_refused(refused)
        columns = ("photograph", "camera", "PCE", "peak", "correlation", "p-value", "")
        out.print(table("Match", columns, [_row(one) for one in comparisons]))
        for one in comparisons:
            if one.near_copy:
                line(f"{Path(one.photograph).name} looks like {NEAR_COPY.format(Path(one.fingerprint).name)}")
    if not as_json:
        for camera in cameras:
            if camera.remark:
                err.print(camera.remark, markup=False, highlight=False, soft_wrap=True)


def _compare(path: Path, photograph: Tensor, cameras: list[Enrolled]) -> tuple[list[Comparison], list[str]]:
    """Compare a photograph with every fingerprint that fits; also return the reasons why others do not fit."""
    comparisons, reasons = [], []
    residuals: dict[tuple[torch.Size, float], Tensor] = {}
    for camera in cameras:
        try:
            camera.check_unknown(path, photograph)
            part = camera.part(photograph)
            key = (part.shape, camera.sigma)
            if key not in residuals:
                residuals[key] = residual(part, camera.sigma)
            found = pce(camera.K, part, residuals[key], shifts="crop")
        except ValueError as error:
            reasons.append(str(error))
            continue
        dy, dx = found.peak[0].tolist()
        comparisons.append(
            Comparison(
                photograph=printable(path),
                fingerprint=printable(camera.path),
                camera=camera.camera,
                pce=found.pce.item(),
                dy=dy,
                dx=dx,
                correlation=found.correlation.item(),
                pvalue=found.pvalue.item(),
                log10_pvalue=found.log_pvalue.item() / math.log(10),
                match=found.pce.item() > PCE_THRESHOLD,
                near_copy=camera.near_copy(photograph),
            )
        )
    return comparisons, reasons


def _row(one: Comparison) -> tuple[str, ...]:
    return (
        Path(one.photograph).name,
        one.camera,
        f"{one.pce:.1f}",
        f"{one.dy}, {one.dx}",
        f"{one.correlation:.4f}",
        f"{one.pvalue:.1e}" if one.log10_pvalue > -300 else f"1e{one.log10_pvalue:.0f}",
        ("match" if one.match else "no match") + (", a copy?" if one.near_copy else ""),
    )
