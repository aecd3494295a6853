"""A folder for what Ray keeps while it runs on this machine alone: its path must be short, as it holds sockets."""

import os
from pathlib import Path

from study.execution.private_folder import is_private
from study.settings import StudyError

SHORT = Path("/tmp")
SOCKET = "/session_2026-11-26_02-26-26_123456_1234567/sockets/plasma_store"  # below the folder
LONGEST = 107 - len(SOCKET)  # bytes, as the path of a socket has at most 107


def ray_folder() -> str | None:
    """A folder of this user's own with a short path, made here; None where Ray's own choice will do.

    Raises:
        StudyError: somebody else has made it.
    """
    chosen = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or SHORT) / "ray"
    if len(os.fsencode(chosen)) <= LONGEST:
        return None
    folder = SHORT / f"ray-{os.getuid()}"
    if not is_private(folder):
        raise StudyError(
            f"{chosen} is too long a path for Ray, and {folder} is not a folder of this user alone: name another in "
            f"RAY_TMPDIR, of {LONGEST - len('/ray')} characters at most"
        )
    return str(folder / "ray")  # Ray opens its own folder to everybody
