"""Scenes: what every source promises, and whether dead leaves look like what they stand for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import kstest

from cameras import scenes

KINDS = ("dead-leaves", "scikit-image", "folder")


def some_photograph(height: int, width: int) -> np.ndarray:
    """A photograph (height, width, 3) uint8 in which every pixel differs from its neighbours."""
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    Image.fromarray(some_photograph(90, 70)).save(folder / "small.png")
    Image.fromarray(some_photograph(300, 500)).save(folder / "trip" / "large.webp")
    (folder / "notes.txt").write_text("no photograph")
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 96), (131, 77)])
def test_every_source_gives_seeded_linear_scenes(kind: str, size: tuple[int, int], photo_folder: Path) -> None:
    sources = scenes.scene_sources(photo_folder if kind == "folder" else kind)
    for source in sources.values():
        scene = source(*size, np.random.default_rng(1))
        assert scene.shape == (*size, 3)
        assert scene.dtype == np.float32
        assert scene.min() >= 0
        assert scene.max() <= 1
        assert scene.std() > 0.01
        np.testing.assert_array_equal(scene, source(*size, np.random.default_rng(1)))
        others = [source(*size, np.random.default_rng(seed)) for seed in range(2, 5)]
        assert any(not np.array_equal(scene, other) for other in others)


def test_folder_is_searched_in_depth_and_in_order(photo_folder: Path) -> None:
    assert list(scenes.scene_sources(photo_folder)) == ["small.png", "trip/large.webp"]


def test_srgb_to_linear_inverts_the_srgb_curve() -> None:
    linear = scenes.srgb_to_linear(np.arange(256, dtype=np.uint8)).astype(np.float64)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(encoded * 255, np.arange(256), atol=1e-3)


def test_larger_photograph_is_reduced_in_linear_light() -> None:
    photograph = some_photograph(64, 96)  # exactly twice the scene: no choice is left but the flip
    boxes = scenes.srgb_to_linear(photograph).reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    seen = [scenes.photo_scene(photograph, 32, 48, np.random.default_rng(seed)) for seed in range(8)]
    flipped = [np.abs(scene - boxes[:, ::-1]).max() < 1e-5 for scene in seen]
    upright = [np.abs(scene - boxes).max() < 1e-5 for scene in seen]
    assert all(np.logical_xor(flipped, upright))
    assert any(flipped)
    assert any(upright)


def test_smaller_photograph_goes_on_mirrored() -> None:
    photograph = some_photograph(20, 16)
    scene = scenes.photo_scene(photograph, 40, 32, np.random.default_rng(0))
    left_right = np.concatenate([photograph, photograph[:, ::-1]], axis=1)
    mirrored = np.concatenate([left_right, left_right[::-1]])
    np.testing.assert_array_equal(scene, scenes.srgb_to_linear(mirrored))  # its own mirror image, flipped or not


@pytest.mark.parametrize("content", ["missing", "empty", "text", "truncated"])
def test_unfit_folder_is_refused_by_name(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    if content != "missing":
        folder.mkdir()
    if content == "text":
        (folder / "letter.jpg").write_text("dear reader")
    if content == "truncated":
        Image.fromarray(some_photograph(64, 64)).save(folder / "half.png")
        whole = (folder / "half.png").read_bytes()
        (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="photos"):
        for source in scenes.scene_sources(folder).values():
            source(32, 32, np.random.default_rng(0))


def test_photographs_make_scenes(shared_photos: Path) -> None:
    source = next(iter(scenes.scene_sources(shared_photos).values()))
    assert source(256, 384, np.random.default_rng(0)).std() > 0.05


def test_leaves_follow_the_power_law() -> None:
    _, _, radius = scenes._drop_leaves(512, 768, np.random.default_rng(3))
    smallest, largest = scenes.SMALLEST_LEAF, 256.0

    def cumulative(r: np.ndarray) -> np.ndarray:  # of the density r^-3
        return (smallest**-2 - r**-2) / (smallest**-2 - largest**-2)

    assert kstest(radius[1:], cumulative).pvalue > 1e-3


def test_dead_leaves_have_the_statistics_of_photographs() -> None:
    """Amplitude spectrum near 1/f; by the paper's variance filter, mostly textured patches and a few flat."""
    rng = np.random.default_rng(11)
    spectrum, variance = np.zeros((256, 256)), []
    for _ in range(8):
        scene = scenes.dead_leaves(256, 256, rng)
        window = np.hanning(256)[:, None] * np.hanning(256)
        luminance = np.log(scene.mean(axis=2) + 1e-3)
        spectrum += np.abs(np.fft.fft2((luminance - luminance.mean()) * window))
        patches = (scene ** (1 / 2.2)).reshape(4, 64, 4, 64, 3).swapaxes(1, 2).reshape(16, -1)
        variance.extend(patches.var(axis=1))
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256))
    band = (frequency > 0.02) & (frequency < 0.4)
    slope = -np.polyfit(np.log(frequency[band]), np.log(spectrum[band]), 1)[0]
    assert 0.8 < slope < 1.5  # natural images: 0.8 to 1.5 (Torralba & Oliva 2003)
    assert 0.6 < np.mean(np.array(variance) >= 0.01) < 0.98
    assert np.mean(np.array(variance) >= 0.02) > 0.4
    assert min(variance) < 0.005
