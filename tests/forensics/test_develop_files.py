"""Whole photographs by every pipeline."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import models
from cameras.develop import develop
from cameras.dng import simulate_folder
from cameras.raw import RawFrame
from cameras.simulate import PRESETS
from forensics.develop import develop_files


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_folder(PRESETS["sim-gbrg"], tmp_path_factory.mktemp("raw"), 1, 96, 128, seed=0)[0]


def test_standard_is_the_target_in_8_bits(photograph: Path, tmp_path: Path) -> None:
    ((path, picture, remark),) = develop_files([photograph], "standard", tmp_path)
    assert (path, remark) == (photograph, "")
    assert picture is not None
    pixels = np.asarray(Image.open(picture))
    assert np.abs(pixels / 255 - develop(RawFrame.open(photograph))).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("pipeline", ["libraw", "INet"])
def test_others_are_near_it_and_say_how_near(photograph: Path, tmp_path: Path, pipeline: str) -> None:
    if pipeline == "INet":
        frame = RawFrame.open(photograph)
        models.save(tmp_path / "nip.safetensors", models.build("INet", cfa=frame.cfa, cam2srgb=frame.cam2srgb.tolist()))
        pipeline = str(tmp_path / "nip.safetensors")
    ((_, picture, remark),) = develop_files([photograph.parent], pipeline, tmp_path / "out")
    assert picture is not None
    assert Image.open(picture).size == (128, 96)
    assert float(remark.split(" dB")[0]) > 25


def test_files_of_one_name_get_pictures_of_their_own(photograph: Path, tmp_path: Path) -> None:
    """From two folders, with two suffixes, and in upper and lower case, which some file systems do not tell apart."""
    names = ["A/IMG_1.dng", "B/IMG_1.dng", "B/IMG_1.NEF", "B/img_1.dng", "B/IMG_2.dng", "A/X.dng", "B/x.dng"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photograph, tmp_path / name)
    done = list(develop_files([tmp_path / "A", tmp_path / "B"], "standard", tmp_path / "out"))
    assert {path for path, _, _ in done} == {tmp_path / name for name in names}
    pictures = {str(picture).lower() for _, picture, _ in done}
    assert len(pictures) == len(list((tmp_path / "out").iterdir())) == 7
    assert (tmp_path / "out" / "IMG_2.png").is_file()
    again = list(develop_files([tmp_path / "B", tmp_path / "A"], "standard", tmp_path / "out"))
    assert again == done


def test_a_tilde_is_the_home_folder(photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    frame = RawFrame.open(photograph)
    models.save(tmp_path / "nip.safetensors", models.build("INet", cfa=frame.cfa, cam2srgb=frame.cam2srgb.tolist()))
    ((_, picture, _),) = develop_files([photograph], "~/nip.safetensors", Path("~/out"))
    assert picture == tmp_path / "out" / f"{photograph.stem}.png"
    assert picture.is_file()


def test_a_nip_of_another_camera_is_refused(photograph: Path, tmp_path: Path) -> None:
    models.save(tmp_path / "nip.safetensors", models.build("UNet", cfa="RGGB"))
    ((_, picture, remark),) = develop_files([photograph], str(tmp_path / "nip.safetensors"), tmp_path)
    assert picture is None
    assert "CFA RGGB, the file has GBRG" in remark


def test_what_cannot_be_used_is_one_line(photograph: Path, tmp_path: Path) -> None:
    for paths, pipeline in (([tmp_path / "none"], "standard"), ([photograph], str(tmp_path / "none.safetensors"))):
        with pytest.raises(ValueError, match="none"):
            list(develop_files(paths, pipeline, tmp_path))
