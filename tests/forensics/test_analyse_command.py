"""``python -m forensics analyse`` on files as people have them, by a package of a small simulated camera."""

import csv
import io
import json
import re
import shutil
import struct
import sys
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import forensics
from cameras.dng import simulate_folder
from cameras.photographs import header, read
from cameras.simulate import PRESETS
from forensics.__main__ import main
from forensics.analysis.analyse import analyse
from forensics.package import Package, load_package, save_package
from tests.broken_photographs import large_png, write_broken_photographs
from tests.forensics.small_packages import judging_package, received
from tests.study.report.driven_chromium import opened

RESULTS = {"native", "altered", "altered in part", "cannot tell"}
RATE = 0.1  # ten photographs promise no less than 1/11


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, package: Path) -> Any:
    """Runs ``python -m forensics analyse … --with PACKAGE`` in this process."""

    def run(*arguments: Any, by: Path = package, rate: float | str = RATE) -> Done:
        capsys.readouterr()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        options = ("--with", by, "--false-alarms", rate)
        monkeypatch.setattr(sys, "argv", ["forensics", "analyse", *map(str, (*arguments, *options))])
        with pytest.raises(SystemExit) as end:
            main()
        streams = capsys.readouterr()
        return Done(int(end.value.code or 0), streams.out, streams.err)

    return run


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "camera.zip"
    save_package(path, judging_package())
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs of the camera in a folder."""
    folder = tmp_path_factory.mktemp("photos")
    for number, suffix in enumerate(("jpg", "png", "webp")):
        picture(number).save(folder / f"{number}.{suffix}", quality=90)
    return folder


def picture(number: int = 0) -> Image.Image:
    return Image.fromarray(received(judging_package(), 50 + number)[0].movedim(0, -1).numpy())


def check_error(done: Done, *words: str) -> None:
    """One line on stderr beside that of the progress."""
    assert done.code == 2
    assert done.out == ""
    (line,) = [line for line in done.err.splitlines() if not line.startswith("analysis of")]
    assert line.startswith("error:")
    for word in words:
        assert word in line


# --- what it says ---


def test_json_is_what_analyse_says(photos: Path, package: Path, command: Any) -> None:
    done = command(photos, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert (said["false_alarms"], said["refused"]) == (RATE, [])
    assert [Path(row["file"]).name for row in said["photographs"]] == ["0.jpg", "1.png", "2.webp"]
    for row in said["photographs"]:
        found = analyse(load_package(package), Path(row["file"]), RATE)
        assert analyse(load_package(package), row["file"], RATE).log10_lr == found.log10_lr, "a text is a path"
        for name in ("result", "reason", "history", "probabilities", "log10_lr", "log10_threshold", "as_high", "kind"):
            assert row[name] == getattr(found, name), name
        assert (row["height"], row["width"]) == (96, 128)
        assert found.map is not None
        assert row["map"] == {"first": found.map.first, "stride": found.map.stride}


def test_csv_and_table_say_the_same(photos: Path, command: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(command(photos, "--csv").out)))
    said = json.loads(command(photos, "--json").out)["photographs"]
    shown = command(photos).out
    for row, entry in zip(rows, said, strict=True):
        assert (row["file"], row["result"], row["reason"]) == (entry["file"], entry["result"], entry["reason"])
        assert float(row["log10_lr"]) == entry["log10_lr"]
        assert {name: float(row[f"probability_{name}"]) for name in entry["probabilities"]} == entry["probabilities"]
        assert f"{Path(entry['file']).name}: {entry['reason']}" in shown
        cells = next(line for line in shown.splitlines() if line.startswith(f"│ {Path(entry['file']).name} "))
        assert entry["result"] in cells
        assert f"{entry['log10_lr']:.2f}" in cells
        assert f"{entry['log10_threshold']:.2f}" in cells
        assert max(entry["probabilities"], key=entry["probabilities"].get) in cells


def test_three_calls_from_raw_to_answer(package: Path, tmp_path: Path) -> None:
    (raw,) = simulate_folder(PRESETS["sim-gbrg"], tmp_path, 1, 192, 256, seed=3)
    camera = forensics.load_package(package)
    developed = forensics.develop(camera, raw)
    assert (developed.shape, developed.dtype) == ((1, 3, 192, 256), torch.uint8)
    found = forensics.analyse(camera, developed[..., ::2, ::2].contiguous(), RATE)
    assert found.result in RESULTS
    assert found.kind == "unknown"
    (other,) = simulate_folder(PRESETS["sim-rggb"], tmp_path / "other", 1, 96, 128, seed=3)
    with pytest.raises(ValueError, match="camera with CFA GBRG"):
        forensics.develop(camera, other)


# --- odd and broken files ---


def deep_png(pixels: np.ndarray) -> bytes:
    """A PNG file of (H,W,3) uint16, which Pillow does not write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0), b"IDAT" + zlib.compress(rows), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def test_odd_photographs_have_their_answers(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    whole = picture()
    whole.crop((3, 5, 3 + 101, 5 + 77)).save(folder / "crop.jpg", quality=90, subsampling=0)
    once = io.BytesIO()
    whole.save(once, "jpeg", quality=70)
    Image.open(once).save(folder / "twice.jpg", quality=90)
    Image.open(once).save(folder / "screenshot.png")
    whole.transpose(Image.Transpose.ROTATE_90).save(folder / "rotated.png")
    whole.convert("L").save(folder / "grey.jpg", quality=90)
    (folder / "deep.png").write_bytes(deep_png(np.asarray(whole).astype(np.uint16) * 257))
    (folder / "panorama.png").write_bytes(large_png(20_000, 5_000))
    whole.resize((40, 40)).crop((0, 0, 20, 20)).save(folder / "icon.png")
    whole.save(folder / "strong.jpg", quality=10)
    Image.new("RGB", (128, 96), "grey").save(folder / "flat.png")
    whole.resize((256, 192)).save(folder / "large.png")

    said = json.loads(command(folder, "--json").out)
    assert said["refused"] == []
    rows = {Path(row["file"]).name: row for row in said["photographs"]}
    for name in ("crop.jpg", "twice.jpg", "screenshot.png", "rotated.png", "grey.jpg", "deep.png"):
        assert rows[name]["map"], name  # it was looked at
    for name, reason in {
        "panorama.png": "5000×20000 px are larger",
        "large.png": "192×256 px are larger",
        "icon.png": "too small",
        "strong.jpg": "too strongly compressed",
        "flat.png": "too flat",
    }.items():
        assert rows[name]["result"] == "cannot tell"
        assert reason in rows[name]["reason"]
    assert rows["twice.jpg"]["kind"] == rows["grey.jpg"]["kind"] == "jpeg:90"
    assert rows["screenshot.png"]["kind"] == rows["deep.png"]["kind"] == "unknown"
    assert (rows["rotated.png"]["height"], rows["rotated.png"]["width"]) == (128, 96)
    whole.save(tmp_path / "plain.png")
    (plain,) = json.loads(command(tmp_path / "plain.png", "--json").out)["photographs"]
    assert plain["probabilities"] == rows["deep.png"]["probabilities"]


def test_broken_files_are_refused_in_one_line_and_others_analysed(
    command: Any, photos: Path, tmp_path: Path, package: Path
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(photos, folder)
    reasons = write_broken_photographs(folder)
    whole = io.BytesIO()
    picture().save(whole, "jpeg", quality=90)
    (folder / "cut.jpg").write_bytes(whole.getvalue()[:-1500])
    # What says of itself that it is too small need not be read to be refused
    unread = {name for name, reason in reasons.items() if re.search("truncated|transparent|cannot be read", reason)}
    done = command(folder, *(folder / name for name in reasons), "--json", "--html", tmp_path / "page.html")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    refused = {Path(row["file"]).name: row["reason"] for row in said["refused"]}
    assert "truncated" in refused.pop("cut.jpg")
    assert reasons.keys() - unread <= refused.keys() <= reasons.keys()
    for name, reason in refused.items():
        assert re.search(reasons[name], reason), name
        assert "\n" not in reason
    rest = {Path(row["file"]).name: row for row in said["photographs"]}
    assert rest.keys() == {"0.jpg", "1.png", "2.webp"} | (reasons.keys() - refused.keys())
    for name in reasons.keys() - refused.keys():
        assert "too small" in rest[name]["reason"]
    page = (tmp_path / "page.html").read_text()
    assert all(name in page for name in refused)

    check_error(command(*(folder / name for name in refused), "--html", tmp_path / "none.html"), "none of", "can be")
    assert not (tmp_path / "none.html").exists()


# --- maps ---


def test_maps_lie_beside_each_other(command: Any, photos: Path, tmp_path: Path) -> None:
    turned = tmp_path / "more" / "0.jpg"
    turned.parent.mkdir()
    exif = Image.Exif()
    exif[274] = 6
    picture(1).save(turned, quality=90, exif=exif)
    small = tmp_path / "more" / "icon.png"
    picture().resize((20, 20)).save(small)
    said = json.loads(command(photos, turned.parent, "--map", tmp_path / "maps", "--json").out)["photographs"]
    mapped = [row for row in said if row["map"]]
    assert [Path(row["file"]).name for row in said if not row["map"]] == ["icon.png"]
    files = {row["map"][kind] for row in mapped for kind in ("picture", "numbers")}
    assert len(files) == 8
    assert files == {str(path) for path in (tmp_path / "maps").iterdir()}
    for row in mapped:
        numbers = np.load(row["map"]["numbers"])
        assert numbers.dtype == np.float32
        assert numbers.shape == (5, 7, 5)
        assert np.allclose(numbers.sum(axis=-1), 1, atol=1e-5)
        with Image.open(row["map"]["picture"]) as image:
            width, height = image.size
        upright = (96, 128) if Path(row["file"]) == turned.resolve() else (128, 96)
        assert width == upright[0]
        assert upright[1] < height < upright[1] + 150, "the legend is below"
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / "maps").iterdir())
    assert command(photos, turned.parent, "--map", tmp_path / "maps").code == 0
    assert sorted((path.name, path.read_bytes()) for path in (tmp_path / "maps").iterdir()) == before


