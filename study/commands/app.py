"""The command line: what its commands share, and how they end."""

import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cameras.console import print_on_any_terminal
from cameras.errors import printable, redacted
from study.settings import Study, StudyError, expanded, load_study, presets

if TYPE_CHECKING:
    from study.tracking import Snapshot  # imports MLflow: every command would start a second later

app = typer.Typer(
    help="How much picture quality must a camera give up so that later manipulation can be detected?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console(width=None if sys.stdout.isatty() else 200)  # a file or a pipe has room for every column
err = Console(stderr=True)

StudyArgument = Annotated[str, typer.Argument(help=f"a preset ({', '.join(presets())}) or a YAML file")]
StorageOption = Annotated[
    str | None, typer.Option(help="folder or bucket of pairs, NIPs and checkpoints; overrides the study's own")
]
AddressOption = Annotated[str, typer.Option(help="'local', 'auto' for this machine's cluster, or host:port")]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="try again what failed by itself, such as a NaN")]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def main() -> None:
    """Run a command; what only the user can put right ends in one line and exit code 2."""
    print_on_any_terminal()
    os.environ["MPLBACKEND"] = "Agg"  # a notebook names one that is not here
    try:
        app()
    except StudyError as error:
        _refuse(str(error))
    except OSError as error:  # a full or read-only disk, a folder that is a file
        _refuse(f"{error.filename or 'storage'}: {error.strerror or error}")


def _refuse(reason: str) -> NoReturn:
    err.print(f"[bold red]error:[/] {escape(redacted(printable(reason)))}", soft_wrap=True, highlight=False)
    sys.exit(2)


def load(source: str, storage: str | None) -> Study:
    """The study that a command names, with the storage of its option."""
    study = load_study(source)
    return study if storage is None else study.model_copy(update={"storage": expanded(storage)})


def calls(study: Study, source: str) -> dict[str, str]:
    """How best and rerun are called for a study, with its storage and its tracker where these are not the default."""
    default = Study.model_fields["storage"].default
    storage = "" if study.storage == default else f" --storage {shlex.quote(redacted(study.storage))}"
    tracker = f" --tracking-uri {shlex.quote(redacted(study.tracking_uri))}" if study.tracking_uri else ""
    best = f"python -m study best {shlex.quote(source)}{storage}"  # the study file names the tracker
    return {"best": best, "rerun": f"python -m study rerun{storage}{tracker}"}


def read(study: Study) -> "Snapshot | None":
    """What the tracker knows of a study, read once for a command; None where nothing was tracked yet."""
    from study import tracking
    from study.execution.driver import older_keys

    snapshot = tracking.read(tracking.tracking_uri(study), study.name)
    if remark := older_keys(snapshot):
        err.print(remark, soft_wrap=True, markup=False)
    return snapshot


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    """A table to print."""
    drawn = Table(title=escape(title), title_justify="left")
    for column in columns:
        drawn.add_column(escape(column), overflow="fold")  # a number is never cut
    for row in rows:
        drawn.add_row(*(escape(str(cell)) for cell in row))
    return drawn


def print_line(text: str) -> None:
    """Print a line as it is: paths are neither wrapped nor read as markup."""
    out.print(text, soft_wrap=True, markup=False)


def conclude(failures: Mapping[str, str]) -> None:
    """Name what failed, with exit code 1: the rest of the study is there nevertheless."""
    if failures:
        err.print(table("Failed", ("what", "reason"), failures.items()))
        err.print(f"{len(failures)} failed; --retry-failed tries them again")
        sys.exit(1)
