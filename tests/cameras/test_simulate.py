"""Simulated cameras against the model they state: optics, colours, noise and PRNU."""

import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cameras.develop import GAMMA, develop
from cameras.scenes import dead_leaves
from cameras.simulate import PRESETS, SimulatedCamera, capture, frame, lens_blur, prnu_pattern

CAMERAS = [pytest.param(camera, id=name) for name, camera in PRESETS.items()]


def noiseless(camera: SimulatedCamera, blur: float) -> SimulatedCamera:
    """The camera without PRNU and read noise, and with wells so deep that shot noise does not matter."""
    return replace(camera, full_well=1e12, read_noise=0.0, prnu=0.0, blur=blur, white=2**camera.bits - 1)


def grey(level: float, height: int = 512, width: int = 512) -> np.ndarray:
    return np.full((height, width, 3), level, np.float32)


def sites(image: np.ndarray) -> np.ndarray:
    """(H, W) -> (4, H·W/4), one row per position in the 2×2 cell."""
    return np.stack([image[y::2, x::2].ravel() for y in (0, 1) for x in (0, 1)])


def electrons_and_gain(camera: SimulatedCamera, light: float) -> tuple[np.ndarray, np.ndarray]:
    """Of a grey scene, by position in the cell, as the model states: electrons; numbers per electron."""
    share = np.array([1 / camera.white_balance["RGB".index(colour)] for colour in camera.cfa])
    return camera.full_well * light * share, (camera.white - np.array(camera.black)) / camera.full_well


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def psnr(a: np.ndarray, b: np.ndarray, border: int = 8) -> float:
    inside = np.s_[border:-border, border:-border]
    return float(-10 * np.log10(np.mean((a[inside] - b[inside]) ** 2)))


