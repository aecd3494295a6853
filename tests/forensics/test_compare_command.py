"""Two pipelines on the same RAW files: figures as scikit-image computes them, and pages that show what they say."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from forensics_command import Command, forensics_command
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import models
from cameras.develop import develop, develop_libraw
from cameras.dng import simulate_folder
from cameras.raw import RawError, RawFrame
from cameras.simulate import PRESETS
from forensics.comparison import DISTANCES, distances
from forensics.comparison_page import GAP, LINE, NARROWEST, SIDE, draw, to_bytes
from forensics.interval import mean_interval
from forensics.spectrum import difference_scale
from models.fidelity import ms_ssim


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs ``python -m forensics compare …`` in this process."""
    monkeypatch.chdir(tmp_path)
    return forensics_command(monkeypatch, capsys, "compare")


@pytest.fixture(scope="module")
def raws(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two photographs of 96×128 px."""
    return simulate_folder(PRESETS["sim-gbrg"], tmp_path_factory.mktemp("raw"), 2, 96, 128, seed=0)


def panel(page: np.ndarray, row: int, column: int, height: int, width: int) -> np.ndarray:
    """Pixels of a page of panels that all have this size, below four lines of text."""
    top = 2 * GAP + 4 * LINE + row * (LINE + height + GAP) + LINE
    left = GAP + column * (max(width, NARROWEST) + GAP)
    return page[top : top + height, left : left + width]


# --- figures ---


def test_figures_are_those_of_scikit_image(raws: list[Path], tmp_path: Path, command: Any) -> None:
    done = command("standard", "libraw", *raws, "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [Path(row["file"]) for row in found["compared"]] == raws
    for row, raw in zip(found["compared"], raws, strict=True):
        a, b = develop(RawFrame.open(raw)), develop_libraw(raw)
        assert row["psnr"] == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-3)
        reference = structural_similarity(
            a, b, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert row["ssim"] == pytest.approx(reference, abs=1e-5)
        tensors = (torch.from_numpy(picture).movedim(-1, 0)[None] for picture in (a, b))
        assert row["ms_ssim"] == pytest.approx(ms_ssim(*tensors).item())
        assert 0 < row["flip"] < 0.2 and not row["identical"]
        assert (row["height"], row["width"]) == a.shape[:2]
    for name in DISTANCES:
        values = [row[name] for row in found["compared"]]
        low, high = scipy.stats.t.interval(0.95, 1, np.mean(values), scipy.stats.sem(values))
        assert found["mean"][name] == pytest.approx({"mean": np.mean(values), "low": low, "high": high})


def test_pictures_too_small_for_ssim() -> None:
    with pytest.raises(RawError, match="10×30 pixels are too few for SSIM, which needs 11×11"):
        distances(*np.zeros((2, 10, 30, 3), np.float32))


def test_one_photograph_has_no_interval(raws: list[Path], tmp_path: Path, command: Any) -> None:
    mean, *bounds = mean_interval([40.0])
    assert mean == 40 and np.isnan(bounds).all()
    done = command("standard", "libraw", raws[0], "--out", tmp_path, "--json")
    assert json.loads(done.out)["mean"]["psnr"]["low"] is None
    assert "mean of" not in command("standard", "libraw", raws[0], "--out", tmp_path).out
    assert "mean of 2" in command("standard", "libraw", *raws, "--out", tmp_path).out


def test_identical_pipelines(raws: list[Path], tmp_path: Path, command: Any) -> None:
    """Infinite PSNR, SSIM 1, FLIP 0, and a black difference; infinity is no number of JSON."""
    frame = RawFrame.open(raws[0])
    models.save(tmp_path / "a.safetensors", models.build("INet", cfa=frame.cfa, cam2srgb=frame.cam2srgb.tolist()))
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    arguments = (tmp_path / "a.safetensors", tmp_path / "b.safetensors", *raws, "--out", tmp_path)
    row = json.loads(command(*arguments, "--json").out)["compared"][0]
    assert (row["psnr"], row["identical"], row["flip"]) == (None, True, 0)
    assert row["ssim"] == pytest.approx(1, abs=1e-6)
    page = np.asarray(Image.open(row["page"]))
    assert (panel(page, 0, 2, 96, 128) == 0).all() and panel(page, 0, 0, 96, 128).any()
    (line, *_) = csv.DictReader(io.StringIO(command(*arguments, "--csv").out))
    assert float(line["psnr"]) == np.inf
    assert " inf " in command(*arguments).out


# --- pages ---


def test_a_page_shows_both_pictures_and_their_difference(raws: list[Path], tmp_path: Path, command: Any) -> None:
    row = json.loads(command("standard", "libraw", raws[0], "--out", tmp_path, "--json").out)["compared"][0]
    assert Path(row["page"]).name == f"{raws[0].stem}-compared.png"
    page = np.asarray(Image.open(row["page"]))
    a, b = develop(RawFrame.open(raws[0])), develop_libraw(raws[0])
    factor = difference_scale(255 * a, 255 * b)
    assert factor > 1
    shown = [panel(page, 0, column, 96, 128) for column in range(3)]
    for picture, expected in zip(shown, (a, b, factor * np.abs(a - b)), strict=True):
        assert np.array_equal(picture, to_bytes(255 * expected))
    psnr = peak_signal_noise_ratio(shown[0], shown[1])
    assert psnr == pytest.approx(row["psnr"], abs=0.2), "of what is shown, which is rounded"


def test_spectra_show_a_periodic_pattern_where_it_is() -> None:
    """Sixteen periods across: two bright points, in the spectrum of the picture that has it and of the difference."""
    a = np.full((96, 128, 3), 0.5, np.float32)
    b = a + 0.1 * np.cos(2 * np.pi * 16 * np.arange(128, dtype=np.float32) / 128)[None, :, None]
    page = np.asarray(draw(a, b, ["file", "A", "B", "distance"]))
    without, with_it, difference = (panel(page, 1, column, 96, 128)[..., 0] for column in range(3))
    assert [tuple(place) for place in np.argwhere(without > 128)] == [(48, 64)], "the mean alone"
    assert {(48, 48), (48, 80)} <= {tuple(place) for place in np.argwhere(with_it > 128)}
    assert {tuple(place) for place in np.argwhere(difference > 128)} == {(48, 48), (48, 80)}


def test_of_a_large_photograph_the_middle_is_shown_pixel_by_pixel() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 600, 700, 3), dtype=np.float32)
    page = np.asarray(draw(a, b, ["1", "2", "3", "4"]))
    assert page.shape[1] == GAP + 3 * (SIDE + GAP)
    whole = 439  # 600 × 512 / 700, rounded
    top = 2 * GAP + 4 * LINE + (LINE + whole + GAP) + LINE
    middle = page[top : top + SIDE, GAP : GAP + SIDE]
    assert np.array_equal(middle, to_bytes(255 * a[44:556, 94:606]))


@pytest.mark.parametrize("orientation", [3, 6])
def test_pages_are_upright(
    raws: list[Path], tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch, orientation: int
) -> None:
    frame = RawFrame.open(raws[0])
    held = RawFrame(**{**vars(frame), "orientation": orientation})
    monkeypatch.setattr(RawFrame, "open", lambda path: held)
    row = json.loads(command("standard", "libraw", raws[0], "--out", tmp_path, "--json").out)["compared"][0]
    upright = np.rot90(to_bytes(255 * develop(frame)), {3: 2, 6: -1}[orientation])
    assert np.array_equal(panel(np.asarray(Image.open(row["page"])), 0, 0, *upright.shape[:2]), upright)


def test_a_page_replaces_only_its_own_kind(raws: list[Path], tmp_path: Path, command: Any) -> None:
    arguments = ("standard", "libraw", raws[0], "--out", tmp_path)
    assert [command(*arguments).code for _ in range(2)] == [0, 0]
    page = tmp_path / f"{raws[0].stem}-compared.png"
    before = page.read_bytes()
    for pipelines in (("libraw", "standard"), ("standard", "standard"), ("libraw", "libraw")):
        done = command(*pipelines, *arguments[2:])
        assert done.code == 2 and f"{page.name} exists" in done.err
    assert page.read_bytes() == before


# --- what is refused ---


def test_refused_files_are_named_and_the_others_compared(raws: list[Path], tmp_path: Path, command: Any) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "good.dng").write_bytes(raws[0].read_bytes())
    (folder / "cut.dng").write_bytes(raws[0].read_bytes()[:-100])
    done = command("standard", "libraw", folder, "--out", tmp_path / "out", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert [Path(row["file"]).name for row in found["compared"]] == ["good.dng"]
    assert [Path(row["file"]).name for row in found["refused"]] == ["cut.dng"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good-compared.png"]


def test_pictures_of_two_sizes_are_refused(
    raws: list[Path], tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forensics.development.develop_libraw", lambda path: np.zeros((96, 130, 3), np.float32))
    done = command("standard", "libraw", raws[0], "--out", tmp_path / "out")
    assert done.code == 2 and "pictures of 96×128 and 96×130 pixels, which cannot be compared" in done.err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("standard", "libraw", "{tmp}/none"), "no such file"),
        (("standard", "none.safetensors", "{raw}"), "name a package"),
        (("{tmp}/rggb.safetensors", "standard", "{raw}"), "CFA RGGB, the file has GBRG"),
        (("standard", "libraw", "{raw}", "--json", "--csv"), "exclude each other"),
        (("standard", "libraw", "{raw}", "--out", "{raw}"), "exists"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    raws: list[Path], tmp_path: Path, command: Any, arguments: tuple[str, ...], word: str
) -> None:
    models.save(tmp_path / "rggb.safetensors", models.build("UNet", torch.Generator().manual_seed(0), cfa="RGGB"))
    done = command(*(argument.format(tmp=tmp_path, raw=raws[0]) for argument in arguments))
    assert (done.code, done.out) == (2, "")
    (line,) = [line for line in done.err.splitlines() if ": done in " not in line]
    assert line.startswith("error: ") and word in line
    assert not (tmp_path / "compared").exists() or not list((tmp_path / "compared").iterdir())
