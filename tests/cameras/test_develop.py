"""The standard pipeline: against its formula, and against LibRaw's own development of real files."""

import dataclasses
import itertools
import struct
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from cameras import RawError, RawFrame, develop
from cameras.develop import develop_libraw, develop_stack_libraw
from cameras.dng import write_dng
from cameras.raw import CFA_PATTERNS, sample_positions
from cameras.scenes import dead_leaves
from cameras.simulate import PRESETS, capture, frame, lens_blur


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


def flat(rgb: list[float], **changes: object) -> RawFrame:
    """A frame of one colour."""
    r, g, b = rgb
    settings = {
        "bayer": np.tile(np.float32([r, g, g, b]), (8, 10, 1)),
        "cfa": "GBRG",
        "cam2srgb": np.float32([[1.5, -0.4, -0.1], [-0.2, 1.4, -0.2], [0.1, -0.5, 1.4]]),
        "white_balance": np.ones(3, np.float32),
        "camera": "none",
        "orientation": 1,
    }
    return RawFrame(**(settings | changes))


@pytest.mark.parametrize("demosaic", ["menon", "bilinear"])
@pytest.mark.parametrize("rgb", [[0.2, 0.4, 0.3], [1, 1, 1], [0, 0, 0], [0.9, 0.1, 0.0]])
def test_one_colour(demosaic: Literal["menon", "bilinear"], rgb: list[float]) -> None:
    frame = flat(rgb)
    developed = develop(frame, demosaic)
    assert developed.shape == (16, 20, 3)
    assert developed.dtype == np.float32
    expected = np.clip(frame.cam2srgb @ np.float32(rgb), 0, 1) ** (1 / 2.2)
    np.testing.assert_allclose(developed, np.broadcast_to(expected, developed.shape), atol=2e-3)


def test_brightness() -> None:
    bayer = 0.1 + 0.2 * np.random.default_rng(0).random((32, 40, 4), np.float32)
    frame = flat([0, 0, 0], bayer=bayer, cam2srgb=np.eye(3, dtype=np.float32))
    plain = develop(frame).astype(np.float64) ** 2.2
    shifted = develop(frame, brightness="shift") ** 2.2
    np.testing.assert_allclose(shifted, plain * 0.25 / plain.mean(), atol=1e-4)
    low, high = np.percentile(plain, [0.5, 99.5])
    stretched = develop(frame, brightness="percentile") ** 2.2
    np.testing.assert_allclose(stretched, np.clip((plain - low) / (high - low), 0, 1), atol=1e-4)


@pytest.mark.parametrize("brightness", ["percentile", "shift"])
def test_brightness_of_a_black_frame_is_finite(brightness: Literal["percentile", "shift"]) -> None:
    assert (develop(flat([0, 0, 0]), brightness=brightness) == 0).all()


def test_unknown_settings_are_named() -> None:
    with pytest.raises(ValueError, match="ahd"):
        develop(flat([0, 0, 0]), demosaic="ahd")
    with pytest.raises(ValueError, match="auto"):
        develop(flat([0, 0, 0]), brightness="auto")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_simulated_camera_develops_to_its_scene(preset: str) -> None:
    """Every phase and matrix: what a noiseless camera saw comes back, in its colours and in its place."""
    camera = dataclasses.replace(PRESETS[preset], full_well=1e12, read_noise=0.0, prnu=0.0, blur=3.0)
    rng = np.random.default_rng(4)
    scene = np.kron(rng.uniform(0.1, 0.6, (6, 8, 3)), np.ones((16, 16, 1))).astype(np.float32)
    developed = develop(frame(camera, capture(camera, scene, rng)))
    expected = lens_blur(scene, camera.blur) ** (1 / 2.2)
    assert psnr(developed[8:-8, 8:-8], expected[8:-8, 8:-8]) > 48


# ---- real files --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A real file, developed by LibRaw and by the standard pipeline."""

    frame: RawFrame
    ours: np.ndarray
    libraw: np.ndarray


