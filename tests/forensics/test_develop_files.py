"""Whole photographs by every pipeline, into files that people look at."""

import io
import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from forensics_command import Command, forensics_command
from PIL import Image, ImageOps

import models
from cameras import photographs
from cameras.container import read_container
from cameras.develop import develop
from cameras.dng import simulate_folder
from cameras.raw import RawFrame
from cameras.shot import PROJECT, exif, read_shot
from cameras.simulate import PRESETS
from forensics.pictures import turned, write_picture
from forensics.trial import Trial
from forensics.whole import Box, develop_whole

EXIF = 34665  # the tag of the EXIF directory
SUFFIXES = {"png": "png", "jpeg": "jpg", "tiff": "tif"}
# Tags of EXIF that are copied from a RAW file
COPIED = {"ExposureTime": 33434, "FNumber": 33437, "ISO": 34855, "DateTimeOriginal": 36867, "FocalLength": 37386}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs ``python -m forensics develop …`` in this process."""
    monkeypatch.chdir(tmp_path)
    return forensics_command(monkeypatch, capsys, "develop")


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_folder(PRESETS["sim-gbrg"], tmp_path_factory.mktemp("raw"), 1, 96, 128, seed=0)[0]


@pytest.fixture(scope="module")
def nip(photograph: Path) -> Path:
    """A file with a NIP of the photograph's camera."""
    frame = RawFrame.open(photograph)
    path = photograph.parent.with_name("nip.safetensors")
    models.save(path, models.build("INet", cfa=frame.cfa, cam2srgb=frame.cam2srgb.tolist()))
    return path


def held(photograph: Path, path: Path, orientation: int) -> Path:
    """A copy of a DNG file by a camera that was held so: EXIF's orientation."""
    content = bytearray(photograph.read_bytes())
    field = content.index(struct.pack("<HHII", 274, 3, 1, 1))
    content[field : field + 12] = struct.pack("<HHII", 274, 3, 1, orientation)
    path.write_bytes(content)
    assert RawFrame.open(path).orientation == orientation
    return path


def pixels(path: Path) -> np.ndarray:
    """As they are stored, in [0,1]; of a TIFF file by a reader that does not turn it."""
    if path.suffix == ".tif":
        return tifffile.imread(path) / 65535
    return photographs.read(path)[0].movedim(0, -1).numpy() / 255


# --- pixels ---


@pytest.mark.parametrize("kind", SUFFIXES)
def test_standard_is_the_target_rounded(photograph: Path, tmp_path: Path, command: Any, kind: str) -> None:
    done = command(photograph, "--out", tmp_path, "--format", kind)
    assert done.code == 0, done.err
    found, target = pixels(tmp_path / f"{photograph.stem}.{SUFFIXES[kind]}"), develop(RawFrame.open(photograph))
    if kind == "jpeg":
        file = io.BytesIO()
        picture = Image.fromarray(np.rint(target * 255).astype(np.uint8))
        picture.save(file, "jpeg", quality=95, subsampling=0)
        assert np.array_equal(np.rint(found * 255), np.asarray(Image.open(file)))
    else:
        assert np.abs(found - target).max() <= 0.5 / (255 if kind == "png" else 65535) + 1e-6


def test_the_quality_of_jpeg_is_what_was_asked_for(photograph: Path, tmp_path: Path, command: Any) -> None:
    assert command(photograph, "--out", tmp_path, "--format", "jpeg", "--quality", 71).code == 0
    header = photographs.header(tmp_path / f"{photograph.stem}.jpg")
    assert (header.jpeg_quality, header.subsampling) == (71, "4:4:4")


@pytest.mark.parametrize("by", ["libraw", "nip"])
def test_others_are_near_the_standard_and_say_how_near(
    photograph: Path, nip: Path, tmp_path: Path, command: Any, by: str
) -> None:
    done = command(photograph.parent, "--with", nip if by == "nip" else by, "--out", tmp_path, "--json")
    (row,) = json.loads(done.out)["developed"]
    assert (row["height"], row["width"]) == (96, 128)
    shown = pixels(Path(row["picture"]))
    assert shown.shape == (96, 128, 3)
    error = ((shown - develop(RawFrame.open(photograph))) ** 2).mean()
    assert row["psnr"] == pytest.approx(-10 * np.log10(error), abs=0.1)
    assert 25 < row["psnr"] < 100


