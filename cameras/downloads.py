"""Download many files into a folder: several at a time, checked, resumable, and never half under their names.

``manifest.json`` in the folder keeps the SHA-256 of every file that was downloaded. Each later call verifies the files
by it, and downloads a file again that has changed on disk. A file that is under way is hidden: ``.NAME.part``.
"""

import fcntl
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cameras import atomic
from cameras.errors import one_line
from cameras.transfer import FailedError, GoneError, Patience, StoppedError, transfer, version_file

AT_A_TIME = 4  # files; more would be impolite
MOST_FAILURES = 4  # after so many files that did not arrive, the server is left alone
MANIFEST = "manifest.json"
PATIENT = Patience()


class UnfitError(ValueError):
    """A file that arrived as a whole, and that its reader refuses."""


def is_file_name(text: str) -> bool:
    """Whether a text of someone else may be the name of a file or folder here: one that is not hidden, in no other."""
    return text != "" and text.isprintable() and Path(text).name == text and not text.startswith(".")


@dataclass(frozen=True)
class Remote:
    """A file on a server. name: of the file here. address: http:// or https://.

    Raises ValueError for a name that is not one of a file, or is hidden, and for any other address.
    """

    name: str
    address: str

    def __post_init__(self) -> None:
        if not is_file_name(self.name):
            raise ValueError(f"{self.name!r} cannot be the name of a file")
        if not self.address.startswith(("http://", "https://")):
            raise ValueError(
                f"{self.name}: {self.address!r} is no address of a file: it begins with http:// or https://"
            )


@dataclass(frozen=True)
class Downloaded:
    """The files that are there now, in the order asked for; and the names of the others, with the reason."""

    paths: tuple[Path, ...]
    left_out: dict[str, str]


def download(
    files: Sequence[Remote],
    folder: Path,
    check: Callable[[Path], object],
    *,
    patience: Patience = PATIENT,
    on_progress: Callable[[int, str], None] | None = None,
) -> Downloaded:
    """Download the files that are missing in ``folder``, and verify those that are there.

    Args:
        files: with different names.
        check: reads a file; its ValueError says why the file is unfit.
        on_progress: called for every file that is done, with the number of files done and the name.

    Returns:
        The files; a file that the server does not have, or that ``check`` refuses, is left out.

    Raises:
        ValueError: files did not arrive (the same call continues with them); the server sends another file than before;
            the disk is full; the manifest is damaged; another process downloads into the folder.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    folder.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    paths: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    failed: dict[str, str] = {}
    with _alone(folder), ThreadPoolExecutor(AT_A_TIME) as pool:
        manifest = _read(folder)
        known = {file.name: manifest.get(file.name, {}).get("sha256") for file in files}
        running = {pool.submit(_one, file, folder, known[file.name], check, patience, stop): file for file in files}
        try:
            for done, future in enumerate(as_completed(running), 1):
                file = running[future]
                try:
                    paths[file.name], entry = future.result()
                    if manifest.get(file.name, {}).get("sha256") != entry["sha256"]:
                        manifest[file.name] = entry
                        atomic.write(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
                except (GoneError, UnfitError) as error:
                    left_out[file.name] = str(error)
                except FailedError as error:
                    failed[file.name] = str(error)
                    if len(failed) == MOST_FAILURES:
                        break
                if on_progress:
                    on_progress(done, file.name)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    if failed:
        name, reason = next(iter(failed.items()))
        raise ValueError(
            f"{len(failed)} of {len(files)} files did not arrive in {folder}, such as {name}: {reason}; the same call "
            "continues with them"
        )
    return Downloaded(tuple(paths[file.name] for file in files if file.name in paths), left_out)


def _one(
    file: Remote,
    folder: Path,
    known: str | None,
    check: Callable[[Path], object],
    patience: Patience,
    stop: threading.Event,
) -> tuple[Path, dict[str, Any]]:
    """The path of a file that is there now, and its entry in the manifest. Raises as `transfer`, or UnfitError."""
    import pooch

    if stop.is_set():
        raise StoppedError
    path = folder / file.name
    if known is None and path.exists():  # a call was killed before it wrote the manifest, or someone put the file there
        try:
            check(path)
        except ValueError:
            path.unlink()
    bring = partial(_bring, part=folder / f".{file.name}.part", check=check, patience=patience, stop=stop)
    try:
        pooch.retrieve(file.address, known, fname=file.name, path=folder, downloader=bring)
    except (GoneError, UnfitError, FailedError):
        raise
    except ValueError as error:
        if "known hash" not in str(error):
            raise
        raise ValueError(
            f"{path}: the server sends another file than the one whose SHA-256 is in {MANIFEST}: delete its entry "
            "there to accept the new one"
        ) from None
    return path, {"address": file.address, "bytes": path.stat().st_size, "sha256": pooch.file_hash(str(path))}


def _bring(
    address: str,
    output: str,
    _pooch: object,
    *,
    part: Path,
    check: Callable[[Path], object],
    patience: Patience,
    stop: threading.Event,
) -> None:
    """A downloader as pooch calls it: ``output`` is a temporary file, which pooch verifies and moves to its name."""
    transfer(address, part, patience, stop)
    try:
        check(part)
    except ValueError as error:
        part.unlink()
        reason = one_line(error).removeprefix(f"{part}: ")
        raise UnfitError(f"it arrived, but it is refused: {reason}") from error
    finally:
        version_file(part).unlink(missing_ok=True)
    part.replace(output)


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifest of a folder: name -> address, bytes, sha256."""
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_bytes())
        if not all(isinstance(entry["sha256"], str) for entry in manifest.values()):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{path} is damaged: delete it, and every file is checked again") from None
    return manifest


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from downloading into the folder; the lock ends with the process."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: another process downloads into this folder; wait for it") from None
        yield
