"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace ``path`` by a file with this content, or leave it as it is.

    The content lies safely on disk before it takes the place of what was there. On an error nothing is left behind;
    a process that is killed may leave a hidden file beside ``path``.
    """
    path = Path(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's own is for its owner alone
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
