"""A UNet between short and long exposures, and Table 3."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import models
from cameras.develop import develop
from cameras.simulate import PRESETS, SimulatedCamera
from models.fidelity import psnr
from models.pretrain import Pretraining
from prnu.experiment import PAPER, OtherCamera, Pipeline, Proportion, split
from prnu.exposures import Exposures, frames, take
from prnu.lowlight import learn, low_light, pipelines

NAMES = [f"{index:04d}.dng" for index in range(12)]


def scene(seed: int, height: int = 128, width: int = 160) -> np.ndarray:
    """Smooth light, (height, width, 3)."""
    coarse = 0.1 + 0.6 * torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return smooth[0].movedim(0, -1).numpy()


def taken(camera: SimulatedCamera, seed: int, folder: Path, size: int | None = None) -> Exposures:
    light = scene(seed) if size is None else scene(seed, size, size)
    return take(camera, light, folder, f"{seed:04d}", np.random.default_rng(seed), 1 / 30)


def test_a_unet_learns_to_develop_short_exposures_like_long_ones(tmp_path: Path) -> None:
    camera = PRESETS["sim-gbrg"]
    scenes = [taken(camera, i, tmp_path, size=64) for i in range(5)]
    settings = Pretraining(
        patch=8, batch=4, learning_rate=1e-3, max_iterations=20, check_every=10, validation_patch=16, tolerance=0
    )
    steps: list[int] = []
    metrics: dict[int, dict[str, float]] = {}
    done = learn(scenes, 2, settings, on_step=steps.append, on_metrics=metrics.__setitem__)
    assert steps == list(range(1, 21))
    start = metrics[0]["psnr"]
    assert done.psnr > start + 3
    long, short = frames(scenes[-1], PAPER.pixels)
    with torch.no_grad():
        developed = done.nip(torch.from_numpy(short.bayer).movedim(-1, 0)[None])[0].movedim(0, -1)
    error = developed.numpy() - develop(long)
    assert 10 * np.log10(1 / np.mean(error**2)) > start + 3  # the target is the long exposure, not the short one


def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path) -> None:
    one, other = (taken(PRESETS[name], 0, tmp_path / name, size=64) for name in ("sim-gbrg", "sim-rggb"))
    with pytest.raises(ValueError, match="2 scenes are too few"):
        learn([one, one], 2, Pretraining())
    with pytest.raises(ValueError, match=r"0000\.dng is of another camera or size than"):
        learn([one, other, one], 1, Pretraining())


def test_the_three_pipelines_develop_the_same_crop(tmp_path: Path) -> None:
    """Brightened by LibRaw or amplified for the NIP, short exposures are as bright as long ones."""
    camera = PRESETS["sim-rggb"]
    scenes = [taken(camera, i, tmp_path) for i in range(2)]
    standard = models.build("INet", cfa=camera.cfa, cam2srgb=camera.cam2srgb.tolist())
    found = {pipeline.name: pipeline.develop(1) for pipeline in pipelines(scenes, standard, 64 * 96, "cpu")}
    assert list(found) == ["libRAW (long)", "libRAW (short)", "UNet (short)"]
    long = found.pop("libRAW (long)")
    assert long.shape == (1, 3, 78, 78)  # the square of as many pixels
    for image in found.values():
        assert image.shape == long.shape
        assert image.mean().item() == pytest.approx(long.mean().item(), rel=0.05)
        assert psnr(image, long).item() > 20


def test_table_3(tmp_path: Path) -> None:
    camera = replace(PRESETS["sim-bggr"], prnu=0.03)
    other_body = replace(camera, body=2)

    def by_standard(camera: SimulatedCamera, exposure: str) -> Callable[[int], Tensor]:
        def develop_one(index: int) -> Tensor:
            pair = taken(camera, index, tmp_path / str(camera.body))
            frame = frames(pair, PAPER.pixels)[exposure == "short"]
            return torch.from_numpy(develop(frame, "bilinear")).movedim(-1, 0)[None]

        return develop_one

    reported: list[tuple[int, int]] = []
    table = low_light(
        "body 1",
        [Pipeline(f"standard ({exposure})", by_standard(camera, exposure)) for exposure in ("long", "short")],
        split(NAMES, 8, 0, 4),
        [OtherCamera("body 2", {"standard (long)": by_standard(other_body, "long")}, (20, 21))],
        on_progress=lambda done, total: reported.append((done, total)),
    )
    assert reported == [(done, 26) for done in range(1, 27)]
    assert table.pipelines == ("standard (long)", "standard (short)")
    assert np.diag(table.correlations) == pytest.approx(1, abs=1e-5)
    assert table.correlations[0][1] == pytest.approx(table.correlations[1][0], abs=1e-6)
    assert 0.1 < table.correlations[0][1] < 0.9
    long, short = table.average_pce
    assert long == pytest.approx(np.mean(table.attributions[0].same))
    assert long > 60 and short < long / 2
    assert table.attributions[0].mistakes() == Proportion(0, 2) and not table.attributions[1].other
    assert json.loads(json.dumps(table.to_json(), allow_nan=False))["average_pce"] == [long, short]
    with pytest.raises(ValueError, match="low light needs"):
        low_light("body 1", [], split(NAMES, 8, 0, 4))
    with pytest.raises(ValueError, match="low light needs"):
        low_light("body 1", [Pipeline("standard", by_standard(camera, "long"))], split(NAMES, 8, 0, 0))
