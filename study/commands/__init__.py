"""``study …`` or ``python -m study …``: one file a group of commands, and one for the body of each longer command."""

from study.commands import data, fetch, study, results, figures, packages  # noqa: I001  in the order in which --help lists their commands
