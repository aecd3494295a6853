"""``python -m forensics`` in the process of the tests."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from forensics.__main__ import main


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


def forensics_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *name: str) -> Command:
    """Returns what runs ``python -m forensics NAME …`` on arguments."""

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["forensics", *name, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return Done(int(end.value.code or 0), *capsys.readouterr())

    return run
