"""Find the files of some kind among the files and folders that a user gives."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from cameras.errors import printable


def find(
    paths: Iterable[Path | str], suffixes: Sequence[str], kind: str, also: Callable[[Path], bool] | None = None
) -> list[Path]:
    """The files among `paths`, whatever their suffix, and the files `within` the folders among them.

    Args:
        paths: files and folders; ``~`` stands for the home folder.
        suffixes: of the files in folders, in lower case, with the dot.
        kind: what the files are, for the error message.
        also: tells by its content whether a file with another suffix counts.

    Returns:
        Absolute paths without symbolic links, sorted. A file that is found twice is listed once.

    Raises:
        ValueError: a path does not exist, or there are no files.
    """
    given = [expand(path) for path in paths]
    found: set[Path] = set()
    for path in given:
        if path.is_dir():
            found.update(file.resolve() for file in within(path, suffixes, also))
        elif path.exists():
            found.add(path.resolve())
        else:
            raise ValueError(f"{printable(path)}: no such file or folder")
    if not found:
        raise ValueError(f"no {kind} in {', '.join(map(printable, given))}: looked for {' '.join(suffixes)}")
    return sorted(found)


def within(folder: Path, suffixes: Sequence[str], also: Callable[[Path], bool] | None = None) -> list[Path]:
    """All files with one of the suffixes, or that `also` accepts, in a folder and its subfolders, sorted.

    Hidden files, hidden folders and folders without permission are skipped. Links to folders are followed, but no
    folder is searched twice, so that a link to a parent folder does no harm.
    """
    found: list[Path] = []
    searched: set[Path] = set()
    waiting = deque([folder])
    while waiting:
        folder = waiting.popleft()
        if folder.resolve() in searched:
            continue
        searched.add(folder.resolve())
        with suppress(PermissionError):
            for entry in folder.iterdir():
                if entry.name.startswith("."):
                    continue
                if entry.is_dir() and entry.is_symlink():
                    waiting.append(entry)  # after all other folders: files keep the names they have without links
                elif entry.is_dir():
                    waiting.appendleft(entry)
                elif entry.is_file() and (entry.suffix.lower() in suffixes or (also and _accepts(also, entry))):
                    found.append(entry)
    return sorted(found)


def _accepts(test: Callable[[Path], bool], file: Path) -> bool:
    with suppress(OSError):
        return test(file)
    return False


def expand(path: Path | str) -> Path:
    """A path with ``~`` replaced by the home folder; unchanged where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises an error without such a user)
