"""Pairs of RAW files of one scene: found, matched in brightness, refused where they do not fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cameras.develop import develop, develop_libraw
from cameras.raw import RawError, RawFrame
from cameras.simulate import PRESETS, SimulatedCamera, prnu_pattern
from prnu.experiment import central_crop
from prnu.exposures import Exposures, check, find, frames, identity, look, take

CAMERAS = list(PRESETS.values())
EVERYTHING = 2**30  # pixels


def grey(level: float, height: int = 128, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), level, np.float32)


def shot(camera: SimulatedCamera, scene: np.ndarray, folder: Path, exposure: float, seed: int = 0) -> Exposures:
    return take(camera, scene, folder, f"{seed:04d}", np.random.default_rng(seed), exposure)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_a_short_exposure_looks_like_a_long_one_with_more_noise(camera: SimulatedCamera, tmp_path: Path) -> None:
    taken = shot(replace(camera, prnu=0.0), grey(0.3), tmp_path, 1 / 16)
    assert look(taken).gain == pytest.approx(16, rel=0.02)
    long, short = (frame.bayer for frame in frames(taken, EVERYTHING))
    assert short.mean((0, 1)) == pytest.approx(long.mean((0, 1)), rel=0.02)
    ratio = short.std((0, 1)) / long.std((0, 1))
    assert (ratio > 4).all()  # √16 of shot noise, and more of read noise and rounding
    assert (ratio < 16).all()
    assert (short <= 1).all()


def test_both_exposures_carry_the_same_pattern(tmp_path: Path) -> None:
    camera = PRESETS["sim-bggr"]
    pairs = [frames(shot(camera, grey(0.4), tmp_path, 1 / 4, seed), EVERYTHING) for seed in range(20)]
    K = prnu_pattern(camera, 128, 160)
    cells = np.stack([K[y::2, x::2] for y, x in ((1, 1), (0, 1), (1, 0), (0, 0))], axis=-1)  # R, G1, G2, B of BGGR
    for which in (0, 1):
        mean = np.mean([pair[which].bayer for pair in pairs], axis=0)
        relative = mean / mean.mean((0, 1)) - 1
        assert np.corrcoef(relative.ravel(), cells.ravel())[0, 1] > 0.8


def test_gain_is_measured_where_there_is_light(tmp_path: Path) -> None:
    """Black, which clips half of the noise, and what is blown out in the long exposure count for nothing."""
    scene = grey(0.4)
    scene[:40], scene[80:] = 0.0, 1.0
    assert look(shot(PRESETS["sim-rggb"], scene, tmp_path, 1 / 100)).gain == pytest.approx(100, rel=0.03)


def test_libraw_brightens_by_the_gain(tmp_path: Path) -> None:
    taken = shot(PRESETS["sim-rggb"], grey(0.3), tmp_path, 1 / 8)
    developed = develop_libraw(taken.short, look(taken).gain)
    assert developed.mean() == pytest.approx(develop_libraw(taken.long).mean(), rel=0.01)
    assert developed.mean() == pytest.approx(develop(frames(taken, EVERYTHING)[1]).mean(), rel=0.02)


def test_frames_are_crops_of_the_whole(tmp_path: Path) -> None:
    taken = shot(PRESETS["sim-gbrg"], grey(0.3, 256, 320), tmp_path, 1 / 8)
    whole, part = (frames(taken, pixels)[0].bayer for pixels in (EVERYTHING, 96 * 96))
    import torch

    mosaic = torch.from_numpy(whole[..., 0]).repeat_interleave(2, 0).repeat_interleave(2, 1)[None, None]
    assert np.array_equal(central_crop(mosaic, 96 * 96)[0, 0, ::2, ::2], part[..., 0])


def test_files_are_paired_by_their_scene(tmp_path: Path) -> None:
    for name in ("long/00001_00_10s.ARW", "long/00002_00_10s.ARW", "long/00009_00_10s.ARW", "long/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    for name in ("00001_00_0.1s.ARW", "00001_00_0.04s.ARW", "00002_07_0.1s.arw", ".00009_00_0.1s.ARW"):
        (tmp_path / "short").mkdir(exist_ok=True)
        (tmp_path / "short" / name).write_bytes(name.encode())
    found = find(tmp_path)
    assert [(pair.long.name, pair.short.name) for pair in found] == [
        ("00001_00_10s.ARW", "00001_00_0.04s.ARW"),
        ("00002_00_10s.ARW", "00002_07_0.1s.arw"),
    ]
    elsewhere = tmp_path.rename(tmp_path.with_name("moved"))
    assert identity(find(elsewhere)) == identity(
        [Exposures(elsewhere / p.long.relative_to(tmp_path), elsewhere / p.short.relative_to(tmp_path)) for p in found]
    )
    before = identity(find(elsewhere))
    (elsewhere / "short" / "00002_07_0.1s.arw").write_bytes(b"another")
    assert identity(find(elsewhere)) != before


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"long: no such folder; RAW files of low light lie in long/ and short/"):
        find(tmp_path)
    (tmp_path / "long").mkdir()
    (tmp_path / "short").mkdir()
    with pytest.raises(ValueError, match=r"no file in long/ \(0 scenes\) has one in short/ \(0 scenes\)"):
        find(tmp_path)
    with pytest.raises(ValueError, match="between 0 and 1"):
        shot(CAMERAS[0], grey(0.3), tmp_path, 0.0)
    taken = shot(PRESETS["sim-rggb"], grey(0.3), tmp_path, 1 / 8)
    with pytest.raises(ValueError, match="are they exchanged"):
        look(Exposures(taken.short, taken.long))
    other = shot(PRESETS["sim-gbrg"], grey(0.3), tmp_path / "other", 1 / 8)
    with pytest.raises(ValueError, match="are not of one camera"):
        look(Exposures(taken.long, other.short))
    damaged = tmp_path / "short" / "0001.dng"
    damaged.write_bytes(taken.short.read_bytes()[:1000])
    with pytest.raises(RawError, match=r"0001\.dng"):
        look(Exposures(taken.long, damaged))


def test_all_files_are_looked_at_before_the_work(tmp_path: Path) -> None:
    mine = [shot(PRESETS["sim-rggb"], grey(0.3), tmp_path, 1 / 8, seed) for seed in range(2)]
    smaller = shot(PRESETS["sim-rggb"], grey(0.3, 96, 96), tmp_path, 1 / 8, 7)
    other = shot(PRESETS["sim-gbrg"], grey(0.3), tmp_path / "other", 1 / 8)
    check(mine, [other], 96 * 96)
    check(mine, [smaller], 96 * 96)
    with pytest.raises(ValueError, match=r"crops of .*0007\.dng are 96×96, those of .*0000\.dng 128×"):
        check(mine, [smaller], EVERYTHING)
    for unfit in (smaller, other):
        with pytest.raises(ValueError, match=r"is of another camera or size than .*0000\.dng"):
            check([*mine, unfit], [], 96 * 96)
    with pytest.raises(ValueError, match=r"0001\.dng is among the scenes of the camera itself"):
        check(mine, mine[1:], 96 * 96)


def test_brackets_of_a_real_camera(shared_raw: Path) -> None:
    """Three exposures of one scene, 1/40, 1/160 and 1/640 s: what is measured is what the camera was set to."""
    seconds = {"sample3": 1 / 40, "sample1": 1 / 160, "sample2": 1 / 640}
    files = {name: shared_raw / f"nikon-d5000_{name}.dng" for name in seconds}
    for long, short in (("sample3", "sample1"), ("sample1", "sample2"), ("sample3", "sample2")):
        taken = Exposures(files[long], files[short])
        assert look(taken).gain == pytest.approx(seconds[long] / seconds[short], rel=0.1)
        bright, amplified = frames(taken, 512 * 512)
        assert amplified.bayer.mean() == pytest.approx(bright.bayer.mean(), rel=0.1)
    assert RawFrame.open(files["sample1"]).camera == bright.camera
