"""Files by name: a folder and a bucket behave the same."""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from study.storage import Storage
from study.storage import store as module

CONTENT = b"some content" * 1000


def test_a_written_file_is_there(storage: Storage, tmp_path: Path) -> None:
    name = "nips/a camera-INet.safetensors"
    storage.write(name, CONTENT)
    assert storage.read(name) == CONTENT
    assert storage.exists(name)
    assert storage.size(name) == len(CONTENT)
    assert storage.sha256(name) == hashlib.sha256(CONTENT).hexdigest()
    path = storage.local(name, tmp_path / "copies")
    assert path.name == "a camera-INet.safetensors"
    assert path.read_bytes() == CONTENT
    storage.write(name, b"other")
    assert storage.read(name) == b"other"
    storage.write(name, b"")
    assert storage.size(name) == 0
    assert name in storage.where(name)
    assert storage.uri in storage.where(name)


def test_a_missing_file_is_not_found(storage: Storage, tmp_path: Path) -> None:
    storage.write("a/b/c", CONTENT)
    for name in ("missing", "a/missing", "missing/c"):
        assert not storage.exists(name)
        assert storage.size(name) is None
        for ask in (storage.read, storage.sha256, lambda name: storage.download(name, tmp_path / "copy")):
            with pytest.raises(FileNotFoundError):
                ask(name)
        storage.delete(name)
    assert not (tmp_path / "copy").exists()
    assert storage.size("a/b") is None, "a folder is no file"
    with pytest.raises(OSError, match="a/b"):
        storage.read("a/b")


def test_names_lists_the_files_below_a_folder(storage: Storage) -> None:
    assert storage.names("nowhere") == []
    for name in ("pending/b/2", "pending/b/1", "pending/a", "pending/.hidden", "pending/b/.1.part", "pendings/c"):
        storage.write(name, CONTENT)
    assert storage.names("pending") == ["pending/a", "pending/b/1", "pending/b/2"]
    assert storage.names("pending/b") == ["pending/b/1", "pending/b/2"]


def test_a_deleted_file_is_gone(storage: Storage) -> None:
    storage.write("a/b", CONTENT)
    storage.write("a/c", CONTENT)
    storage.delete("a/b")
    assert not storage.exists("a/b")
    assert storage.names("a") == ["a/c"]
    storage.delete("a/c")
    assert storage.names("a") == []


def test_upload_and_download(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 5 * 2**20)
    monkeypatch.setattr(module, "UPLOAD_CHUNK", 7 * 2**20)  # less and more than a part: S3 takes them from 5 MiB on
    content = os.urandom(23 * 2**20)
    source, copy = tmp_path / "source", tmp_path / "new folder" / "copy"
    source.write_bytes(content)
    storage.upload(source, "cameras/a/bayer.u16")
    storage.download("cameras/a/bayer.u16", copy)
    assert copy.read_bytes() == content
    assert storage.sha256("cameras/a/bayer.u16") == hashlib.sha256(content).hexdigest()
    assert storage.names("cameras") == ["cameras/a/bayer.u16"]


def test_a_download_resumes_a_partial_copy(storage: Storage, tmp_path: Path) -> None:
    storage.write("a", b"0123456789")
    copy = tmp_path / "copy"
    copy.write_bytes(b"abc")
    storage.download("a", copy)
    assert copy.read_bytes() == b"abc3456789", "the first bytes are not fetched again"
    storage.download("a", copy)
    assert copy.read_bytes() == b"abc3456789"
    copy.write_bytes(b"more than there is")
    storage.download("a", copy)
    assert copy.read_bytes() == b"more than there is"


def test_create_lets_a_function_write_the_file(storage: Storage) -> None:
    def write(path: Path) -> None:
        assert path.name == "b.safetensors"
        path.write_bytes(CONTENT)

    def fail(path: Path) -> None:
        raise OSError("no space left")

    storage.create("a/b.safetensors", write)
    with pytest.raises(OSError, match="no space left"):
        storage.create("a/b.safetensors", fail)
    assert storage.read("a/b.safetensors") == CONTENT
    assert storage.names("a") == ["a/b.safetensors"]


def test_a_local_copy_of_a_bucket_lies_in_the_given_folder(bucket: Storage, tmp_path: Path) -> None:
    bucket.write("folder/a", CONTENT)
    assert bucket.local("folder/a", tmp_path) == tmp_path / "a"
    with pytest.raises(FileNotFoundError):
        bucket.local("folder/b", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_needs_no_local_copy(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "storage"))
    storage.write("a", CONTENT)
    assert storage.local("a", tmp_path / "copies") == tmp_path / "storage" / "a"
    assert not (tmp_path / "copies").exists()


