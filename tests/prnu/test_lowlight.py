"""Short and long exposures of one camera, a UNet between them, and Table 3."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from cameras.develop import develop
from cameras.simulate import PRESETS, SimulatedCamera, frame, prnu_pattern
from models.pretrain import Pretraining
from prnu.experiment import OtherCamera, Pipeline, Proportion, split
from prnu.lowlight import amplify, expose, learn, low_light

CAMERAS = list(PRESETS.values())


def scene(seed: int, height: int = 128, width: int = 160) -> np.ndarray:
    """Smooth light, (height, width, 3)."""
    coarse = 0.1 + 0.6 * torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return smooth[0].movedim(0, -1).numpy()


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_a_short_exposure_looks_like_a_long_one_with_more_noise(camera: SimulatedCamera) -> None:
    grey = np.full((128, 128, 3), 0.3, np.float32)
    taken = expose(camera, grey, np.random.default_rng(0), 1 / 16)
    long, short = (frame(camera, mosaic).bayer for mosaic in (taken.long, taken.short))
    assert short.mean((0, 1)) == pytest.approx(long.mean((0, 1)), rel=0.02)
    clean = replace(camera, prnu=0.0)
    taken = expose(clean, grey, np.random.default_rng(0), 1 / 16)
    long, short = (frame(camera, mosaic).bayer for mosaic in (taken.long, taken.short))
    ratio = short.std((0, 1)) / long.std((0, 1))
    assert (ratio > 4).all()  # √16 of shot noise, and more of read noise and rounding
    assert (ratio < 16).all()


def test_both_exposures_carry_the_same_pattern() -> None:
    camera = PRESETS["sim-bggr"]
    rng, light = np.random.default_rng(0), np.full((128, 128, 3), 0.4, np.float32)
    K = prnu_pattern(camera, 128, 128).ravel()
    for which in ("long", "short"):
        mean = np.mean([getattr(expose(camera, light, rng, 1 / 4), which) for _ in range(20)], axis=0)
        cells = mean.reshape(64, 2, 64, 2)
        relative = (cells / cells.mean((0, 2), keepdims=True) - 1).reshape(128, 128)
        assert np.corrcoef(relative.ravel(), K)[0, 1] > 0.8


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_gain_leaves_black_and_white_where_they_are(camera: SimulatedCamera) -> None:
    black = np.tile(np.reshape(camera.black, (2, 2)), (3, 4)).astype(np.uint16)
    assert np.array_equal(amplify(camera, black, 30), black)
    assert (amplify(camera, np.full((6, 8), camera.white, np.uint16), 30) == camera.white).all()
    assert np.array_equal(amplify(camera, black + 3, 30), np.minimum(black + 90, camera.white))


@pytest.mark.parametrize("exposure", [0.0, -1.0, 1.5])
def test_impossible_exposures_are_refused(exposure: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        expose(CAMERAS[0], scene(0), np.random.default_rng(0), exposure)


def test_a_unet_learns_to_develop_short_exposures_like_long_ones() -> None:
    camera = PRESETS["sim-gbrg"]
    taken = [expose(camera, scene(i, 64, 64), np.random.default_rng(i)) for i in range(5)]
    settings = Pretraining(
        patch=8, batch=4, learning_rate=1e-3, max_iterations=20, check_every=10, validation_patch=16, tolerance=0
    )
    steps: list[int] = []
    metrics: dict[int, dict[str, float]] = {}
    done = learn(camera, taken, 2, settings, on_step=steps.append, on_metrics=metrics.__setitem__)
    assert steps == list(range(1, 21))
    start = metrics[0]["psnr"]
    assert done.psnr > start + 3
    bayer = torch.from_numpy(frame(camera, taken[-1].short).bayer).movedim(-1, 0)[None]
    with torch.no_grad():
        error = done.nip(bayer)[0].movedim(0, -1).numpy() - develop(frame(camera, taken[-1].long))
    assert 10 * np.log10(1 / np.mean(error**2)) > start + 3  # the target is the long exposure, not the short one


def test_too_few_exposures_to_learn_from_are_refused() -> None:
    taken = [expose(CAMERAS[0], scene(0, 64, 64), np.random.default_rng(0))] * 2
    with pytest.raises(ValueError, match="2 exposures are too few"):
        learn(CAMERAS[0], taken, 2, Pretraining())


def test_table_3() -> None:
    camera = replace(PRESETS["sim-bggr"], prnu=0.03)
    stranger = replace(camera, body=2)

    def by_standard(camera: SimulatedCamera, exposure: str) -> Callable[[int], Tensor]:
        def develop_one(index: int) -> Tensor:
            taken = expose(camera, scene(index), np.random.default_rng(index))
            return torch.from_numpy(develop(frame(camera, getattr(taken, exposure)), "bilinear")).movedim(-1, 0)[None]

        return develop_one

    told: list[tuple[int, int]] = []
    table = low_light(
        "body 1",
        [Pipeline(f"standard ({exposure})", by_standard(camera, exposure)) for exposure in ("long", "short")],
        split(12, 8, 0, 4),
        [OtherCamera("body 2", {"standard (long)": by_standard(stranger, "long")}, (20, 21))],
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(done, 26) for done in range(1, 27)]
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
        low_light("body 1", [], split(12, 8, 0, 4))
    with pytest.raises(ValueError, match="low light needs"):
        low_light("body 1", [Pipeline("standard", by_standard(camera, "long"))], split(12, 8, 0, 0))
