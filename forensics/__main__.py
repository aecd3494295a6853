"""``python -m forensics …``: what a study found, used on photographs."""

import sys

import typer

from cameras.output import run
from forensics.commands import analyse, djpeg, rates, serve, tables
from forensics.commands.compare import compare
from forensics.commands.develop import develop

app = typer.Typer(
    help="Develop photographs by a camera's package, and find out what was done to them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(develop)
app.command()(compare)
app.command("analyse")(analyse.command)
app.command("djpeg")(djpeg.command)
app.command("rates")(rates.command)
app.command("serve")(serve.command)
app.command("tables")(tables.command)


def main() -> None:
    """Run a command, as `cameras.output.run`."""
    run(app, sys.argv[1:])


if __name__ == "__main__":
    main()