def everything_in(storage: Storage) -> dict[str, bytes]:
    """Contents by name, hidden files included."""
    paths = [path for path in storage.folder.rglob("*") if path.is_file()]
    return {path.relative_to(storage.folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("culprit", ["fsync", "replace"])
def test_a_failed_write_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, culprit: str
) -> None:
    storage = Storage(str(tmp_path / "storage"))
    storage.write("a/b", b"old")
    new = tmp_path / "new"
    new.write_bytes(b"new")

    def fail(*arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(*((os, "fsync") if culprit == "fsync" else (Path, "replace")), fail)
    for attempt in (lambda: storage.write("a/b", b"new"), lambda: storage.upload(new, "a/b")):
        with pytest.raises(OSError, match="Read-only"):
            attempt()
        assert everything_in(storage) == {"a/b": b"old"}
    monkeypatch.undo()
    storage.upload(new, "a/b")
    assert everything_in(storage) == {"a/b": b"new"}


def test_two_uploads_at_once_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process numbers of two machines may be equal. Here the second upload starts and ends during the first."""
    storage = Storage(str(tmp_path / "storage"))
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"first" * 1000)
    second.write_bytes(b"second")
    copy = shutil.copyfileobj

    def interrupted(source: object, target: object, length: int) -> None:
        monkeypatch.setattr(shutil, "copyfileobj", copy)
        storage.upload(second, "a")
        copy(source, target, length)

    monkeypatch.setattr(shutil, "copyfileobj", interrupted)
    storage.upload(first, "a")
    assert everything_in(storage) == {"a": b"first" * 1000}


def test_a_failed_upload_leaves_no_part_of_a_file(storage: Storage, tmp_path: Path) -> None:
    unreadable = Path("/proc/self/mem")  # opens, and fails when it is read
    if not unreadable.exists():
        pytest.skip("needs /proc")
    with pytest.raises(OSError, match="Input/output error"):
        storage.upload(unreadable, "a/b")
    assert storage.names("a") == []
    with pytest.raises(OSError, match="directory"):
        storage.upload(tmp_path, "a/b")
    assert storage.names("a") == []


def test_ctrl_c_in_the_middle_of_an_upload(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)
    monkeypatch.setattr(module, "UPLOAD_CHUNK", 4)

    class Source:
        chunks = 0

        def __enter__(self) -> "Source":
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def read(self, size: int) -> bytes:
            self.chunks += 1
            if self.chunks == 3:
                raise KeyboardInterrupt
            return b"part"

    class Opened(type(tmp_path)):
        def open(self, mode: str) -> Source:
            return Source()

    with pytest.raises(KeyboardInterrupt):
        storage.upload(Opened(tmp_path / "source"), "a/b")
    assert storage.names("a") == []


ATTEMPTS: dict[str, Callable[[Storage, Path], object]] = {
    "read": lambda storage, path: storage.read("a"),
    "write": lambda storage, path: storage.write("a", CONTENT),
    "size": lambda storage, path: storage.size("a"),
    "names": lambda storage, path: storage.names("a"),
    "delete": lambda storage, path: storage.delete("a"),
    "sha256": lambda storage, path: storage.sha256("a"),
    "upload": lambda storage, path: storage.upload(path, "a"),
    "download": lambda storage, path: storage.download("a", path.with_name("copy")),
}


def is_os_error(attempt: Callable[[], object]) -> bool:
    """Whether it raises an OSError other than FileNotFoundError, which would be an answer."""
    try:
        attempt()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def test_a_dead_endpoint_is_an_os_error(bucket: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one attempt is tested: its retries take seconds."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert is_os_error(lambda: Storage(bucket.uri).exists("a"))


class Refusal(BaseHTTPRequestHandler):
    """An S3 service that refuses everything."""

    def refuse(self) -> None:
        answer = b"<Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer if self.command != "HEAD" else b"")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = refuse  # noqa: N815 (http.server's names)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_a_refusal_is_an_os_error_and_not_a_missing_file(
    bucket: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempt: Callable[[Storage, Path], object]
) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        assert is_os_error(lambda: attempt(Storage(bucket.uri), source))
        server.shutdown()


@pytest.mark.parametrize("uri", ["s3://", "s3:///prefix", "nonsense://bucket/prefix", "s3://bu cket"])
def test_an_unusable_address_is_an_os_error(uri: str, bucket: Storage) -> None:
    with pytest.raises(OSError, match=uri):
        Storage(uri).read("a")


def test_a_missing_bucket_takes_no_files(bucket: Storage) -> None:
    with pytest.raises(OSError, match="no-such-bucket"):
        Storage("s3://no-such-bucket/study").write("a", CONTENT)


def test_a_file_in_place_of_a_folder_is_an_os_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    storage = Storage(str(file))
    for attempt in (lambda: storage.write("a/b", b""), lambda: storage.read("a/b"), lambda: storage.upload(file, "a")):
        assert is_os_error(attempt)
    assert not storage.exists("a/b")
