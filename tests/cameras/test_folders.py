"""One search of folders, whoever asks for files."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cameras import folders
from cameras.dng import simulate_folder
from cameras.errors import one_line
from cameras.importing import raw_files
from cameras.photographs import photograph_files
from cameras.scenes import scene_sources
from cameras.simulate import PRESETS
from prnu.exposures import find as find_exposures


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def names(folder: Path, suffixes: tuple[str, ...] = (".a", ".b")) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in folders.within(folder, suffixes)]


def test_files_are_found_in_depth_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "z.A", "in/y.b", "in/deep/x.a", "in/notes.txt", "folder.a/w.b")
    assert names(tmp_path) == ["folder.a/w.b", "in/deep/x.a", "in/y.b", "z.A"]


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    hidden = touch(tmp_path / ".hidden", "a.a", "._b.a", ".thumbnails/c.a", "in/.d.a")
    assert names(hidden) == ["a.a"], "the folder itself may be hidden"


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    """Links to a parent, to each other, to a folder that is found anyway and to one elsewhere."""
    here, there = touch(tmp_path / "here", "z/1.a"), touch(tmp_path / "there", "2.a", "in/3.a")
    (here / "a").symlink_to(here / "z")
    (here / "z" / "up").symlink_to(here)
    (here / "elsewhere").symlink_to(there)
    (there / "in" / "back").symlink_to(here)
    (there / "nowhere").symlink_to(tmp_path / "missing")
    assert names(here) == ["elsewhere/2.a", "elsewhere/in/3.a", "z/1.a"], "names without links are kept"
    assert folders.find([here, there], (".a",), "files") == sorted([here / "z/1.a", there / "2.a", there / "in/3.a"])


def test_folders_without_permission_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iterdir = Path.iterdir

    def refuse(folder: Path) -> Iterator[Path]:
        if folder.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert names(touch(tmp_path, "1.a", "lost+found/2.a", "z/3.a")) == ["1.a", "z/3.a"]


def test_given_files_count_whatever_their_suffix_and_once(tmp_path: Path) -> None:
    touch(tmp_path, "1.a", "2.other", ".3.a")
    (tmp_path / "link.a").symlink_to(tmp_path / "1.a")
    given = [tmp_path, tmp_path / "1.a", tmp_path / "link.a", tmp_path / "2.other", tmp_path / ".3.a"]
    assert folders.find(given, (".a",), "files") == [tmp_path / ".3.a", tmp_path / "1.a", tmp_path / "2.other"]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "raw/1.dng", "photos/1.jpg", "dark/long/1_a.dng", "dark/short/1_b.dng")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert raw_files(["~/raw"]) == [tmp_path / "raw/1.dng"]
    assert photograph_files(["~/photos/1.jpg"]) == [tmp_path / "photos/1.jpg"]
    assert find_exposures("~/dark")[0].long == tmp_path / "dark/long/1_a.dng"
    assert simulate_folder(PRESETS["sim-rggb"], "~/new", 1, 32, 48, seed=0) == [tmp_path / "new" / "sim-rggb-0000.dng"]
    with pytest.raises(ValueError, match=r"photos/1\.jpg is no readable photograph"):
        scene_sources("~/photos")
    with pytest.raises(ValueError, match=r"^~nobody-of-this-name/raw: no such file or folder"):
        raw_files(["~nobody-of-this-name/raw"])


def test_files_may_be_known_by_their_content(tmp_path: Path) -> None:
    touch(tmp_path, "1.a", "2.other", ".3.other", "unreadable")

    def test(file: Path) -> bool:
        if file.name == "unreadable":
            raise PermissionError
        return file.name.endswith("other")

    assert [file.name for file in folders.within(tmp_path, (".a",), test)] == ["1.a", "2.other"]


def test_messages_can_be_printed_whatever_bytes_a_name_holds(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(ValueError, match=r"caf\\xe9: no such file"):
        folders.find([folder], (".a",), "files")
    folder.mkdir()
    with pytest.raises(ValueError, match=r"no files in .*/caf\\xe9: looked"):
        folders.find([folder], (".a",), "files")
    assert one_line(OSError(str(folder))).endswith(r"caf\xe9")


def test_nothing_found_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^no pictures in {tmp_path}: looked for .a .b$"):
        folders.find([tmp_path], (".a", ".b"), "pictures")
