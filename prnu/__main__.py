"""``python -m prnu …``: which camera took a photograph, and where was it altered? For folders of photographs."""

import shlex
import sys
from collections.abc import Iterable

import typer

from cameras.output import run, stop
from prnu.commands.fingerprint import fingerprint
from prnu.commands.localise import localise
from prnu.commands.match import match

MANY = ("--photos", "--authentic")  # options that take any number of values

app = typer.Typer(
    help="Which camera took a photograph, and where was it altered? By the fingerprint of the camera's sensor.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(fingerprint)
app.command()(match)
app.command()(localise)


def main() -> None:
    """Run a command, as `cameras.output.run`."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["experiment"]:
        stop(f"this command has moved: {shlex.join(['python', '-m', 'study', 'fingerprints', *arguments[1:]])}")
    run(app, spread(arguments))


def spread(arguments: Iterable[str]) -> list[str]:
    """Turn ``--photos a b``, as from ``--photos *.jpg``, into ``--photos a --photos b``, which the parser knows."""
    result: list[str] = []
    option = None
    for argument in arguments:
        if argument.startswith("-"):
            option = argument if argument in MANY else None
            if option is None:
                result.append(argument)
        else:
            result += [argument] if option is None else [option, argument]
    return result


if __name__ == "__main__":
    main()
