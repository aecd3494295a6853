"""Downloads from a server that behaves, and from one that does not: whole files under their names, or none."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer, serving

from cameras.dng import write_dng
from cameras.downloads import MANIFEST, Remote, download
from cameras.raw import open_raw
from cameras.simulate import PRESETS
from cameras.transfer import Patience

QUICK = Patience(timeout=0.4, slowest=1000, pauses=(0.01, 0.02))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def dng(tmp_path: Path, seed: int) -> bytes:
    camera = PRESETS["sim-gbrg"]
    path = tmp_path / f"{seed}.dng"
    write_dng(path, np.random.default_rng(seed).integers(300, camera.white, (64, 96), dtype=np.uint16), camera)
    return path.read_bytes()


def readable(path: Path) -> None:
    with open_raw(path):
        pass


def offer(server: FileServer, tmp_path: Path, count: int = 1) -> list[Remote]:
    for number in range(count):
        server.files[f"/{number}.dng"] = dng(tmp_path, number)
    return [Remote(f"{number}.dng", f"{server.address}/{number}.dng") for number in range(count)]


def fetch(files: list[Remote], folder: Path):
    return download(files, folder, readable, patience=QUICK)


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def holds(folder: Path, server: FileServer, *names: str) -> bool:
    """Exactly these files, each as the server has it and as the manifest says; nothing is under way."""
    manifest = json.loads((folder / MANIFEST).read_text())
    return (
        visible(folder) == {*names, MANIFEST}
        and all((folder / name).read_bytes() == server.files[f"/{name}"] for name in names)
        and {name: entry["sha256"] for name, entry in manifest.items()}
        == {name: hashlib.sha256(server.files[f"/{name}"]).hexdigest() for name in names}
        and not list(folder.glob(".*.part*"))
    )


def test_good_files_arrive_and_are_not_asked_for_again(server: FileServer, tmp_path: Path, folder: Path) -> None:
    files = offer(server, tmp_path, 6)
    done: list[tuple[int, str]] = []
    got = download(files, folder, readable, patience=QUICK, on_progress=lambda *step: done.append(step))
    assert got.paths == tuple(folder / file.name for file in files)
    assert not got.left_out
    assert [number for number, _ in done] == [1, 2, 3, 4, 5, 6]
    assert {name for _, name in done} == {file.name for file in files}
    assert holds(folder, server, *(file.name for file in files))
    assert len(server.asked) == 6
    assert fetch(files, folder).paths == got.paths
    assert len(server.asked) == 6


@pytest.mark.parametrize("status", ["404", "410"])
def test_a_file_that_is_gone_is_left_out_at_once(server: FileServer, tmp_path: Path, folder: Path, status: str) -> None:
    files = offer(server, tmp_path, 2)
    server.plan("/0.dng", status)
    got = fetch(files, folder)
    assert got.paths == (folder / "1.dng",)
    assert got.left_out == {"0.dng": f"the server does not have it ({status})"}
    assert holds(folder, server, "1.dng")
    assert len(server.asked) == 2


@pytest.mark.parametrize("plan", ["500", "503", "429", "redirect", "no range", "no length"])
def test_what_a_second_attempt_or_another_address_heals(
    server: FileServer, tmp_path: Path, folder: Path, plan: str
) -> None:
    files = offer(server, tmp_path)
    server.files["/moved/0.dng"] = server.files["/0.dng"]
    server.plan("/0.dng", plan)
    fetch(files, folder)
    assert holds(folder, server, "0.dng")


@pytest.mark.parametrize(
    ("plan", "attempts", "reason"),
    [
        ("500", 3, "the server answers 500"),
        ("403", 1, "the server answers 403"),
        ("web page", 1, "the server answers with a web page"),
        ("silent", 3, "the server did not answer in time"),
        ("drip", 3, "slower than 1000 bytes per second"),
        ("too long", 3, "does not continue the part|the connection broke off"),
    ],
)
def test_what_no_attempt_heals_ends_in_one_line_and_no_file(
    server: FileServer, tmp_path: Path, folder: Path, plan: str, attempts: int, reason: str
) -> None:
    files = offer(server, tmp_path)
    server.plan("/0.dng", *[plan] * attempts)
    with pytest.raises(ValueError, match=f"1 of 1 files did not arrive in .*, such as 0.dng: .*({reason}).*; the same"):
        fetch(files, folder)
    assert len(server.asked) == attempts
    assert visible(folder) == set()
    fetch(files, folder)
    assert holds(folder, server, "0.dng")


def test_a_transfer_that_is_cut_continues_where_it_broke_off(server: FileServer, tmp_path: Path, folder: Path) -> None:
    files = offer(server, tmp_path)
    size = len(server.files["/0.dng"])
    server.plan("/0.dng", "cut", "cut")
    fetch(files, folder)
    assert [asked for _, asked in server.asked] == [
        None,
        f"bytes={size // 2}-",
        f"bytes={size // 2 + (size - size // 2) // 2}-",
    ]
    assert holds(folder, server, "0.dng")


def test_a_later_call_continues_too(server: FileServer, tmp_path: Path, folder: Path) -> None:
    files = offer(server, tmp_path)
    server.plan("/0.dng", "cut", "500", "500")
    with pytest.raises(ValueError, match="the same call continues with them"):
        fetch(files, folder)
    assert visible(folder) == set()
    fetch(files, folder)
    assert server.asked[-1] == ("/0.dng", f"bytes={len(server.files['/0.dng']) // 2}-")
    assert holds(folder, server, "0.dng")


def test_parts_of_two_versions_are_never_joined(server: FileServer, tmp_path: Path, folder: Path) -> None:
    files = offer(server, tmp_path)
    server.plan("/0.dng", "cut", "500", "500")
    with pytest.raises(ValueError, match="did not arrive"):
        fetch(files, folder)
    server.files["/0.dng"], server.version = dng(tmp_path, 7), "2"
    fetch(files, folder)
    assert holds(folder, server, "0.dng")


def test_a_server_without_ranges_sends_all_again(server: FileServer, tmp_path: Path, folder: Path) -> None:
    files = offer(server, tmp_path)
    server.plan("/0.dng", "cut", "no range")
    fetch(files, folder)
    assert holds(folder, server, "0.dng")


@pytest.mark.parametrize("answer", ["other range", "416"])
def test_a_part_that_does_not_fit_is_thrown_away(server: FileServer, tmp_path: Path, folder: Path, answer: str) -> None:
    files = offer(server, tmp_path)
    server.plan("/0.dng", "cut", answer)
    fetch(files, folder)
    assert [asked is None for _, asked in server.asked] == [True, False, True]
    assert holds(folder, server, "0.dng")


@pytest.mark.parametrize("plan", ["too short", "no length, cut"])
def test_a_file_that_seems_whole_and_is_not_is_refused_by_its_reader(
    server: FileServer, tmp_path: Path, folder: Path, plan: str
) -> None:
    files = offer(server, tmp_path)
    server.plan("/0.dng", plan)
    got = fetch(files, folder)
    assert got.paths == ()
    assert got.left_out["0.dng"].startswith("it arrived, but it is refused: truncated: its contents reach to byte")
    assert {path.name for path in folder.iterdir()} == {".lock"}
    fetch(files, folder)
    assert holds(folder, server, "0.dng")


def test_a_file_that_changed_on_disk_is_downloaded_again(server: FileServer, tmp_path: Path, folder: Path) -> None:
    files = offer(server, tmp_path)
    fetch(files, folder)
    with (folder / "0.dng").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    fetch(files, folder)
    assert holds(folder, server, "0.dng")


def test_another_file_than_the_manifest_says_is_not_taken(server: FileServer, tmp_path: Path, folder: Path) -> None:
    files = offer(server, tmp_path)
    fetch(files, folder)
    (folder / "0.dng").unlink()
    server.files["/0.dng"] = dng(tmp_path, 7)
    with pytest.raises(
        ValueError, match=r"0.dng: the server sends another file than the one whose SHA-256 .* delete its"
    ):
        fetch(files, folder)
    assert visible(folder) == {MANIFEST}
    (folder / MANIFEST).write_text("{}")
    fetch(files, folder)
    assert holds(folder, server, "0.dng")


def test_what_lies_there_without_an_entry_is_checked(server: FileServer, tmp_path: Path, folder: Path) -> None:
    files = offer(server, tmp_path, 2)
    folder.mkdir()
    (folder / "0.dng").write_bytes(server.files["/0.dng"])
    (folder / "1.dng").write_bytes(server.files["/1.dng"][:-50])
    fetch(files, folder)
    assert [path for path, _ in server.asked] == ["/1.dng"]
    assert holds(folder, server, "0.dng", "1.dng")


def test_a_full_disk(server: FileServer, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = offer(server, tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("cameras.disk.shutil.disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ValueError, match=r"has room for .*: free some, or name another folder"):
        fetch(files, folder)
    assert visible(folder) == set()


def test_a_server_in_trouble_is_left_alone(server: FileServer, tmp_path: Path, folder: Path) -> None:
    files = offer(server, tmp_path, 30)
    for file in files:
        server.plan(f"/{file.name}", "500", "500", "500")
    with pytest.raises(ValueError, match="of 30 files did not arrive"):
        fetch(files, folder)
    assert len({path for path, _ in server.asked}) < 15


def test_files_that_arrived_beside_a_failure_are_kept(server: FileServer, tmp_path: Path, folder: Path) -> None:
    files = offer(server, tmp_path, 5)
    server.plan("/2.dng", "500", "500", "500")
    with pytest.raises(ValueError, match=r"1 of 5 files did not arrive .*such as 2.dng"):
        fetch(files, folder)
    assert holds(folder, server, "0.dng", "1.dng", "3.dng", "4.dng")


def test_a_damaged_manifest_is_named(server: FileServer, tmp_path: Path, folder: Path) -> None:
    files = offer(server, tmp_path)
    folder.mkdir()
    for damaged in ("{", "[]", '{"0.dng": {}}', '{"0.dng": 3}'):
        (folder / MANIFEST).write_text(damaged)
        with pytest.raises(ValueError, match=r"manifest.json is damaged: delete it"):
            fetch(files, folder)
    assert server.asked == []


def test_no_server_at_all(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"such as 0.dng: no connection to the server"):
        fetch([Remote("0.dng", "http://127.0.0.1:9/0.dng")], folder)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("../a.dng", "http://a/b"),
        ("/etc/a", "http://a/b"),
        ("", "http://a/b"),
        (".a", "http://a/b"),
        ("a\n", "http://a/b"),
        ("a", "file:///a"),
    ],
)
def test_names_and_addresses_that_could_do_harm(name: str, address: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be the name of a file|is no address of a file"):
        Remote(name, address)


INTERRUPTED = """
import sys
from pathlib import Path
from cameras.downloads import Remote, download
address, folder = sys.argv[1:]
download([Remote(f"{n}.dng", f"{address}/{n}.dng") for n in range(3)], Path(folder), lambda path: None)
"""


def test_ctrl_c_leaves_nothing_half_written_and_keeps_the_part(
    server: FileServer, tmp_path: Path, folder: Path
) -> None:
    files = offer(server, tmp_path, 3)
    server.plan("/1.dng", "drip")
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, server.address, str(folder)], stderr=subprocess.PIPE, text=True
    )
    while not (folder / ".1.dng.part").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(0.2)  # for some bytes
    with pytest.raises(ValueError, match="another process downloads into this folder"):
        fetch(files, folder)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=20)[1]
    assert "1.dng" not in visible(folder)
    size = (folder / ".1.dng.part").stat().st_size
    fetch(files, folder)
    assert ("/1.dng", f"bytes={size}-") in server.asked
    assert holds(folder, server, "0.dng", "1.dng", "2.dng")
