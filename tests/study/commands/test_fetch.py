"""The command fetch: the public sets' lists, the choice of photographs, and the import of what arrived."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer, serving
from typer.testing import CliRunner

from cameras.dng import write_dng
from cameras.downloads import Remote, download
from cameras.pairs import Index
from cameras.public_sets import SETS, of_camera
from cameras.public_sets.mit5k import LISTS
from cameras.simulate import PRESETS
from cameras.transfer import Patience
from study.commands.app import app
from study.settings import StudyError

QUICK = Patience(timeout=0.4, pauses=(0.01, 0.02))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as running:
        yield running


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(download.__kwdefaults__, "patience", QUICK)
    quick = ("--demosaic", "bilinear", "--workers", 0)
    return lambda *words: CliRunner().invoke(app, ["fetch", *(str(word) for word in (*words, *quick))])


def photo(folder: Path, seed: int, shape: tuple[int, int] = (32, 48)) -> bytes:
    camera = PRESETS["sim-gbrg"]
    path = folder / f"{seed}.dng"
    write_dng(path, np.random.default_rng(seed).integers(300, camera.white, shape, dtype=np.uint16), camera)
    return path.read_bytes()


def offer(server: FileServer, tmp_path: Path, count: int) -> list[str]:
    """Names of photographs that the server has."""
    names = [f"a{number:04}-x" for number in range(count)]
    for number, name in enumerate(names):
        server.files[f"/{name}.dng"] = photo(tmp_path, number)
    return names


def mit5k_list(path: Path, address: str, cameras: dict[str, tuple[str, str]]) -> Path:
    entries = {
        name: {
            "urls": {"dng": f"{address}/{name}.dng", "tiff16": {}},
            "license": "Adobe",
            "camera": {"make": make, "model": model},
        }
        for name, (make, model) in cameras.items()
    }
    path.write_text(json.dumps(entries))
    return path


def raise_list(path: Path, address: str, cameras: dict[str, str]) -> Path:
    """With columns as the set's own list: some names of columns occur twice."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["File", "NEF", "TIFF", "File Size", "Device", "Lens", "Saturation", "Saturation", "Keywords"])
        for name, device in cameras.items():
            link = f"{address}/{name}.dng"
            rows.writerow([name, link, link, "9.79 MB", device, "VR 18-105mm, f/3.5", "", "1", "nature; outdoor"])
    return path


def flat(text: str) -> str:
    return " ".join(text.split())


def refused(done: object) -> str:
    """The one line that a command ended with; `study.commands.app.main` prints it, with exit code 2."""
    assert isinstance(done.exception, StudyError), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


def stored(tmp_path: Path, camera: str) -> set[str]:
    """The photographs in an index, without the hashes in their names."""
    return {image.name.rpartition("-")[0] for image in Index.read(tmp_path / "results" / "cameras" / camera).images}


def test_raise_from_list_to_pairs(server: FileServer, tmp_path: Path, command) -> None:
    names = offer(server, tmp_path, 5)
    cameras = dict(zip(names, ["Nikon D90", "Nikon D90", "Nikon D40", "Nikon D90", "Nikon D7000"], strict=True))
    given = raise_list(tmp_path / "RAISE_all.csv", server.address, cameras)
    done = command("raise", "--camera", "d90", "--list", given)
    assert done.exit_code == 0, done.output
    assert "RAISE, http://loki.disi.unitn.it/RAISE/: for research and education only" in flat(done.output)
    assert "d90: 3 of the 150 photographs asked for (3 new, 0 refused)" in flat(done.output)
    folder = tmp_path / "results" / "raw" / "raise" / "Nikon D90"
    assert {path.name for path in folder.glob("*.NEF")} == {f"{names[number]}.NEF" for number in (0, 1, 3)}
    assert stored(tmp_path, "d90") == {names[number] for number in (0, 1, 3)}
    asked = len(server.asked)
    done = command("raise", "--camera", "d90", "--list", given)
    assert "d90: 3 of the 150 photographs asked for (0 new, 0 refused)" in flat(done.output)
    assert "0 files to download" in flat(done.output)
    assert len(server.asked) == asked == 3


