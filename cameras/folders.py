"""Find the files of some kind among the files and folders that a user gives."""

import os
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path


def find(paths: Iterable[Path | str], suffixes: Sequence[str], kind: str) -> list[Path]:
    """The files among `paths`, whatever their suffix, and the files `within` the folders among them.

    Args:
        paths: files and folders; ``~`` stands for the home folder.
        suffixes: of the files in folders, in lower case, with the dot.
        kind: what the files are, for the error message.

    Returns:
        Absolute paths without symbolic links, sorted. A file that is found twice is listed once.

    Raises:
        ValueError: a path does not exist, or there are no files.
    """
    given = [expand(path) for path in paths]
    found: set[Path] = set()
    for path in given:
        if path.is_dir():
            found.update(file.resolve() for file in within(path, suffixes))
        elif path.exists():
            found.add(path.resolve())
        else:
            raise ValueError(f"{path}: no such file or folder")
    if not found:
        raise ValueError(f"no {kind} in {', '.join(map(str, given))}: looked for {' '.join(suffixes)}")
    return sorted(found)


def within(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """All files with one of the suffixes in a folder and its subfolders, sorted.

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
                elif entry.suffix.lower() in suffixes and entry.is_file():
                    found.append(entry)
    return sorted(found)


def expand(path: Path | str) -> Path:
    """A path with ``~`` replaced by the home folder; unchanged where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises an error without such a user)
