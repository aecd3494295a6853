"""Each machine's cache of a study's data: copied once, checked, and memory-mapped by all jobs of the machine.

A copy lies in a folder that is named after its content. It is made in ``….part`` beside it, under a lock. A later
attempt resumes a copy whose process was killed, and the folder gets its name only once its content is verified.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from cameras.errors import one_line
from cameras.pairs import INDEX_FILE, Index, verify
from study.settings import StudyError, at_home
from study.storage.store import Storage


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def camera(storage: Storage, cache: Path | None, name: str, data_hash: str) -> Path:
    """A folder on this machine with the pairs of a camera; with no ``cache``, the storage's own folder.

    Raises:
        OSError: the storage fails.
        ValueError: its pairs have another hash, or are damaged.
    """
    if cache is None:
        return storage.folder / "cameras" / name

    def fetch(part: Path) -> None:
        content = storage.read(f"cameras/{name}/{INDEX_FILE}")
        index = Index.parse(content, storage.where(f"cameras/{name}/{INDEX_FILE}"))
        if index.data_hash != data_hash:
            raise ValueError(f"the pairs of {name} are not those that the job was planned with: run the study again")
        for file in index.sizes:
            storage.download(f"cameras/{name}/{file}", part / file)
        (part / INDEX_FILE).write_bytes(content)
        try:
            verify(part)
        except ValueError as error:  # names the copy, but the original is to be mended
            raise ValueError(str(error).replace(str(part), storage.where(f"cameras/{name}"))) from None

    return _cached(at_home(cache) / "cameras" / f"{name}-{data_hash[:16]}", fetch)


def nip(storage: Storage, cache: Path | None, name: str, sha256: str) -> Path:
    """A file on this machine with the weights of the storage's file ``name``; with no ``cache``, that file itself.

    Raises:
        OSError: the storage fails; FileNotFoundError: it has no such file.
        ValueError: its file is another.
    """
    if cache is None:
        path = storage.folder / name
        if file_sha256(path) != sha256:
            raise _another(path)
        return path

    def fetch(part: Path) -> None:
        storage.download(name, part / Path(name).name)
        if file_sha256(part / Path(name).name) != sha256:
            raise _another(storage.where(name))

    return _cached(at_home(cache) / "nips" / sha256[:16], fetch) / Path(name).name


def _another(path: Path | str) -> ValueError:
    return ValueError(f"{path} is not the file that the trial was planned with: run the study again")


def _cached(folder: Path, fetch: Callable[[Path], None]) -> Path:
    """The folder; ``fetch`` fills it where it is not there yet. Only one process of a machine does so."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():  # made by the process that held the lock before
            return folder
        part = folder.with_name(f"{folder.name}.part")
        _fill(part, fetch)
        for path in part.iterdir():  # nobody reads the bytes again, not even after a power cut
            with path.open("rb") as file:
                os.fsync(file.fileno())
        part.rename(folder)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file, which the system releases when this process dies.

    Raises:
        StudyError: its file system has no locks.
    """
    lock = FileLock(path, fallback_to_soft=False)  # a soft one outlives a process that is killed
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP):
            raise
        raise StudyError(
            f"{path} cannot be locked ({one_line(error)}): name a folder on this machine's own disk as resources.cache"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _fill(part: Path, fetch: Callable[[Path], None]) -> None:
    resumed = part.is_dir()
    part.mkdir(exist_ok=True)
    try:
        fetch(part)
    except ValueError:
        shutil.rmtree(part)
        if not resumed:
            raise
        _fill(part, fetch)  # the rest of an earlier attempt was unfit
