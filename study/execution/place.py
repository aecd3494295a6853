"""The machine or card that jobs run on: who shares it, and whether it fails whatever it is given.

The processes of a machine tell each other by files in a folder of its own, locked while they matter: the system
releases the locks of a process that dies. Every job in progress has a file. One that nobody locks is of a job that
failed; the first job that succeeds removes them.
"""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cameras.errors import one_line
from study.execution.private_folder import notes_folder

ROW = 3  # jobs that may fail in a row until a place has to wait
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds; each further failure doubles the pause
LOOK_SECONDS = 1.0  # while it waits: somebody may have succeeded
FORGOTTEN = 86400.0  # seconds after which what other drivers left is removed


@dataclass(frozen=True)
class Place:
    """Where a job runs.

    Attributes:
        machine: its address.
        card: which of its GPUs; "" for its CPUs.
        is_only_machine: whether no other machine takes jobs of the study.
        driver: of whose jobs failures count: what is killed with an earlier driver says nothing about the place.
    """

    machine: str
    card: str = ""
    is_only_machine: bool = True
    driver: str = "0"

    def __str__(self) -> str:
        return f"GPU {self.card} of {self.machine}" if self.card else self.machine

    @property
    def folder(self) -> Path:
        folder = notes_folder() / re.sub(r"\W+", "-", f"{self.machine} {self.card}".strip())
        folder.mkdir(exist_ok=True)
        return folder

    @contextmanager
    def shared(self, alone: bool = False) -> Iterator[None]:
        """Use the place beside other jobs, or ``alone``: then wait for them to end, and let no new one begin.

        All pass one door. Who wants to be alone keeps it shut meanwhile: else the others would never all be gone.
        """
        how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        with ExitStack() as inside:
            with _locked(self.folder / "door.lock", how):
                inside.enter_context(_locked(self.folder / "inside.lock", how))
            yield

    @contextmanager
    def begin(self, key: str, say: Callable[[str], None]) -> Iterator["Begun"]:
        """A job in progress. An exception ends it as a failure of the place, unless the block has excused that."""
        self._tidy_up()
        with _locked(self.folder / f"{self.driver}.{key}.job", fcntl.LOCK_EX) as file:
            begun, failed = Begun(self, Path(file.name)), False
            try:
                yield begun
            except Exception as error:
                failed = not begun.is_excused
                if failed:
                    text = one_line(f"{type(error).__name__}: {error}", 200)
                    begun.path.write_text(text, "utf-8")
                    if (row := len(self.row()) + 1) >= ROW:  # nobody counts its own, which is still locked
                        say(f"{row} jobs in a row failed on {self}, the last one: {text}")
                raise
            finally:
                if not failed:
                    begun.path.unlink(missing_ok=True)

    def row(self) -> list[str]:
        """What the jobs raised that failed here since the last success, oldest first; "" of those that were killed."""
        found = []
        for path in self.folder.glob(f"{self.driver}.*.job"):
            with suppress(FileNotFoundError):
                if _is_free(path):
                    found.append((path.stat().st_mtime, path.read_text("utf-8")))
        return [text for _, text in sorted(found)]

    def wait(self, say: Callable[[str], None]) -> None:
        """Keep the job waiting where the last ones failed in a row, so that other places take most of the work."""
        row = self.row()
        if len(row) < ROW:
            return
        pause = min(FIRST_PAUSE * 2 ** (len(row) - ROW), LONGEST_PAUSE)
        last = row[-1] or "its process was lost"
        say(f"{self} waits {pause:.0f} s with its next job: {len(row)} in a row failed there, the last one: {last}")
        end = time.monotonic() + pause
        while (left := end - time.monotonic()) > 0 and len(self.row()) >= ROW:
            time.sleep(min(left, LOOK_SECONDS))

    def _tidy_up(self) -> None:
        for path in self.folder.glob("*.job"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > FORGOTTEN and _is_free(path):
                    path.unlink()


class Begun:
    """A job in progress at a place."""

    def __init__(self, place: Place, path: Path) -> None:
        self.place = place
        self.path = path
        self.is_excused = False

    def excuse(self) -> None:
        """Whatever comes of the job, the place is not to blame."""
        self.is_excused = True

    def succeeded(self) -> None:
        """The place works: what failed there before did so for other reasons."""
        for path in self.place.folder.glob(f"{self.place.driver}.*.job"):
            with suppress(FileNotFoundError):
                if _is_free(path):
                    path.unlink()


@contextmanager
def _locked(path: Path, how: int) -> Iterator[IO[str]]:
    """Hold a lock file, shared or not; wait for it."""
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, how)
        yield file


def _is_free(path: Path) -> bool:
    """Whether nobody holds a lock file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
