"""What the command lines below study/ share: results go to stdout, progress and errors to stderr; how they end."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cameras.console import print_on_any_terminal
from cameras.errors import one_line, printable

out = Console(width=None if sys.stdout.isatty() else 200)  # a file or a pipe has room for every column
err = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output")]
Refused = dict[Path, str]  # file -> reason


def run(app: typer.Typer, arguments: Sequence[str]) -> None:
    """Run a command. An error that only the user can correct ends in one line and exit code 2."""
    print_on_any_terminal()
    try:
        app(args=list(arguments))
    except ValueError as error:
        stop(one_line(error, 2000))
    except OSError as error:  # a full or read-only disk, a folder that is a file
        stop(f"{error.filename or 'storage'}: {error.strerror or error}")


def stop(reason: str) -> NoReturn:
    """Print an error that the user can correct, in one line; exit with code 2."""
    err.print(f"[bold red]error:[/] {escape(printable(reason))}", soft_wrap=True, highlight=False)
    sys.exit(2)


def line(text: str) -> None:
    """Print one line of the result."""
    out.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    made = Table(title=escape(title), title_justify="left")
    for column in columns:
        made.add_column(escape(column), overflow="fold")  # long names continue on further lines
    for row in rows:
        made.add_row(*(escape(printable(str(cell))) for cell in row))
    return made


def refuse_all(refused: Refused, what: str) -> NoReturn:
    """Raise a ValueError that names the first of files that were all refused; ``what`` reads "files can be used"."""
    path, reason = next(iter(refused.items()))
    raise ValueError(f"none of {len(refused)} {what}; the first one, {path}: {reason}")


def show_refused(refused: Refused, console: Console = out) -> None:
    if refused:
        console.print(table("Refused", ("file", "reason"), [(path.name, why) for path, why in refused.items()]))


def print_json(content: dict[str, Any], refused: Refused) -> None:
    refusals = [{"file": printable(path), "reason": printable(reason)} for path, reason in refused.items()]
    print(json.dumps({**content, "refused": refusals}, indent=1))


def pixels(size: Iterable[int]) -> str:
    """Height × width, as everywhere in this project."""
    return "×".join(map(str, size))