def test_presets_cover_all_patterns_and_differ() -> None:
    assert {camera.cfa for camera in PRESETS.values()} == {"RGGB", "BGGR", "GBRG", "GRBG"}
    assert len({camera.identity for camera in PRESETS.values()}) == len(PRESETS)
    for camera in PRESETS.values():
        np.testing.assert_allclose(camera.cam2srgb.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("camera", CAMERAS)
def test_noiseless_capture_develops_into_the_blurred_scene(camera: SimulatedCamera) -> None:
    """The standard pipeline undoes the camera: right colours at the right places in all four phases."""
    camera = noiseless(camera, blur=2.0)  # soft enough for demosaicing to be nearly exact
    scene = dead_leaves(128, 192, np.random.default_rng(2))
    raw = frame(camera, capture(camera, scene, np.random.default_rng(0)))
    truth = lens_blur(scene, camera.blur) ** (1 / GAMMA)
    assert psnr(develop(raw), truth) > 42
    turned = {"RGGB": "GRBG", "GRBG": "RGGB", "BGGR": "GBRG", "GBRG": "BGGR"}[camera.cfa]
    assert psnr(develop(replace(raw, cfa=turned)), truth) < 32  # so the figure above would show a wrong phase


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("light", [0.05, 0.3, 0.8])
def test_flat_field_has_the_stated_noise(camera: SimulatedCamera, light: float) -> None:
    """Mean g·e; variance between shots g²(e + read²) + 1/12 from rounding; within a shot also g²(e·prnu)²."""
    rng = np.random.default_rng(4)
    first, second = (capture(camera, grey(light), rng).astype(np.float64) for _ in range(2))
    electrons, gain = electrons_and_gain(camera, light)
    n = first.size / 4
    temporal = gain**2 * (electrons + camera.read_noise**2) + 1 / 12
    total = temporal + (gain * electrons * camera.prnu) ** 2
    five_sigma = 5 * np.sqrt(2 / n)  # of a variance estimated from n samples, relative
    np.testing.assert_allclose(sites(first - second).var(axis=1) / 2, temporal, rtol=five_sigma)
    np.testing.assert_allclose(sites(first).var(axis=1), total, rtol=five_sigma)
    mean = np.array(camera.black) + gain * electrons
    assert np.all(np.abs(sites(first).mean(axis=1) - mean) < 5 * np.sqrt(total / n))


@pytest.mark.parametrize("camera", CAMERAS)
def test_averaged_flat_fields_reveal_the_prnu_pattern(camera: SimulatedCamera) -> None:
    light, shots, rng = 0.8, 12, np.random.default_rng(6)
    mean = np.mean([capture(camera, grey(light, 256, 256), rng) for _ in range(shots)], axis=0)
    electrons, _ = electrons_and_gain(camera, light)
    for seen, true, e in zip(sites(mean), sites(prnu_pattern(camera, 256, 256)), electrons, strict=True):
        noise = (e + camera.read_noise**2) / shots  # what averaging leaves, in electrons²
        expected = 1 / np.sqrt(1 + noise / (e * camera.prnu) ** 2)
        assert abs(correlation(seen, true) - expected) < 0.02


def test_prnu_patterns_belong_to_bodies() -> None:
    bodies = [replace(camera, body=body) for camera in PRESETS.values() for body in (1, 2)]
    patterns = [prnu_pattern(camera, 300, 400) for camera in bodies]
    for camera, pattern in zip(bodies, patterns, strict=True):
        assert pattern.dtype == np.float32
        assert abs(pattern.std() / camera.prnu - 1) < 0.01
        assert abs(pattern.mean()) < 5 * camera.prnu / np.sqrt(pattern.size)
        np.testing.assert_array_equal(prnu_pattern(camera, 40, 290), pattern[:40, :290])
    limit = 5 / np.sqrt(patterns[0].size)
    assert all(abs(correlation(a, b)) < limit for a, b in combinations(patterns, 2))


@pytest.mark.parametrize("camera", CAMERAS)
def test_capture_is_seeded(camera: SimulatedCamera) -> None:
    scene = dead_leaves(64, 64, np.random.default_rng(0))
    mosaic = capture(camera, scene, np.random.default_rng(1))
    assert mosaic.dtype == np.uint16
    assert mosaic.shape == (64, 64)
    np.testing.assert_array_equal(mosaic, capture(camera, scene, np.random.default_rng(1)))
    assert not np.array_equal(mosaic, capture(camera, scene, np.random.default_rng(2)))


@pytest.mark.parametrize("camera", CAMERAS)
def test_full_wells_clip_and_hide_the_pattern(camera: SimulatedCamera) -> None:
    rng = np.random.default_rng(3)
    shots = np.stack([capture(camera, grey(1.0, 64, 64), rng, exposure=5.0) for _ in range(8)]).astype(float)
    assert shots.max() <= 2**camera.bits - 1
    assert abs(shots.mean() - camera.white) < 2
    assert abs(correlation(shots.mean(axis=0), prnu_pattern(camera, 64, 64))) < 5 / 64


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.0, 2.3])
def test_lens_blur_is_a_gaussian(sigma: float) -> None:
    scene = dead_leaves(40, 50, np.random.default_rng(0))
    expected = gaussian_filter(scene, (sigma, sigma, 0), mode="nearest", truncate=5)
    np.testing.assert_allclose(lens_blur(scene, sigma), expected, atol=2e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"cfa": "RGBG"},
        {"white": 100},
        {"white": 4096},
        {"bits": 17},
        {"black": (-1, 0, 0, 0)},
        {"white_balance": (2.0, 1.1, 1.5)},
        {"full_well": 0.0},
        {"read_noise": -1.0},
        {"prnu": -0.1},
    ],
    ids=str,
)
def test_impossible_camera_is_refused(change: dict) -> None:
    with pytest.raises(ValueError, match=r"camera sim-rggb|Bayer pattern"):
        replace(PRESETS["sim-rggb"], **change)


@pytest.mark.parametrize("shape", [(31, 32, 3), (32, 31, 3), (32, 32), (32, 32, 4)])
def test_unfit_scene_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="even H and W"):
        capture(PRESETS["sim-rggb"], np.zeros(shape, np.float32), np.random.default_rng(0))


def test_simulation_needs_numpy_and_torch_alone() -> None:
    script = """
import sys
for name in ("PIL", "scipy", "skimage", "tifffile", "rawpy", "matplotlib"):
    sys.modules[name] = None  # an import of it raises ImportError
import numpy as np
from cameras.scenes import dead_leaves
from cameras.simulate import PRESETS, capture, frame
rng = np.random.default_rng(0)
camera = PRESETS["sim-gbrg"]
assert frame(camera, capture(camera, dead_leaves(64, 64, rng), rng)).bayer.shape == (32, 32, 4)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