def check_exif(raw: Path, picture: Path) -> None:
    """Pillow reads the tags of both."""
    with Image.open(raw) as opened, Image.open(picture) as made:
        before, after = opened.getexif(), made.getexif()
        assert (after[271], after[272], after[305]) == (before[271], before[272], PROJECT)
        for name, tag in COPIED.items():
            copied, stated = after.get_ifd(EXIF)[tag], before.get_ifd(EXIF)[tag]
            assert copied == (stated if isinstance(stated, str) else pytest.approx(float(stated))), name
    serial = read_container(raw).serial
    assert not serial or serial.encode() not in picture.read_bytes(), "it would tell whose camera it is"


def test_a_real_cr2_is_what_the_nip_makes_of_it(shared_raw: Path, tmp_path: Path, command: Any) -> None:
    """It is larger than a tile."""
    raw = shared_raw / "canon-eos-30d_IMG_5952.CR2"
    frame = RawFrame.open(raw)
    nip = models.build("INet", cfa=frame.cfa, cam2srgb=frame.cam2srgb.tolist())
    models.save(tmp_path / "nip.safetensors", nip)
    done = command(raw, "--with", tmp_path / "nip.safetensors", "--out", tmp_path, "--format", "tiff")
    assert done.code == 0, done.err
    box = Box(400, 700, 300, 300)  # across the border between tiles
    part = develop_whole(nip, torch.from_numpy(frame.bayer).movedim(-1, 0)[None], box=box)
    rows, columns = slice(800, 1400), slice(1400, 2000)
    picture = tmp_path / f"{raw.stem}.tif"
    error = pixels(picture)[rows, columns] - part[0].movedim(0, -1).numpy()
    assert np.abs(error).max() <= 0.5 / 65535 + 1e-6
    check_exif(raw, picture)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_real_dng_keeps_its_exif(shared_raw: Path, tmp_path: Path, command: Any, kind: str) -> None:
    raw = shared_raw / "nikon-d5000_sample3.dng"
    about = exif(read_shot(raw), 1, "0" * 32)
    picture = tmp_path / f"a.{kind}"
    write_picture(picture, np.full((6, 8, 3), 0.5), about, kind)  # type: ignore[arg-type]
    check_exif(raw, picture)
    with Image.open(picture) as made:
        assert made.getexif().get_ifd(EXIF)[33434] == read_shot(raw)["ExposureTime"], "as a fraction"


def test_a_package_develops_as_its_nip(photograph: Path, nip: Path, tmp_path: Path, command: Any) -> None:
    from forensics import FAN
    from forensics.package import Package, save_package

    trial = Trial("sim-gbrg", "INet", lam=0.1, manipulations=("sharpen",))
    package = Package(models.load(nip), FAN(2), trial, (96, 128))
    for name in ("camera.zip", "camera"):
        save_package(tmp_path / name, package)
        assert command(photograph, "--with", tmp_path / name, "--out", tmp_path / f"{name}-out").code == 0
        assert command(photograph, "--with", nip, "--out", tmp_path / f"{name}-out").code == 0, "the same pipeline"
    assert command(photograph, "--with", tmp_path / "camera", "--out", tmp_path / "out").code == 0
    one, other = (pixels(tmp_path / out / f"{photograph.stem}.png") for out in ("out", "camera.zip-out"))
    assert np.array_equal(one, other)


