"""The commands for photographs: what they print."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cameras.dng import write_dng
from cameras.simulate import PRESETS
from study.commands.app import app


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def photo(path: Path, seed: int, preset: str = "sim-gbrg", body: int = 1) -> Path:
    camera = replace(PRESETS[preset], body=body)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dng(path, np.random.default_rng(seed).integers(300, camera.white, (32, 48), dtype=np.uint16), camera)
    return path


def flat(text: str) -> str:
    return " ".join(text.split())


def test_import_names_who_was_left_out_and_the_bodies(tmp_path: Path, command) -> None:
    for seed, (preset, body) in enumerate([("sim-gbrg", 1), ("sim-gbrg", 7), ("sim-gbrg", 7), ("sim-rggb", 1)]):
        photo(tmp_path / "raw" / f"IMG_{seed}.dng", seed, preset, body)
    photo(tmp_path / "raw" / os.fsdecode(b"caf\xe9.dng"), 9)
    done = command("import", tmp_path / "raw", "--camera", "X", "--demosaic", "bilinear", "--workers", 0)
    assert done.exit_code == 0, done.output
    assert re.search(r"IMG_3\.dng .*camera is Simulated R1, but Simulated G1 is imported", done.output)
    assert re.search(r"caf\\xe9\.dng .*no UTF-8 text", done.output)
    assert "X is 2 camera bodies (serial number 7: 2 photographs, 1: 1 photographs)" in flat(done.output)
    done = command(
        "import", tmp_path / "raw", "--camera", "Y", "--model", "R1", "--demosaic", "bilinear", "--workers", 0
    )
    assert done.exit_code == 0, done.output
    assert "Y: 1 of the 150 photographs" in flat(done.output)
    assert "warning" not in done.output
