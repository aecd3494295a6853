"""``forensics analyse``: what happened to photographs, and where?"""

import csv
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from cameras import atomic
from cameras.console import work
from cameras.errors import printable
from cameras.folders import expand
from cameras.output import JsonOption, Refused, err, line, out, print_json, refuse_all, show_refused, table
from cameras.photographs import PhotographError, header, photograph_files, read
from forensics.analysis.analyse import FALSE_ALARMS, Analysis, analyse, calibrated
from forensics.analysis.picture import check_map_files, painted, with_legend, write_map
from forensics.analysis.words import percent
from forensics.development import picture_names
from forensics.package import Package, load_package

MOST_ON_A_PAGE = 500  # photographs: a browser has to open it

PackageOption = Annotated[Path, typer.Option("--with", help="the package of a camera: a folder or zip file")]


@dataclass(frozen=True)
class Answer:
    """A photograph and what is known of it; ``picture`` and ``numbers`` are the files of its map, if there are."""

    file: Path
    analysis: Analysis
    picture: Path | None = None
    numbers: Path | None = None


def command(
    photos: Annotated[list[Path], typer.Argument(help="photographs, or folders of them")],
    by: PackageOption,
    false_alarms: Annotated[
        float, typer.Option(help="share of native photographs that may be called altered by mistake")
    ] = FALSE_ALARMS,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="comma-separated output")] = False,
    html: Annotated[
        Path | None, typer.Option(help="a page to write, with pictures, maps and what the figures mean")
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option("--map", help="a folder for the map of each photograph, as PNG (upright) and .npy (as stored)"),
    ] = None,
) -> None:
    """What happened to photographs, and where? With figures, or "cannot tell" and why not."""
    if as_json and as_csv:
        raise ValueError("--json and --csv exclude each other")
    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{printable(html)}: the page is an HTML file, name it so")
    files = photograph_files(photos)
    if html is not None and len(files) > MOST_ON_A_PAGE:
        raise ValueError(f"{len(files)} photographs are too many for a page: give {MOST_ON_A_PAGE} or fewer")
    stems = _stems(files, maps)
    package = load_package(expand(by))
    calibrated(package)
    package.fan.to("cuda" if torch.cuda.is_available() else "cpu")

    answers: list[Answer] = []
    shown: list[Any] = []
    refused: Refused = {}
    for path, analysis in _analysed(files, package, false_alarms, refused):
        answers.append(_with_map(path, analysis, stems, package))
        if html is not None:
            from forensics.service.page import show

            shown.append(show(path.name, path, analysis))
    if not answers:
        refuse_all(refused, "photographs can be analysed")
    if html is not None:
        from forensics.service.page import page

        html = expand(html)
        html.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(html, page(package, shown, refused).encode())

    if as_json:
        print_json(
            {"with": printable(by), "false_alarms": false_alarms, "photographs": [_document(one) for one in answers]},
            refused,
        )
    elif as_csv:
        show_refused(refused, err)
        rows = [_row(one, package.classes) for one in answers]
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        columns = ("file", "result", "history", "log10 LR", "threshold", "probability")
        title = f"Analysis, at most {100 * false_alarms:g} % false alarms"
        out.print(table(title, columns, [_cells(one) for one in answers]))
        for one in answers:
            line(f"{one.file.name}: {one.analysis.reason}")
        show_refused(refused)
        if maps is not None:
            line(f"{sum(one.picture is not None for one in answers)} maps in {printable(maps)}")
        if html is not None:
            line(f"page: {printable(html)}")


def _stems(files: list[Path], maps: Path | None) -> dict[Path, Path]:
    """The files of maps without their suffixes, by photograph; empty where there are to be none.

    Raises:
        MapError: one exists, and is something else.
    """
    if maps is None:
        return {}
    folder = expand(maps)
    stems = {path: folder / name for path, name in picture_names(files, "").items()}
    for path, stem in stems.items():
        check_map_files(stem, path)
    return stems


def _analysed(
    files: list[Path], package: Package, false_alarms: float, refused: Refused
) -> Iterator[tuple[Path, Analysis]]:
    """Analyse photographs one after the other and show the progress; unreadable ones are added to `refused`."""
    with work(f"analysis of {len(files)} photographs", len(files)) as advance:
        advance(0)
        for done, path in enumerate(files, 1):
            try:
                found = analyse(package, path, false_alarms)
            except PhotographError as error:
                refused[path] = str(error)
            else:
                yield path, found
            advance(done, path.name)


def _with_map(path: Path, analysis: Analysis, stems: dict[Path, Path], package: Package) -> Answer:
    """Write the map of an analysis, if there is to be one."""
    if path not in stems or analysis.map is None:
        return Answer(path, analysis)
    stems[path].parent.mkdir(parents=True, exist_ok=True)
    image = painted(read(path), analysis, header(path).orientation)
    return Answer(path, analysis, *write_map(stems[path], with_legend(image, package.classes), analysis.map, path))


def _cells(answer: Answer) -> tuple[str, ...]:
    """A row of the table; the probability is that of the most probable history."""
    found = answer.analysis
    likeliest = max(found.probabilities, key=found.probabilities.__getitem__, default=None)
    return (
        answer.file.name,
        found.result,
        found.history or "",
        "" if found.log10_lr is None else f"{found.log10_lr:.2f}",
        "" if found.log10_threshold is None else f"{found.log10_threshold:.2f}",
        "" if likeliest is None else f"{likeliest} {percent(found.probabilities[likeliest])}",
    )


def _row(answer: Answer, classes: tuple[str, ...]) -> dict[str, Any]:
    """A row of CSV."""
    found = answer.analysis
    return {
        "file": printable(answer.file),
        "result": found.result,
        "history": found.history,
        "log10_lr": found.log10_lr,
        "log10_threshold": found.log10_threshold,
        **{f"probability_{name}": found.probabilities.get(name) for name in classes},
        "as_high": found.as_high,
        "as_strange": found.as_strange,
        "regions": len(found.regions),
        "height": found.height,
        "width": found.width,
        "kind": found.kind,
        "reason": found.reason,
        "picture": printable(answer.picture or ""),
        "numbers": printable(answer.numbers or ""),
    }


def _document(answer: Answer) -> dict[str, Any]:
    """A photograph in JSON; ``map`` says where the probabilities in ``numbers`` lie, in stored pixels."""
    found = answer.analysis
    entries = {name: value for name, value in vars(found).items() if name not in ("map", "regions", "false_alarms")}
    where: dict[str, Any] | None = None if found.map is None else {"first": found.map.first, "stride": found.map.stride}
    if where is not None and answer.picture is not None and answer.numbers is not None:
        where |= {"picture": printable(answer.picture), "numbers": printable(answer.numbers)}
    return {
        "file": printable(answer.file),
        **entries,
        "regions": [asdict(region) for region in found.regions],
        "map": where,
    }