@pytest.fixture(scope="module", params=["canon-eos-30d_IMG_5952.CR2", "nikon-d5000_sample1.dng"])
def photograph(shared_raw: Path, request: pytest.FixtureRequest) -> Photograph:
    path = shared_raw / request.param
    frame = RawFrame.open(path)
    return Photograph(frame, develop(frame), develop_libraw(path))


def test_agrees_with_libraw(photograph: Photograph) -> None:
    """Same geometry, same colours, same levels, nothing fitted: what remains is the demosaicing."""
    ours, libraw = photograph.ours, photograph.libraw
    assert ours.shape == libraw.shape
    assert ours.dtype == libraw.dtype == np.float32
    assert min(ours.min(), libraw.min()) >= 0
    assert max(ours.max(), libraw.max()) <= 1
    assert psnr(ours, libraw) > 40
    linear_ours, linear_libraw = (image[::3, ::3].astype(np.float64) ** 2.2 for image in (ours, libraw))
    np.testing.assert_allclose(linear_ours.mean((0, 1)), linear_libraw.mean((0, 1)), rtol=5e-3)


# Detailed parts of both pictures, in cells and in pixels: a lattice mast, a tracery window.
CELLS = np.s_[500:600, 350:650]
PIXELS = np.s_[1000:1200, 700:1300]


def test_lies_on_top_of_libraw(photograph: Photograph) -> None:
    """A displacement by one pixel in any direction is clearly worse."""
    libraw = photograph.libraw[PIXELS]
    here = psnr(photograph.ours[PIXELS], libraw)
    for displacement in set(itertools.product((-1, 0, 1), repeat=2)) - {(0, 0)}:
        assert psnr(np.roll(photograph.ours, displacement, (0, 1))[PIXELS], libraw) < here - 3


def chroma_ripple(image: np.ndarray) -> float:
    """Energy of R − G and B − G that alternates from pixel to pixel: zippers, and worse with a wrong phase."""
    chroma = image[..., [0, 2]] - image[..., [1]]
    horizontal = chroma[:, 1:-1] - (chroma[:, 2:] + chroma[:, :-2]) / 2
    vertical = chroma[1:-1] - (chroma[2:] + chroma[:-2]) / 2
    return float(np.mean(horizontal**2) + np.mean(vertical**2))


def test_phase(photograph: Photograph) -> None:
    """Read by another pattern, the sensor's numbers are far from LibRaw; with other greens, they ripple."""
    frame, libraw = photograph.frame, photograph.libraw[PIXELS]
    plane_at = {position: plane for plane, position in enumerate(sample_positions(frame.cfa))}
    fidelity, ripple = {}, {}
    for cfa in CFA_PATTERNS:
        bayer = frame.bayer[(*CELLS, [plane_at[position] for position in sample_positions(cfa)])]
        developed = develop(dataclasses.replace(frame, cfa=cfa, bayer=bayer))
        fidelity[cfa], ripple[cfa] = psnr(developed, libraw), chroma_ripple(developed)
    for cfa in set(CFA_PATTERNS) - {frame.cfa}:
        assert fidelity[cfa] < fidelity[frame.cfa] - 6
        if cfa.index("G") != frame.cfa.index("G"):
            assert ripple[cfa] > 3 * ripple[frame.cfa]


def test_no_zippers(photograph: Photograph) -> None:
    """Chroma ripples no more than LibRaw's; bilinear demosaicing, which has zippers, shows the scale."""
    bilinear = develop(dataclasses.replace(photograph.frame, bayer=photograph.frame.bayer[CELLS]), "bilinear")
    assert chroma_ripple(photograph.ours[PIXELS]) < 1.1 * chroma_ripple(photograph.libraw[PIXELS])
    assert chroma_ripple(bilinear) > 2 * chroma_ripple(photograph.ours[PIXELS])


