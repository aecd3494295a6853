"""Checkpoints of a job in progress, by its key: resume from the newest; keep one older as a fallback."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from models.checkpoint import Write
from study.storage import Storage

FOLDER = "checkpoints"
KEPT = 2


def key_of(name: str) -> str:
    """The key of the job that a checkpoint belongs to."""
    return PurePosixPath(name).name.rsplit("-", 1)[0]


@dataclass(frozen=True)
class Checkpoints:
    """Those of one job: ``checkpoints/<key>-<step>.safetensors``."""

    storage: Storage
    key: str

    def names(self) -> list[str]:
        """Newest first."""
        return [name for name in reversed(self.storage.names(FOLDER)) if key_of(name) == self.key]

    def save(self, step: int, write: Write) -> str:
        """Keep a new one and the one before it; return its name. Later ones of an earlier attempt were damaged."""
        new = f"{FOLDER}/{self.key}-{step:09d}.safetensors"
        self.storage.create(new, write)
        names = self.names()
        kept = [name for name in names if name <= new][:KEPT]
        for name in names:
            if name not in kept:
                self.storage.delete(name)
        return new

    def clear(self) -> None:
        for name in self.names():
            self.storage.delete(name)
