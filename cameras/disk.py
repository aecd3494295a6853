"""Room on a disk."""

import shutil
from pathlib import Path


def gigabytes(size: int) -> str:
    """12.3 GB"""
    return f"{size / 1e9:.3g} GB"


def require_space(folder: Path, needed: int) -> str:
    """Say how much of a folder's disk will be used; the folder may not exist yet.

    Raises:
        ValueError: the disk has fewer free bytes than needed.
    """
    folder = folder.resolve()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise ValueError(
            f"{folder} has room for {gigabytes(free)}, but {gigabytes(needed)} will be written: free some, or name "
            "another folder"
        )
    return f"{gigabytes(needed)} will be written, {gigabytes(free)} are free"
