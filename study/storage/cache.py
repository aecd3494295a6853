"""Copies of a study's data on each machine's own disk: made once, checked, and memory-mapped by all its jobs.

A copy lies in a folder named after its content. It is made in ``….part`` beside it, under a lock, goes on where an
earlier attempt was killed, and takes its place only once it is known to be what it should be.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cameras.pairs import INDEX_FILE, Index, verify
from study.jobs import Place, file_sha256


def camera(place: Place, name: str, fingerprint: str) -> Path:
    """A folder on this machine with the pairs of a camera.

    Raises:
        OSError: the storage fails.
        ValueError: its pairs are not those of the fingerprint, or damaged.
    """
    if place.staging is None:
        return place.shared.folder / "cameras" / name

    def fetch(part: Path) -> None:
        content = place.shared.read(f"cameras/{name}/{INDEX_FILE}")
        index = Index.parse(content, place.shared.where(f"cameras/{name}/{INDEX_FILE}"))
        if index.fingerprint != fingerprint:
            raise ValueError(f"the pairs of {name} are not those that the job was planned with: run the study again")
        for file in index.sizes:
            place.shared.download(f"cameras/{name}/{file}", part / file)
        (part / INDEX_FILE).write_bytes(content)
        try:
            verify(part)
        except ValueError as error:  # names the copy, but what is to be mended is what it was made of
            raise ValueError(str(error).replace(str(part), place.shared.where(f"cameras/{name}"))) from None

    return _staged(place.staging / "cameras" / f"{name}-{fingerprint[:16]}", fetch)


def nip(place: Place, name: str, sha256: str) -> Path:
    """A file on this machine with the weights of the storage's file ``name``.

    Raises:
        OSError: the storage fails; FileNotFoundError: it has no such file.
        ValueError: its file is another.
    """
    if place.staging is None:
        path = place.shared.folder / name
        if file_sha256(path) != sha256:
            raise _another(path)
        return path

    def fetch(part: Path) -> None:
        place.shared.download(name, part / Path(name).name)
        if file_sha256(part / Path(name).name) != sha256:
            raise _another(place.shared.where(name))

    return _staged(place.staging / "nips" / sha256[:16], fetch) / Path(name).name


def _another(path: Path | str) -> ValueError:
    return ValueError(f"{path} is not the file that the trial was planned with: run the study again")


def _staged(folder: Path, fetch: Callable[[Path], None]) -> Path:
    """The folder, filled by ``fetch`` where it is not there yet. Only one process of a machine fills it."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():  # by whoever held the lock before
            return folder
        part = folder.with_name(f"{folder.name}.part")
        _fill(part, fetch)
        for path in part.iterdir():  # nobody looks at the bytes again, not even after a power cut
            with path.open("rb") as file:
                os.fsync(file.fileno())
        part.rename(folder)
    return folder


def _fill(part: Path, fetch: Callable[[Path], None]) -> None:
    begun = part.is_dir()
    part.mkdir(exist_ok=True)
    try:
        fetch(part)
    except ValueError:
        shutil.rmtree(part)
        if not begun:
            raise
        _fill(part, fetch)  # what an earlier attempt had left was no good


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back by the death of its process, too
        yield