# --- which way up ---


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_as_pillow_turns(orientation: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    image = Image.fromarray(picture)
    image.getexif()[274] = orientation
    assert np.array_equal(turned(picture, orientation), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_pictures_are_upright(photograph: Path, tmp_path: Path, command: Any, kind: str, orientation: int) -> None:
    """In viewers that know EXIF, and by default in those that do not; or as the sensor took them."""
    raw = held(photograph, tmp_path / "IMG.dng", orientation)
    frame = RawFrame.open(raw)
    scene = {1: lambda x: x, 3: lambda x: np.rot90(x, 2), 6: lambda x: np.rot90(x, -1), 8: np.rot90}[orientation](
        develop(frame)
    )
    bound = 0.1 if kind == "jpeg" else 0.5 / 255 + 1e-6
    for option, stated in (("upright", 1), ("sensor", orientation)):
        done = command(raw, "--out", tmp_path / option, "--format", kind, "--orientation", option)
        assert done.code == 0, done.err
        path = tmp_path / option / f"IMG.{SUFFIXES[kind]}"
        with Image.open(path) as picture:
            assert picture.getexif()[274] == stated
            seen = np.asarray(ImageOps.exif_transpose(picture)) / 255
        assert np.abs(seen - scene).mean() <= bound / 2 + (1 / 255 if kind == "tiff" else 0)
        assert seen.shape == scene.shape
        assert np.abs(pixels(path) - (scene if option == "upright" else develop(frame))).mean() <= bound / 2
    row = json.loads(command(raw, "--out", tmp_path / "upright", "--format", kind, "--json").out)["developed"][0]
    assert (row["height"], row["width"]) == scene.shape[:2]


# --- names ---


def test_files_of_one_name_get_pictures_of_their_own(photograph: Path, tmp_path: Path, command: Any) -> None:
    """From two folders, with two suffixes, and in upper and lower case, which some file systems do not tell apart."""
    names = ["A/IMG_1.dng", "B/IMG_1.dng", "B/IMG_1.NEF", "B/img_1.dng", "B/IMG_2.dng", "A/X.dng", "B/x.dng"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photograph, tmp_path / name)
    done = json.loads(command(tmp_path / "A", tmp_path / "B", "--out", tmp_path / "out", "--json").out)["developed"]
    assert {row["file"] for row in done} == {str(tmp_path / name) for name in names}
    pictures = {row["picture"].lower() for row in done}
    assert len(pictures) == len(list((tmp_path / "out").iterdir())) == 7
    assert (tmp_path / "out" / "IMG_2.png").is_file()
    again = json.loads(command(tmp_path / "B", tmp_path / "A", "--out", tmp_path / "out", "--json").out)["developed"]
    assert again == done


def test_a_picture_replaces_only_its_own_kind(photograph: Path, nip: Path, tmp_path: Path, command: Any) -> None:
    """Made again from the same file by the same pipeline; not from another file, by another pipeline, or by hand."""
    arguments = (photograph, "--out", tmp_path, "--format", "jpeg", "--quality")
    assert command(*arguments, 90).code == 0
    picture = tmp_path / f"{photograph.stem}.jpg"
    first = picture.read_bytes()
    assert command(*arguments, 60).code == 0
    second = picture.read_bytes()
    assert len(second) < len(first)

    other = simulate_folder(PRESETS["sim-rggb"], tmp_path / "other", 1, 96, 128, seed=1)[0]
    other = other.rename(tmp_path / "other" / photograph.name)
    for refused in (
        command(other, *arguments[1:], 60),
        command(*arguments, 60, "--with", "libraw"),
        command(*arguments, 60, "--with", nip),
    ):
        assert refused.code == 2
        assert f"{photograph.stem}.jpg exists" in refused.err
        assert picture.read_bytes() == second
    for kind in ("png", "tiff"):
        mine = tmp_path / f"{photograph.stem}.{SUFFIXES[kind]}"
        for content in (b"my notes", b""):
            mine.write_bytes(content)
            assert command(photograph, "--out", tmp_path, "--format", kind).code == 2
            assert mine.read_bytes() == content
        mine.unlink()
        assert [command(photograph, "--out", tmp_path, "--format", kind).code for _ in range(2)] == [0, 0]


def test_names_of_any_bytes_and_a_tilde(
    photograph: Path, nip: Path, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "raw").mkdir()
    shutil.copy(photograph, tmp_path / "raw" / os.fsdecode(b"caf\xe9.dng"))
    shutil.copy(nip, tmp_path / "nip.safetensors")
    done = command("~/raw", "--with", "~/nip.safetensors", "--out", "~/out")
    assert done.code == 0, done.err
    assert r"caf\xe9.dng: " in done.out and r"caf\xe9.png" in done.out
    assert [path.name for path in (tmp_path / "out").iterdir()] == [os.fsdecode(b"caf\xe9.png")]


# --- what is refused ---


def test_refused_files_are_named_and_the_others_developed(photograph: Path, tmp_path: Path, command: Any) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    shutil.copy(photograph, folder / "good.dng")
    (folder / "cut.dng").write_bytes(photograph.read_bytes()[:-100])
    models.save(tmp_path / "rggb.safetensors", models.build("UNet", cfa="RGGB"))
    for by, code, word in (("standard", 0, "truncated"), (tmp_path / "rggb.safetensors", 2, "none of 2")):
        done = command(folder, "--with", by, "--out", tmp_path / "out", "--json")
        assert done.code == code
        if code == 0:
            result = json.loads(done.out)
            assert [Path(row["file"]).name for row in result["developed"]] == ["good.dng"]
            (refused,) = result["refused"]
            assert Path(refused["file"]).name == "cut.dng" and refused["reason"].startswith(word)
        else:
            assert word in done.err and done.out == ""
    done = command(folder / "good.dng", "--with", tmp_path / "rggb.safetensors", "--out", tmp_path / "new")
    assert done.code == 2 and "CFA RGGB, the file has GBRG" in done.err
    done = command(folder, "--out", tmp_path / "shown")
    assert "cut.dng" in done.out and "truncated" in done.out and "good.png" in done.out
    assert [path.name for path in (tmp_path / "shown").iterdir()] == ["good.png"], "nothing is half-written"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("{tmp}/none",), "no such file"),
        (("{tmp}",), "no RAW files"),
        (("{raw}", "--with", "{tmp}/none.safetensors"), "name a package"),
        (("{raw}", "--with", "{tmp}"), "package.json"),
        (("{raw}", "--with", "{raw}"), "no weights file"),
        (("{raw}", "--quality", "80"), "jpeg"),
        (("{raw}", "--out", "{raw}"), "exists"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    photograph: Path, tmp_path: Path, command: Any, arguments: tuple[str, ...], word: str
) -> None:
    done = command(*(argument.format(tmp=tmp_path, raw=photograph) for argument in arguments))
    assert (done.code, done.out) == (2, "")
    (line,) = [line for line in done.err.splitlines() if ": done in " not in line]
    assert line.startswith("error: ") and word in line
    assert not (tmp_path / "developed").exists() or not list((tmp_path / "developed").iterdir())


def test_unusual_values_of_a_shot_are_left_out(tmp_path: Path) -> None:
    """Of a TIFF file with tags of wrong types, of no meaning, or not finite; what is left can be written."""
    from PIL.TiffImagePlugin import IFDRational

    tags = Image.Exif()
    tags[271], tags[272] = "Ma\nker", "M" * 500
    inner = tags.get_ifd(EXIF)
    inner[33434], inner[33437], inner[34855] = IFDRational(1, 0), "f/8", 400
    inner[37386], inner[36867] = IFDRational(0, 1), 7
    (tmp_path / "a.tif").write_bytes(tags.tobytes().removeprefix(b"Exif\0\0"))
    shot = read_shot(tmp_path / "a.tif")
    assert shot == {"Model": "M" * 64, "ISO": 400}
    for kind, suffix in SUFFIXES.items():
        write_picture(tmp_path / f"b.{suffix}", np.zeros((4, 6, 3), np.float32), exif(shot, 1, "0" * 32), kind)  # type: ignore[arg-type]
        with Image.open(tmp_path / f"b.{suffix}") as picture:
            assert (picture.size, picture.getexif()[272]) == ((6, 4), "M" * 64)
