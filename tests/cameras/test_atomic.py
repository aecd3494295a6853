"""A file is written as a whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from cameras import atomic


def test_content_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    for content in (b"first", b""):
        atomic.write(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), atomic.writing(path) as part:
        part.write_bytes(b"half")
        assert part.parent == tmp_path
        assert part.name.startswith("."), "hidden while it is incomplete"
        assert path.read_bytes() == b"before"
        raise KeyboardInterrupt
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_disk_before_it_replaces_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.bin"
    synced: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file).st_size, path.exists())))
    atomic.write(path, b"content")
    assert synced == [(7, False)]


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    atomic.write(tmp_path / "file.bin", b"")
    assert stat.S_IMODE((tmp_path / "file.bin").stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
