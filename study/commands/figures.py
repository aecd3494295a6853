"""Commands for a paper: the table of the pre-trained ISPs, and every figure of the report as a file."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cameras.folders import expand
from study.commands.app import JsonOption, StorageOption, StudyArgument, app, load, out, print_line, table
from study.settings import StudyError, user_errors


@app.command()
def pretrained(
    source: StudyArgument,
    storage: StorageOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="comma-separated output, with run ids")] = False,
) -> None:
    """The pre-trained ISPs that the trials start from, as the paper's Table 1: fidelity, iterations, parameters, time.

    Validation photographs ended the pre-training and chose its best weights; test photographs had no part in it.
    """
    from study.commands.report import Gathered
    from study.report.sections.pretraining import summary

    if as_json and as_csv:
        raise StudyError("--json and --csv exclude each other")
    study = load(source, storage)
    with user_errors():
        found = Gathered.of(study, source).content.pretrained
    if found.empty:
        raise StudyError(f"no pre-training of study {study.name} has finished yet: python -m study run {source}")
    if as_csv or as_json:
        print(found.to_csv(index=False) if as_csv else found.to_json(orient="records", indent=1))
        return
    printed = summary(found)
    out.print(table(f"{study.name}, pre-trained ISPs", printed.columns, printed.to_numpy().tolist()))


@app.command()
def figures(
    source: StudyArgument,
    storage: StorageOption = None,
    folder: Annotated[Path, typer.Option("--out", help="where the files go")] = Path("figures"),
    kind: Annotated[Literal["pdf", "svg", "png"], typer.Option("--format", help="of the files")] = "pdf",
) -> None:
    """Every figure of the report as a file for a paper, one column wide: fronts, confusion matrices, progress, spectra.

    Files are named after section and setting; one of the same name is replaced.
    """
    from cameras.console import work
    from study.commands.report import Gathered, say_missing
    from study.report import sections
    from study.report.figures import write_figures
    from study.report.page import build

    study = load(source, storage)
    folder = expand(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with user_errors():
        gathered = Gathered.of(study, source)
        total = 0
        with work("figures", len(sections.SECTIONS)) as advance:
            advance(0)
            for number, section in enumerate(build(sections, gathered.content), 1):
                total += len(write_figures(section, folder, kind))
                advance(number, section.title)
    say_missing(gathered.snapshot, "figures")
    if not total:
        raise StudyError(f"study {study.name} has no result yet that a figure could show: python -m study run {source}")
    print_line(f"figures: {total} in {folder}")