def test_orientation_is_left_to_the_viewer(shared_raw: Path, tmp_path: Path) -> None:
    """A file that says it was turned develops in sensor orientation, in both pipelines."""
    content = bytearray((shared_raw / "canon-eos-30d_IMG_5952.CR2").read_bytes())
    entry = content.index(struct.pack("<HHIH", 274, 3, 1, 1))  # Orientation, SHORT, one value: 1
    content[entry + 8] = 6
    path = tmp_path / "turned.CR2"
    path.write_bytes(content)
    turned = RawFrame.open(path)
    assert turned.orientation == 6
    assert develop_libraw(path).shape == (2 * turned.bayer.shape[0], 2 * turned.bayer.shape[1], 3)


@pytest.mark.parametrize("brightest", [0.76, 0.9, 0.98])
def test_white_stays_white_in_libraw(tmp_path: Path, brightest: float) -> None:
    """Unless told not to, LibRaw makes the brightest pixel white where it lies between 75 and 99 % of white."""
    camera = dataclasses.replace(PRESETS["sim-rggb"], full_well=1e12, read_noise=0.0, prnu=0.0, blur=3.0)
    rng = np.random.default_rng(4)
    scene = np.kron(rng.uniform(0.1, 0.6, (6, 8, 3)), np.ones((16, 16, 1))).astype(np.float32)
    mosaic = capture(camera, scene, rng)
    mosaic[40, 60] = brightest * camera.white
    write_dng(tmp_path / "a.dng", mosaic, camera)
    expected, libraw = develop(RawFrame.open(tmp_path / "a.dng")), develop_libraw(tmp_path / "a.dng")
    away = np.s_[60:-8, 8:-8]
    assert psnr(libraw[away], expected[away]) > 45


def test_libraw_agrees_where_red_needs_less_gain_than_green(tmp_path: Path) -> None:
    """Gains below 1 are scaled up in both, so that blown-out highlights are white in both."""
    camera = dataclasses.replace(PRESETS["sim-rggb"], white_balance=(0.81, 1.0, 1.4), prnu=0.0, blur=2.0)
    rng = np.random.default_rng(4)
    mosaic = capture(camera, np.kron(rng.uniform(0.1, 0.6, (6, 8, 3)), np.ones((16, 16, 1))), rng)
    mosaic[:48] = camera.white
    write_dng(tmp_path / "a.dng", mosaic, camera)
    ours, libraw = develop(RawFrame.open(tmp_path / "a.dng")), develop_libraw(tmp_path / "a.dng")
    assert ours[:40].min() > 0.999
    assert libraw[:40].min() > 0.999
    np.testing.assert_allclose(ours[56:].mean((0, 1)), libraw[56:].mean((0, 1)), rtol=5e-3)


@pytest.mark.parametrize("name", PRESETS)
def test_libraw_develops_a_stack_as_its_file(name: str, tmp_path: Path) -> None:
    """All Bayer patterns, black levels, gains and matrices: far closer than the two demosaicing methods are."""
    scene = dead_leaves(256, 384, np.random.default_rng(2))
    write_dng(tmp_path / "a.dng", capture(PRESETS[name], scene, np.random.default_rng(3)), PRESETS[name])
    frame, libraw = RawFrame.open(tmp_path / "a.dng"), develop_libraw(tmp_path / "a.dng")
    developed = develop_stack_libraw(frame.bayer, frame.cfa, frame.cam2srgb)
    assert developed.shape == libraw.shape and developed.dtype == libraw.dtype
    assert psnr(developed, libraw) > 55 > 45 > psnr(develop(frame), libraw)


def test_libraw_develops_the_stack_of_a_real_file_as_the_file(photograph: Photograph) -> None:
    frame = photograph.frame
    developed = develop_stack_libraw(frame.bayer, frame.cfa, frame.cam2srgb)
    assert psnr(developed, photograph.libraw) > 57 > 44 > psnr(photograph.ours, photograph.libraw)


def test_libraw_refuses_as_raw_frame_does(tmp_path: Path) -> None:
    (tmp_path / "a.NEF").write_text("no photograph")
    with pytest.raises(RawError, match=r"a\.NEF"):
        develop_libraw(tmp_path / "a.NEF")
