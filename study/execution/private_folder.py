"""Folders of this user's own in places where everybody may write."""

import os
import stat
import tempfile
from pathlib import Path


def is_private(folder: Path) -> bool:
    """Make the folder where it is missing; whether it is this user's alone."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def notes_folder() -> Path:
    """Where the processes of this machine leave notes for each other, on its own disk.

    Raises:
        PermissionError: somebody else has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"imaging-pipelines-{os.getuid()}"
    if not is_private(folder):
        raise PermissionError(f"{folder} is not a folder of this user alone: remove it, or name another TMPDIR")
    return folder
