"""DNG files of simulated cameras, read back by LibRaw, by tifffile and by the project itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile

from cameras.dng import simulate_folder, write_dng
from cameras.raw import RawFrame
from cameras.scenes import dead_leaves
from cameras.simulate import PRESETS, SimulatedCamera, capture, frame, lens_blur

CAMERAS = [pytest.param(camera, id=name) for name, camera in PRESETS.items()]


@pytest.mark.parametrize("camera", CAMERAS)
def test_libraw_reads_what_was_written(camera: SimulatedCamera, tmp_path: Path) -> None:
    scene = dead_leaves(96, 128, np.random.default_rng(0))
    mosaic = capture(camera, scene, np.random.default_rng(1))
    path = tmp_path / "one.dng"
    write_dng(path, mosaic, camera)
    with rawpy.imread(str(path)) as raw:
        np.testing.assert_array_equal(raw.raw_image_visible, mosaic)
        cell = raw.raw_colors_visible[:2, :2]
        assert "".join(raw.color_desc.decode()[colour] for colour in cell.flat) == camera.cfa
        assert tuple(np.array(raw.black_level_per_channel)[cell.ravel()]) == camera.black
        assert raw.white_level == camera.white
        np.testing.assert_allclose(raw.camera_whitebalance[:3], camera.white_balance, rtol=1e-5)
        np.testing.assert_allclose(raw.color_matrix[:, :3], camera.cam2srgb, atol=1e-4)
        assert raw.sizes.flip == 0


@pytest.mark.parametrize("camera", CAMERAS)
def test_file_opens_as_the_frame_made_without_it(camera: SimulatedCamera, tmp_path: Path) -> None:
    mosaic = capture(camera, dead_leaves(96, 128, np.random.default_rng(0)), np.random.default_rng(1))
    write_dng(tmp_path / "one.dng", mosaic, camera)
    opened, direct = RawFrame.open(tmp_path / "one.dng"), frame(camera, mosaic)
    assert opened.cfa == direct.cfa
    assert opened.camera == direct.camera == f"{camera.make} {camera.model}"
    assert opened.orientation == direct.orientation
    np.testing.assert_allclose(opened.bayer, direct.bayer, atol=2e-6)  # gains in millionths
    np.testing.assert_allclose(opened.white_balance, direct.white_balance, rtol=2e-6)
    np.testing.assert_allclose(opened.cam2srgb, direct.cam2srgb, atol=1e-4)


@pytest.mark.parametrize("camera", CAMERAS)
def test_libraw_develops_it_into_the_blurred_scene(camera: SimulatedCamera, tmp_path: Path) -> None:
    """A raw converter that knows nothing of this project sees the right colours at the right places."""
    camera = replace(camera, full_well=1e12, read_noise=0.0, prnu=0.0, blur=2.0)
    scene = dead_leaves(128, 192, np.random.default_rng(2))
    write_dng(tmp_path / "one.dng", capture(camera, scene, np.random.default_rng(0)), camera)
    with rawpy.imread(str(tmp_path / "one.dng")) as raw:
        developed = raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0, gamma=(1, 1), output_bps=16
        )
    difference = (developed / 65535) ** (1 / 2.2) - lens_blur(scene, camera.blur) ** (1 / 2.2)
    assert -10 * np.log10(np.mean(difference[8:-8, 8:-8] ** 2)) > 42


def test_same_mosaic_same_bytes_and_no_traces(tmp_path: Path) -> None:
    camera = PRESETS["sim-gbrg"]
    mosaic = np.random.default_rng(0).integers(0, 3880, (32, 48)).astype(np.uint16)
    for name in ("a.dng", "b.dng"):
        write_dng(tmp_path / name, mosaic, camera)
    assert (tmp_path / "a.dng").read_bytes() == (tmp_path / "b.dng").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.dng", "b.dng"}  # no temporary file stays
    with tifffile.TiffFile(tmp_path / "a.dng") as file:
        tags = {tag.code: tag.value for tag in file.pages[0].tags}
    assert not {305, 306, 36867} & tags.keys()  # Software, DateTime, DateTimeOriginal
    assert tags[271] == camera.make
    assert tags[272] == camera.model
    assert tags[50735] == str(camera.body)


def test_an_interrupted_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera, path = PRESETS["sim-gbrg"], tmp_path / "a.dng"
    mosaic = np.random.default_rng(0).integers(0, 3880, (32, 48)).astype(np.uint16)
    write_dng(path, mosaic, camera)
    old = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        write_dng(path, mosaic // 2, camera)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.dng")}


def test_folder_continues_where_it_stopped(tmp_path: Path) -> None:
    camera, seen = PRESETS["sim-rggb"], []
    paths = simulate_folder(
        camera, tmp_path, 3, 32, 48, seed=1, progress=lambda done, count: seen.append((done, count))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [path.name for path in paths] == [f"sim-rggb-000{i}.dng" for i in range(3)]
    before = contents(tmp_path)
    assert len({content for content, _ in before.values()}) == 3

    paths[1].unlink()
    simulate_folder(camera, tmp_path, 4, 32, 48, seed=1)
    after = contents(tmp_path)
    assert len(after) == 4
    for name, (content, time) in before.items():
        assert after[name][0] == content
        assert (after[name][1] == time) == (name != paths[1].name)


@pytest.mark.parametrize("change", [{"seed": 2}, {"width": 64}, {"scenes": "scikit-image"}], ids=str)
def test_folder_of_other_settings_is_refused(change: dict, tmp_path: Path) -> None:
    settings = {"count": 1, "height": 32, "width": 48, "seed": 1}
    simulate_folder(PRESETS["sim-rggb"], tmp_path, **settings)
    with pytest.raises(ValueError, match="other settings"):
        simulate_folder(PRESETS["sim-rggb"], tmp_path, **(settings | change))


def test_odd_size_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even"):
        simulate_folder(PRESETS["sim-rggb"], tmp_path / "new", 1, 33, 48, seed=1)
    assert not (tmp_path / "new").exists()


def test_cameras_with_one_seed_share_scenes_but_no_noise(tmp_path: Path) -> None:
    """The same scene seen by two bodies: what is left after the mean of both models is uncorrelated noise."""
    model = replace(PRESETS["sim-rggb"], prnu=0.0)
    first, second = (
        RawFrame.open(simulate_folder(replace(model, body=body), tmp_path / str(body), 1, 128, 192, seed=5)[0])
        for body in (1, 2)
    )
    scene = frame(
        model,
        capture(
            replace(model, full_well=1e12, read_noise=0.0),
            dead_leaves(128, 192, np.random.default_rng((5, 0))),
            np.random.default_rng(0),
        ),
    )
    noise = [(shot.bayer - scene.bayer)[scene.bayer < 0.9] for shot in (first, second)]
    assert 0 < max(values.std() for values in noise) < 0.02
    assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 5 / np.sqrt(noise[0].size)