def test_maps_never_replace_anything_else(command: Any, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    before = {path.name: path.read_bytes() for path in (tmp_path / "photos").iterdir()}
    check_error(command(tmp_path / "photos", "--map", tmp_path / "photos"), "1.png", "no map of this photograph")
    assert {path.name: path.read_bytes() for path in (tmp_path / "photos").iterdir()} == before


# --- the page ---


def test_the_page_shows_pictures_maps_and_words(command: Any, photos: Path, tmp_path: Path) -> None:
    odd = tmp_path / "<b>&.jpg"
    shutil.copy(photos / "0.jpg", odd)
    path = tmp_path / "new" / "page.html"
    done = command(photos, odd, "--html", path)
    assert done.code == 0, done.err
    page = path.read_text()
    assert page.count("data:image/jpeg;base64,") >= 4
    assert "&lt;b&gt;&amp;.jpg" in page
    assert "<b>" not in page, "names and licences are text"
    for words in (
        "Likelihood ratio",
        "False-alarm rate",
        "Cannot tell",
        "10 photographs",
        "none&lt;/b&gt;, all invented",
    ):
        assert words in page
    assert f"{100 * RATE:g} %" in page
    assert not re.findall(r"""(?:src|href|action)=["'](?!data:|#)""", page), "nothing outside of it"
    assert "<script" not in page
    for entry in json.loads(command(photos, "--json").out)["photographs"]:
        assert entry["reason"][1:] in page.replace("&#39;", "'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(command: Any, photos: Path, tmp_path: Path, scheme: str) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    shutil.copy(photos / "0.jpg", tmp_path / f"{'long' * 30}.jpg")
    assert command(photos, tmp_path / f"{'long' * 30}.jpg", "--html", tmp_path / "page.html").code == 0
    with opened(browser, tmp_path / "profile") as page:
        for width in (390, 1200):
            page.open(tmp_path / "page.html", width, 800, scheme)
            assert page.ask("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), width
            assert page.ask("[...document.images].every(image => image.complete && image.naturalWidth && image.alt)")
        dark = page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
        assert dark == (scheme == "dark")
        assert page.complaints == []


# --- what only the user can correct ---


def test_errors_are_one_line(command: Any, photos: Path, tmp_path: Path, package: Path) -> None:
    check_error(command(photos, by=tmp_path / "none.zip"), "none.zip", "no such package")
    save_package(tmp_path / "raw.zip", replace(judging_package(), calibration=None))
    check_error(command(photos, by=tmp_path / "raw.zip"), "no calibration")
    check_error(command(photos, rate=1.5), "1.5")
    check_error(command(photos, rate=0.001, by=package), "10 native photographs")
    check_error(command(photos, "--json", "--csv"), "exclude")
    check_error(command(photos, "--html", photos / "0.jpg"), "HTML")
    check_error(command(tmp_path / "nothing"), "no such file")
    check_error(command(photos, "--map", tmp_path / "maps", rate=0.001), "10 native")
    assert not (tmp_path / "maps").exists()
    assert header(photos / "0.jpg").format == "JPEG"
    assert read(photos / "0.jpg").shape == (1, 3, 96, 128)
    assert isinstance(load_package(package), Package)
