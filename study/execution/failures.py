"""Notes on failed attempts at jobs, in the storage: the next attempt is made by another process, maybe elsewhere.

``failures/<key>.<what>.<machine>.<number>`` holds a traceback for people. Its name tells all that the engine asks for,
so that one listing answers. Every run of a study begins without notes on its jobs.
"""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from study.storage import Storage

FOLDER = "failures"
MEMORY = "memory"  # what failed, beside the signatures of errors


@dataclass(frozen=True)
class Failure:
    """One failed attempt: of which job, at what, and on which machine (by hash)."""

    name: str

    @property
    def key(self) -> str:
        return PurePosixPath(self.name).name.split(".")[0]

    @property
    def what(self) -> str:
        return self.name.split(".")[1]

    @property
    def machine(self) -> str:
        return self.name.split(".")[2]


def failures(storage: Storage) -> list[Failure]:
    """All that are noted.

    Raises:
        OSError: the storage fails.
    """
    return [Failure(name) for name in storage.names(FOLDER) if name.count(".") == 3]


def note(storage: Storage, key: str, what: str, machine: str, text: str) -> None:
    """Note a failed attempt.

    Raises:
        OSError: the storage fails.
    """
    storage.write(f"{FOLDER}/{key}.{what}.{machine_hash(machine)}.{secrets.token_hex(4)}", text.encode())


def forget(storage: Storage, keys: Collection[str]) -> None:
    """Remove the notes on these jobs.

    Raises:
        OSError: the storage fails.
    """
    for failure in failures(storage):
        if failure.key in keys:
            storage.delete(failure.name)


def machine_hash(machine: str) -> str:
    return hashlib.sha256(machine.encode()).hexdigest()[:8]
