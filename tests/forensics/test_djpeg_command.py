"""``python -m forensics djpeg`` and ``tables``: the validation of dJPEG, and the export of tables that learned."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from forensics_command import Command, forensics_command
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

import models
from channel.codecs.learned_jpeg import SPEED, LearnedJPEG
from forensics.compression.djpeg import QUALITIES, ROUNDINGS, Agreement, as_libjpeg, means


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs ``python -m forensics …`` in this process."""
    monkeypatch.chdir(tmp_path)
    return forensics_command(monkeypatch, capsys)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(data.chelsea()[60:181, 100:235]).save(folder / "cat.png")
    Image.fromarray(data.coffee()[150:262, 60:196]).save(folder / "coffee.png")
    return folder


def refused(done: tuple[int, str, str], *words: str) -> None:
    code, out, err = done
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if not line.startswith("dJPEG and libjpeg on")]
    assert line.startswith("error:")
    for word in words:
        assert word in line


# --- djpeg ---


def test_every_photograph_quality_and_rounding_is_measured(photos: Path, command: Command, tmp_path: Path) -> None:
    code, out, err = command("djpeg", photos, "--out", "figures/validation.png", "--json")
    assert code == 0, err
    rows = list(csv.DictReader(io.StringIO((tmp_path / "figures/validation.csv").read_text())))
    found = {(row["photograph"], row["subsampling"], int(row["quality"]), row["rounding"]): row for row in rows}
    assert found.keys() == {
        (name, subsampling, quality, rounding)
        for name in ("cat.png", "coffee.png")
        for subsampling in ("4:4:4", "4:2:0")
        for quality in QUALITIES
        for rounding in ROUNDINGS
    }
    assert len(found) == len(rows)
    # libjpeg's PSNR, by other programs
    original = np.array(Image.open(photos / "cat.png"))
    for subsampling in ("4:4:4", "4:2:0"):
        for quality in (10, 60):
            file = io.BytesIO()
            Image.fromarray(original).save(file, "JPEG", quality=quality, subsampling=subsampling)
            expected = peak_signal_noise_ratio(original, np.array(Image.open(file)))
            row = found["cat.png", subsampling, quality, "sin"]
            assert float(row["libjpeg"]) == pytest.approx(expected, abs=1e-3)
    for row in rows:
        djpeg, libjpeg, between = (float(row[name]) for name in ("djpeg", "libjpeg", "between"))
        if row["rounding"] in ("round", "soft", "straight-through"):
            assert between > 40
            assert djpeg == pytest.approx(libjpeg, abs=0.7)
        elif row["rounding"] == "sin" and int(row["quality"]) <= 80:
            assert djpeg > libjpeg + 1  # the paper's Fig. 6d: it keeps more than it should
    document = json.loads(out)
    assert document["photographs"] == 2
    for mean in document["means"]:
        two = [
            float(found[name, mean["subsampling"], mean["quality"], mean["rounding"]]["between"])
            for name in ("cat.png", "coffee.png")
        ]
        assert mean["between"] == pytest.approx(np.mean(two))
    with Image.open(tmp_path / "figures/validation.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 500


def test_the_table_says_what_the_file_says(photos: Path, command: Command, tmp_path: Path) -> None:
    code, out, err = command("djpeg", photos / "cat.png", "--out", "one.png", "--side", 64)
    assert code == 0, err
    rows = list(csv.DictReader(io.StringIO((tmp_path / "one.csv").read_text())))
    for row in rows:
        assert f"{float(row['djpeg']):.1f} ({float(row['between']):.1f})" in out
        assert f"{float(row['libjpeg']):.1f}" in out
    middle = np.array(Image.open(photos / "cat.png"))[28:92, 35:99]
    file = io.BytesIO()
    Image.fromarray(middle).save(file, "JPEG", quality=50, subsampling="4:4:4")
    (row,) = (row for row in rows if (row["subsampling"], row["quality"], row["rounding"]) == ("4:4:4", "50", "sin"))
    expected = peak_signal_noise_ratio(middle, np.array(Image.open(file)))
    assert float(row["libjpeg"]) == pytest.approx(expected, abs=1e-3)
    assert "one.png, one.csv" in out


def test_unreadable_photographs_end_in_one_line(photos: Path, command: Command, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no photograph")
    refused(command("djpeg", photos / "cat.png", broken, "--out", "a.png", "--side", 16), "broken.jpg")
    refused(command("djpeg", tmp_path / "missing.jpg", "--out", "a.png"), "missing.jpg", "no such file")
    assert not (tmp_path / "a.png").exists() and not (tmp_path / "a.csv").exists()


def test_nothing_is_replaced(photos: Path, command: Command, tmp_path: Path) -> None:
    refused(command("djpeg", photos, "--out", "a.jpg"), "a.jpg", "PNG")
    (tmp_path / "a.csv").write_text("mine")
    refused(command("djpeg", photos, "--out", "a.png"), "a.csv", "exists")
    assert (tmp_path / "a.csv").read_text() == "mine"


def test_as_libjpeg_interpolates() -> None:
    def curve(*pairs: tuple[int, float, float]) -> list[Agreement]:
        return [Agreement("", "4:4:4", quality, "sin", djpeg, libjpeg, 40) for quality, djpeg, libjpeg in pairs]

    rising = curve((10, 27.0, 25.0), (50, 33.5, 30.0), (80, 39.0, 35.0), (90, 36.0, 38.0))
    assert as_libjpeg(rising, 10) == pytest.approx(26)
    assert as_libjpeg(rising, 50) == pytest.approx(71)
    assert as_libjpeg(rising, 80) is None  # beyond the curve
    assert as_libjpeg(curve((10, 30.0, 31.0), (50, 30.5, 30.0)), 50) is None
    assert as_libjpeg(curve((10, math.inf, 31.0), (50, math.inf, math.inf)), 50) is None


def test_means_are_over_photographs_alone() -> None:
    rows = [Agreement(name, "4:4:4", q, "sin", q + d, q, 40 + d) for name, d in (("a", 1), ("b", 3)) for q in (10, 20)]
    assert means(rows) == [Agreement("", "4:4:4", q, "sin", q + 2, q, 42) for q in (10, 20)]


# --- tables ---


def test_tables_are_printed_for_cjpeg(command: Command, tmp_path: Path) -> None:
    codec = LearnedJPEG(60)
    codec.log_steps.data += torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(1)) / SPEED
    models.save(tmp_path / "codec.safetensors", codec)
    code, out, err = command("tables", "codec.safetensors")
    assert code == 0, err
    numbers = [int(word) for line in out.splitlines() if not line.startswith("#") for word in line.split()]
    assert numbers == codec.tables().flatten().tolist()
    assert "quality 60;" in out
    nearest = int(out.splitlines()[0].rpartition(" ")[2])
    assert 25 < nearest < 60  # the steps have grown by 65 % on average


@pytest.mark.parametrize("kind", ("missing", "damaged", "nip"))
def test_other_files_have_no_tables(command: Command, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{kind}.safetensors"
    if kind == "damaged":
        path.write_bytes(b"no weights")
    elif kind == "nip":
        models.save(path, models.build("INet"))
    refused(command("tables", path), path.name)
