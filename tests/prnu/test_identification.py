"""Which camera took this photograph? Simulated bodies of one model and of two, which all see the same scenes."""

import dataclasses
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cameras.develop import develop
from cameras.scenes import dead_leaves, scene_sources
from cameras.simulate import PRESETS, SimulatedCamera, capture, frame, lens_blur
from prnu.fingerprint import Accumulator
from prnu.match import correlation, pce, pce_matrix, query
from prnu.residual import grey, residual, wiener_dft, zero_mean

Scenes = Iterator[np.ndarray]


def leaves(size: int, request: pytest.FixtureRequest) -> Scenes:
    rng = np.random.default_rng(1)
    while True:  # in tiles: a large procedural scene takes hardly longer than a small one
        large = dead_leaves(4 * size, 4 * size, rng)
        yield from (
            large[y : y + size, x : x + size] for y in range(0, 4 * size, size) for x in range(0, 4 * size, size)
        )


def out_of_focus(size: int, request: pytest.FixtureRequest) -> Scenes:
    """Smooth, so that artefacts stand out as they do in photographs; the leaves' own texture would bury them."""
    return (lens_blur(scene, 4.0) for scene in leaves(size, request))


def photographs(size: int, request: pytest.FixtureRequest) -> Scenes:
    """Each photograph once, reduced two to four times."""
    folder: Path = request.getfixturevalue("shared_photos")
    rng = np.random.default_rng(1)
    return (photograph(size, size, rng) for photograph in scene_sources(folder).values())


def bodies(name: str, count: int) -> list[SimulatedCamera]:
    return [dataclasses.replace(PRESETS[name], body=body) for body in range(1, count + 1)]


def shot(camera: SimulatedCamera, scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Developed in 8 bits, (H, W, 3) uint8."""
    developed = develop(frame(camera, capture(camera, scene, rng)), "bilinear")
    return np.rint(255 * developed).astype(np.uint8)


def shot_with_artefacts(camera: SimulatedCamera, scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What all cameras share: column amplifiers with gains that recur, and a JPEG file of quality 75 to 90."""
    from PIL import Image

    column = np.arange(scene.shape[1])
    gain = 1 + 0.01 * np.cos(2 * np.pi * column / 8) + 0.008 * np.cos(2 * np.pi * column / 6)
    gain = gain + np.random.default_rng(99).normal(0, 0.01, len(column))
    black = np.tile(np.reshape(camera.black, (2, 2)), (scene.shape[0] // 2, scene.shape[1] // 2))
    mosaic = np.clip(black + (capture(camera, scene, rng) - black) * gain, 0, camera.white)
    developed = develop(frame(camera, np.rint(mosaic).astype(np.uint16)), "bilinear")
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * developed).astype(np.uint8)).save(file, "JPEG", quality=int(rng.integers(75, 91)))
    return np.array(Image.open(file))


@dataclass(frozen=True)
class Evidence:
    """Q query photographs of F cameras, W as `residual` gives it, and K before and after cleaning."""

    images: Tensor  # (Q, 3, H, W)
    residuals: Tensor  # (Q, H, W)
    camera: Tensor  # (Q,), its number
    raw_fingerprints: Tensor  # (F, H, W)
    fingerprints: Tensor  # (F, H, W)


def gather(
    cameras: list[SimulatedCamera],
    scenes: Scenes,
    known: int,
    unknown: int,
    take: Callable[[SimulatedCamera, np.ndarray, np.random.Generator], np.ndarray],
) -> Evidence:
    """Every camera takes `known` scenes for its fingerprint, and `unknown` others that are to be recognised."""
    rng = np.random.default_rng(2)
    sums = [Accumulator() for _ in cameras]
    queries, number = [], []
    for index in range(known + unknown):
        scene = next(scenes)
        for c, camera in enumerate(cameras):
            image = torch.from_numpy(take(camera, scene, rng)).movedim(-1, 0)[None] / 255
            if index < known:
                sums[c].add(image)
            else:
                queries.append(image)
                number.append(c)
    images = torch.cat(queries)
    return Evidence(
        images,
        torch.cat([residual(image) for image in queries]),
        torch.tensor(number),
        torch.stack([one.estimate(clean=False) for one in sums]),
        torch.stack([one.estimate() for one in sums]),
    )


def own_and_other(scores: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
    """(Q,F) scores -> those of the Q pairs with the own camera, and those of the others."""
    own = camera[:, None] == torch.arange(scores.shape[1])
    return scores[own], scores[~own]


def auc(scores: Tensor, camera: Tensor) -> float:
    """Area under the ROC curve: how often an own pair scores more than another one."""
    own, other = own_and_other(scores.double(), camera)
    above, equal = own[:, None] > other, own[:, None] == other
    return (above.double() + 0.5 * equal.double()).mean().item()


@pytest.mark.parametrize("scenes", [leaves, photographs])
def test_every_photograph_is_told_its_camera(scenes, request: pytest.FixtureRequest) -> None:
    """60 photographs × 3 cameras, two of them of one model: 60 own pairs above PCE 60, 120 others below, AUC 1."""
    cameras = [*bodies("sim-rggb", 2), PRESETS["sim-gbrg"]]
    found = gather(cameras, scenes(256, request), known=20, unknown=20, take=shot)
    scores = pce_matrix(query(found.images, found.residuals), found.fingerprints)
    own, other = own_and_other(scores, found.camera)
    assert (len(own), len(other)) == (60, 120)
    assert own.min() > 60
    assert other.max() < 60
    assert auc(scores, found.camera) == 1

    match = pce(found.fingerprints[0], found.images, found.residuals)
    torch.testing.assert_close(match.pce, scores[:, 0], rtol=1e-3, atol=1e-3)
    assert (match.pvalue[found.camera == 0] < 1e-14).all()
    assert (match.pvalue[found.camera != 0] > 1e-14).all()
    assert match.correlation[found.camera == 0].min() > match.correlation[found.camera != 0].max()


@pytest.mark.parametrize(("scenes", "size"), [(out_of_focus, 256), (photographs, 512)])
def test_shared_artefacts_do_not_blur_the_pce(scenes, size: int, request: pytest.FixtureRequest) -> None:
    """JPEG files of three bodies with common column gains: PCE separates them as well as correlation does.

    Without the cleaning of fingerprint and residual, what the bodies share speaks louder than what tells them apart.
    """
    found = gather(bodies("sim-rggb", 3), scenes(size, request), known=12, unknown=8, take=shot_with_artefacts)

    def by_correlation(W: Tensor, K: Tensor) -> float:
        return auc(torch.stack([correlation(W, grey(found.images) * one) for one in K], dim=1), found.camera)

    scores = pce_matrix(query(found.images, found.residuals), found.fingerprints)
    by_pce = auc(scores, found.camera)  # over 24 own pairs and 48 others
    W = wiener_dft(zero_mean(found.residuals))
    assert by_pce >= by_correlation(W, found.fingerprints)
    assert by_pce > 0.99
    assert own_and_other(scores, found.camera)[1].max() < 30

    unweighted = pce_matrix(W * grey(found.images), found.fingerprints)
    assert by_pce >= auc(unweighted, found.camera)
    assert (scores > 60).sum() > (unweighted > 60).sum()

    raw = pce_matrix(found.residuals * grey(found.images), found.raw_fingerprints)
    assert auc(raw, found.camera) < by_pce - 0.01
    assert by_correlation(found.residuals, found.raw_fingerprints) < 0.85
