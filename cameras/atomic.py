"""Write files as a whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace ``path`` by a file with this content, as `writing` does."""
    with writing(path) as part:
        part.write_bytes(content)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of an empty file in the same folder; move it to ``path`` when the block ends.

    The content is safely on disk before it replaces what was there. If the block raises an error, ``path`` stays as it
    was and nothing is left behind; a process that is killed may leave a hidden file beside ``path``.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    part.touch(exist_ok=False)
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
