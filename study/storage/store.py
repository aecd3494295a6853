"""What all machines of a study share: a folder that each of them sees, or a bucket such as ``s3://name/prefix``."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from cameras import atomic

CHUNK = 8 * 2**20  # bytes
UPLOAD_CHUNK = 8 * CHUNK  # sent in several parts at once


@dataclass(frozen=True)
class Storage:
    """Files by name (``nips/a.safetensors``) below a folder or the prefix of a bucket.

    A file is written whole or not at all. Whatever goes wrong is an OSError, and FileNotFoundError means that there is
    no such file. Buckets are reached by pyarrow, with the credentials of the environment; ``AWS_ENDPOINT_URL`` names
    an S3 service other than Amazon's.
    """

    uri: str

    @property
    def is_folder(self) -> bool:
        return "://" not in self.uri

    @property
    def folder(self) -> Path:
        """Of a storage that is one."""
        assert self.is_folder, self.uri
        return Path(self.uri)

    @cached_property
    def _bucket(self) -> tuple[Any, str]:
        from pyarrow import fs  # takes a while, and folders do without

        try:
            filesystem, prefix = fs.FileSystem.from_uri(self.uri)
        except ValueError as error:  # pyarrow's word for an address that it cannot read
            raise OSError(f"{self.uri}: {error}") from None
        if not prefix:
            raise OSError(f"{self.uri} names no bucket")
        return filesystem, prefix

    def _key(self, name: str) -> str:
        return f"{self._bucket[1]}/{name}"

    def where(self, name: str) -> str:
        """Path or address of a file, for people."""
        return str(self.folder / name) if self.is_folder else f"{self.uri}/{name}"

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none."""
        if self.is_folder:
            with suppress(FileNotFoundError):  # also where it is deleted just now
                path = self.folder / name
                return path.stat().st_size if path.is_file() else None
            return None
        info = self._bucket[0].get_file_info(self._key(name))
        return info.size if info.is_file else None

    def exists(self, name: str) -> bool:
        return self.size(name) is not None

    def names(self, folder: str) -> list[str]:
        """Names of all files below a folder, sorted; none where there is no such folder. Hidden files do not count."""
        if self.is_folder:
            found = [path.relative_to(self.folder).as_posix() for path in (self.folder / folder).rglob("*")]
            found = [name for name in found if (self.folder / name).is_file()]
        else:
            from pyarrow import fs

            select = fs.FileSelector(self._key(folder), allow_not_found=True, recursive=True)
            prefix = len(self._key(""))
            found = [info.path[prefix:] for info in self._bucket[0].get_file_info(select) if info.is_file]
        return sorted(name for name in found if not PurePosixPath(name).name.startswith("."))

    @contextmanager
    def _reading(self, name: str) -> Iterator[Any]:
        with (
            (self.folder / name).open("rb")
            if self.is_folder
            else self._bucket[0].open_input_file(self._key(name)) as file
        ):
            yield file

    def read(self, name: str) -> bytes:
        with self._reading(name) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        if self.is_folder:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(path, content)
        else:
            with self._writing(name) as file:
                file.write(content)

    @contextmanager
    def _writing(self, name: str) -> Iterator[Any]:
        """A file of a bucket: there once the block has ended well."""
        file = self._bucket[0].open_output_stream(self._key(name))
        try:
            yield file
        except BaseException:
            with suppress(OSError):
                file.close()  # pyarrow cannot give up a file: this makes one of what has been written so far
                self.delete(name)
            raise
        file.close()

    def delete(self, name: str) -> None:
        """Remove a file, if there is one."""
        with suppress(FileNotFoundError):
            if self.is_folder:
                (self.folder / name).unlink()
            else:
                self._bucket[0].delete_file(self._key(name))

    def sha256(self, name: str) -> str:
        """Of a file's content."""
        digest = hashlib.sha256()
        with self._reading(name) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def upload(self, path: Path, name: str) -> None:
        """Copy a local file here."""
        if self.is_folder:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic.writing(target) as part, path.open("rb") as source, part.open("wb") as file:
                shutil.copyfileobj(source, file, CHUNK)
        else:
            with path.open("rb") as source, self._writing(name) as file:
                while chunk := source.read(UPLOAD_CHUNK):
                    file.write(chunk)
                    file.flush()  # waits for it to arrive: pyarrow would take in all of a file that memory cannot hold

    def download(self, name: str, path: Path) -> None:
        """Copy a file to a local one; where that is there in part, the copy goes on from its end.

        What is there already is taken on trust, and kept where it is longer than the file.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._reading(name) as source, path.open("ab") as file:
            source.seek(min(file.tell(), self.size(name) or 0))
            shutil.copyfileobj(source, file, CHUNK)

    def local(self, name: str, folder: Path) -> Path:
        """A file as one on this machine: itself where the storage is a folder, else a copy in ``folder``."""
        if self.is_folder:
            return self.folder / name
        path = folder / PurePosixPath(name).name
        self.download(name, path)
        return path

    def create(self, name: str, write: Callable[[Path], None]) -> None:
        """Let ``write``, which writes whole files or none, make a file: here, or on this machine to be copied here."""
        if self.is_folder:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PurePosixPath(name).name
            write(path)
            self.upload(path, name)