def test_mit5k_downloads_its_own_lists_once(
    server: FileServer, tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = offer(server, tmp_path, 4)
    lists = []
    for number, part in enumerate((names[:1], names[1:3], names[3:])):
        path = mit5k_list(tmp_path / f"{number}.json", server.address, dict.fromkeys(part, ("Nikon", "D70")))
        server.files[f"/lists/{number}.json"] = path.read_bytes()
        lists.append(Remote(f"{number}.json", f"{server.address}/lists/{number}.json"))
    monkeypatch.setitem(SETS, "mit5k", replace(SETS["mit5k"], lists=tuple(lists)))
    done = command("mit5k", "--camera", "Nikon D70", "--storage", tmp_path / "elsewhere")
    assert done.exit_code == 0, done.output
    assert "LicenseAdobe.txt" in done.output
    assert len(list((tmp_path / "elsewhere" / "raw" / "mit5k" / "Nikon D70").glob("*.dng"))) == 4
    command("mit5k", "--camera", "Nikon D70", "--storage", tmp_path / "elsewhere")
    assert sum(path.startswith("/lists/") for path, _ in server.asked) == 3


def test_the_seed_chooses_and_the_list_s_order_does_not(server: FileServer, tmp_path: Path, command) -> None:
    names = offer(server, tmp_path, 12)
    chosen = []
    for order, seed, camera in ((names, 0, "A"), (names[::-1], 0, "B"), (names, 1, "C")):
        given = mit5k_list(tmp_path / f"{camera}.json", server.address, dict.fromkeys(order, ("Make", camera)))
        server.asked.clear()
        done = command("mit5k", "--camera", camera, "--list", given, "--limit", 4, "--seed", seed)
        assert done.exit_code == 0, done.output
        assert len(server.asked) == 4
        chosen.append(stored(tmp_path, camera))
    assert chosen[0] == chosen[1] != chosen[2]
    assert all(len(names) == 4 for names in chosen)


def test_others_take_the_place_of_what_is_gone_damaged_or_upright(server: FileServer, tmp_path: Path, command) -> None:
    names = offer(server, tmp_path, 8)
    given = mit5k_list(tmp_path / "list.json", server.address, dict.fromkeys(names, ("Make", "X")))
    order = [photograph.file.name for photograph in of_camera(SETS["mit5k"].photographs([given]), "X", 0)]
    server.files[f"/{order[0]}"] = photo(tmp_path, 90, (48, 32))
    server.files[f"/{order[1]}"] = b"no photograph"
    del server.files[f"/{order[2]}"]
    done = command("mit5k", "--camera", "X", "--list", given, "--limit", 4)
    assert done.exit_code == 0, done.output
    text = flat(done.output)
    assert f"{order[0]} │ portrait" in text
    assert f"{order[1]} │ it arrived, but it is refused: " in text
    assert f"{order[2]} │ the server does not have it (404)" in text
    assert stored(tmp_path, "X") == {name.removesuffix(".dng") for name in order[3:7]}
    assert f"/{order[7]}" not in {path for path, _ in server.asked}


def test_a_server_in_trouble_imports_nothing_and_the_same_call_continues(
    server: FileServer, tmp_path: Path, command
) -> None:
    names = offer(server, tmp_path, 4)
    given = mit5k_list(tmp_path / "list.json", server.address, dict.fromkeys(names, ("Make", "X")))
    server.plan(f"/{names[2]}.dng", "cut", "500", "500")
    line = refused(command("mit5k", "--camera", "X", "--list", given, "--limit", 4))
    assert f"such as {names[2]}.dng: the server answers 500; the same call continues with them" in line
    assert len(list((tmp_path / "results" / "raw" / "mit5k" / "Make X").glob("*.dng"))) == 3
    done = command("mit5k", "--camera", "X", "--list", given, "--limit", 4)
    assert done.exit_code == 0, done.output
    assert server.asked[-1] == (f"/{names[2]}.dng", f"bytes={len(server.files[f'/{names[2]}.dng']) // 2}-")
    assert stored(tmp_path, "X") == set(names)


def test_none_of_the_files_is_there(server: FileServer, tmp_path: Path, command) -> None:
    given = mit5k_list(tmp_path / "list.json", server.address, {"a": ("Make", "X"), "b": ("Make", "X")})
    line = refused(command("mit5k", "--camera", "X", "--list", given))
    assert line.startswith("X: none of the 2 files could be downloaded, such as ")


def test_room_for_all_files_is_asked_for_before_the_first(
    server: FileServer, tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = offer(server, tmp_path, 2)
    given = mit5k_list(tmp_path / "list.json", server.address, dict.fromkeys(names, ("Make", "X")))
    monkeypatch.setattr("cameras.disk.shutil.disk_usage", lambda path: type("Usage", (), {"free": 15_000_000}))
    assert "but 0.02 GB will be written: free some" in refused(command("mit5k", "--camera", "X", "--list", given))
    assert server.asked == []


def test_raise_needs_a_list_and_says_where_it_is(command) -> None:
    line = refused(command("raise", "--camera", "D90"))
    assert line == (
        "name the list of RAISE by --list FILE: http://loki.disi.unitn.it/RAISE/download.html gives RAISE_all.csv to "
        "those who accept its terms"
    )


@pytest.mark.parametrize("content", [None, "<html>Please log in</html>", "[1, 2]", "{}", '{"a": {"urls": 3}}', "\x00"])
@pytest.mark.parametrize("name", ["mit5k", "raise"])
def test_a_list_that_is_no_list(tmp_path: Path, command, name: str, content: str | None) -> None:
    given = tmp_path / "list"
    if content is not None:
        given.write_text(content)
    line = refused(command(name, "--camera", "D90", "--list", given))
    assert line.startswith(f"{given} is no list of {SETS[name].title}: ")
    assert line.endswith(SETS[name].where_lists_are)


def test_a_list_that_a_server_does_not_have(server: FileServer, command, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = (Remote("training.json", f"{server.address}/training.json"),)
    monkeypatch.setitem(SETS, "mit5k", replace(SETS["mit5k"], lists=lists))
    line = refused(command("mit5k", "--camera", "D70"))
    assert "a list of MIT-Adobe FiveK: training.json: the server does not have it (404); name it by --list" in line


@pytest.mark.parametrize(
    ("write", "cameras"),
    [
        (raise_list, {"../../etc/x": "Nikon D90"}),
        (raise_list, {"x": "../Nikon D90"}),
        (raise_list, {"x": ""}),
        (mit5k_list, {"../x": ("Nikon", "D90")}),
        (mit5k_list, {"x": ("Nikon", "../../D90")}),
    ],
)
def test_a_list_writes_nowhere_else(tmp_path: Path, command, write: Callable[..., Path], cameras: dict) -> None:
    given = write(tmp_path / "list", "http://127.0.0.1:9", cameras)
    line = refused(command("raise" if write is raise_list else "mit5k", "--camera", "D90", "--list", given))
    assert "cannot be the name of a" in line


def test_a_camera_that_the_set_does_not_have(tmp_path: Path, command) -> None:
    given = raise_list(tmp_path / "l.csv", "http://127.0.0.1:9", {"a": "Nikon D90", "b": "Nikon D90", "c": "Nikon D40"})
    line = refused(command("raise", "--camera", "D5", "--list", given))
    assert line == "camera 'D5' does not name one camera of the set: Nikon D90 (2), Nikon D40 (1)"


def test_addresses_of_the_real_sets_are_as_their_lists_say(tmp_path: Path) -> None:
    """Lines of the real lists. The servers themselves were never reached."""
    entry = (
        '{"a1384-dvf_095": {"urls": {"dng": "http://data.csail.mit.edu/graphics/fivek/img/dng/a1384-dvf_095.dng"}, '
        '"id": 1384, "license": "Adobe", "camera": {"make": "Leica", "model": "M8"}}}'
    )
    (tmp_path / "training.json").write_text(entry)
    (photograph,) = of_camera(SETS["mit5k"].photographs([tmp_path / "training.json"]), "M8", 0)
    assert photograph.camera == "Leica M8"
    assert photograph.file.name == "a1384-dvf_095.dng"
    assert photograph.file.address == "https://data.csail.mit.edu/graphics/fivek/img/dng/a1384-dvf_095.dng"
    assert [remote.address.removeprefix(LISTS) for remote in SETS["mit5k"].lists] == [
        "training.json",
        "validation.json",
        "testing.json",
    ]
    (tmp_path / "RAISE_1k.csv").write_text(
        "File,NEF,TIFF,Image Comment,Device,Lens\n"
        "r000da54ft,http://193.205.194.113/RAISE/NEF/r000da54ft.NEF,http://193.205.194.113/RAISE/TIFF/r000da54ft.TIF,"
        "Foto Inhaber:     Ayad Abdelsame    ,Nikon D90,VR 18-105mm f/3.5-5.6G\n"
    )
    (photograph,) = of_camera(SETS["raise"].photographs([tmp_path / "RAISE_1k.csv"]), "Nikon D90", 0)
    assert photograph.file == Remote("r000da54ft.NEF", "http://193.205.194.113/RAISE/NEF/r000da54ft.NEF")
