"""Progress of long work and its time to go: a bar in a terminal, a line every 15 seconds in a log."""

import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cameras.errors import printable, redacted

LOG_SECONDS = 15.0


def say(text: str) -> None:
    """Print a line for people to stderr; the result of a command goes to stdout."""
    Console(stderr=True).print(redacted(printable(text)), highlight=False, markup=False, soft_wrap=True)


def print_on_any_terminal() -> None:
    """Let this process print every text, as ``\\u03bb`` where the terminal's encoding lacks a letter."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def duration(seconds: float) -> str:
    """1:02:03"""
    return str(timedelta(seconds=round(seconds)))


class Advance:
    """Progress of one piece of work: call ``advance(done, note)`` repeatedly, with ``done`` of ``total``.

    The time to go is computed from the speed since the first call: work that an earlier run had finished does not
    count.
    """

    def __init__(self, console: Console, progress: Progress | None, title: str, total: int) -> None:
        self.console = console
        self.progress = progress
        self.title = title
        self.total = total
        self.first: tuple[float, float] | None = None  # time and progress of the first call
        self.logged = time.monotonic()
        self.task = progress.add_task(title, total=total, note="", left="") if progress else None

    def __call__(self, done: float, note: str = "") -> None:
        now, note = time.monotonic(), printable(note)
        self.first = self.first or (now, done)
        speed = (done - self.first[1]) / max(now - self.first[0], 1e-9)
        left = f"{duration((self.total - done) / speed)} to go" if speed > 0 else ""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=done, note=escape(note), left=left)
        elif now - self.logged >= LOG_SECONDS:
            self.logged = now
            parts = (f"{self.title}: {100 * done / self.total:.0f} %", note, left)
            self.console.print(", ".join(part for part in parts if part), highlight=False, markup=False)


@contextmanager
def work(title: str, total: int) -> Iterator[Advance]:
    """Show progress under ``title`` while the block runs, and the time that it took when it ends."""
    console = Console(stderr=True)
    started = time.monotonic()
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        details = (TextColumn("{task.fields[note]}"), TextColumn("{task.fields[left]}"), TimeElapsedColumn())
        with Progress(*columns, *details, console=console, transient=True) as progress:
            yield Advance(console, progress, title, total)
    else:
        yield Advance(console, None, title, total)
    console.print(f"{title}: done in {duration(time.monotonic() - started)}", highlight=False, markup=False)
