"""Maps of tampering probability: their arithmetic against plain NumPy, and forgeries in simulated photographs."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from cameras.develop import develop
from cameras.scenes import dead_leaves
from cameras.simulate import PRESETS, SimulatedCamera, capture, frame
from prnu.fingerprint import fingerprint
from prnu.localise import best_f1, f1_curve, forge, likelihood_ratio, localise
from prnu.predictor import Predictor, train
from prnu.residual import residual

# --- the likelihood ratio ---


def test_probability_is_the_ratio_of_two_normal_densities(generator: torch.Generator) -> None:
    rho, expected = (0.3 * torch.rand(2, 3, 7, 5, generator=generator) - 0.05).unbind(0)
    found = likelihood_ratio(rho, expected, 0.02, torch.full_like(rho.double(), 0.05))

    def density(x: np.ndarray, mean: np.ndarray | float, deviation: float) -> np.ndarray:
        return np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))

    tampered = density(rho.double().numpy(), 0.0, 0.02)
    authentic = density(rho.double().numpy(), expected.double().numpy(), 0.05)
    np.testing.assert_allclose(found, tampered / (tampered + authentic), atol=1e-6)


def test_probability_follows_the_evidence_to_its_ends() -> None:
    rho, expected = torch.tensor([0.9, 0.0, 0.15]), torch.tensor([0.9, 0.9, 0.3])
    found = likelihood_ratio(rho, expected, 0.01, torch.full_like(rho.double(), 0.01))
    torch.testing.assert_close(found, torch.tensor([0, 1, 0.5]), atol=1e-6, rtol=0)  # half way tells nothing


# --- forgeries ---


@pytest.mark.parametrize(("height", "width", "size"), [(40, 60, 16), (41, 33, 16), (33, 40, 33), (20, 20, 20)])
def test_forgery_flips_the_central_square_and_nothing_else(
    height: int, width: int, size: int, generator: torch.Generator
) -> None:
    image = torch.rand(2, 3, height, width, generator=generator)
    before = image.clone()
    forged, truth = forge(image, size)
    top, left = (height - size) // 2, (width - size) // 2
    expected, mask = image.numpy().copy(), np.zeros((height, width), bool)
    for y in range(top, top + size):
        for x in range(size):
            expected[:, :, y, left + x] = before.numpy()[:, :, y, left + size - 1 - x]
            mask[y, left + x] = True
    np.testing.assert_array_equal(forged, expected)
    np.testing.assert_array_equal(truth, mask)
    assert (image == before).all()


# --- F1 ---


def brute_force_f1(probability: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    flagged = probability >= threshold
    hit, false, missed = (flagged & truth).sum(), (flagged & ~truth).sum(), (~flagged & truth).sum()
    if hit == 0:
        return 0.0
    precision, recall = hit / (hit + false), hit / (hit + missed)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("shape", [(9, 7), (3, 9, 7), (2, 3, 5, 4)])
@pytest.mark.parametrize("one_truth", [True, False])
def test_f1_of_every_threshold(shape: tuple[int, ...], one_truth: bool, generator: torch.Generator) -> None:
    """With ties among probabilities, at thresholds, and thresholds above all of them."""
    probability = (torch.rand(shape, generator=generator) * 10).round() / 10
    truth = torch.rand(shape[-2:] if one_truth else shape, generator=generator) < 0.4
    thresholds = torch.tensor([0.7, 0, 0.05, 0.5, 1, 2])
    curve, best = f1_curve(probability, truth, thresholds), best_f1(probability, truth)
    assert curve.shape == (*shape[:-2], 6)
    assert best.shape == shape[:-2]
    for i in np.ndindex(shape[:-2]):
        p, t = probability[i].numpy(), truth.expand(shape)[i].numpy()
        np.testing.assert_allclose(curve[i], [brute_force_f1(p, t, x) for x in thresholds.numpy()])
        np.testing.assert_allclose(best[i], max(brute_force_f1(p, t, x) for x in np.unique(p)))


def test_f1_of_a_perfect_and_of_a_useless_map() -> None:
    _, truth = forge(torch.zeros(1, 1, 40, 50), 20)
    assert best_f1(truth.float(), truth) == 1
    share = 400 / 2000
    assert best_f1(torch.full((40, 50), 0.5), truth).item() == pytest.approx(2 * share / (1 + share))


# --- simulated cameras ---

WINDOW, FORGERY = 65, 128
SIDE, TURNS = 384, 4
ESTIMATION, PREDICTION, EVALUATION = 20, 8, 8


@dataclass(frozen=True)
class Model:
    """What is known of a camera: its fingerprint and its predictor."""

    fingerprint: Tensor
    predictor: Predictor


@dataclass(frozen=True)
class Bench:
    images: Tensor  # (EVALUATION, 3, SIDE, SIDE) of the camera, developed by menon
    own: Model
    other_pipeline: Model
    other_body: Tensor  # its fingerprint


def photographs(camera: SimulatedCamera, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The same exposures by two pipelines that differ in demosaicing: 8-bit, (count, 3, SIDE, SIDE) each.

    Scenes take most of the time, so that each is seen in four positions; the parts of a split share none.
    """
    developed: dict[str, list[np.ndarray]] = {"menon": [], "bilinear": []}
    for i in range(count):
        if i % TURNS == 0:
            scene = dead_leaves(SIDE, SIDE, rng)
        raw = frame(camera, capture(camera, np.rot90(scene, i), rng))
        for pipeline, images in developed.items():
            images.append(np.rint(develop(raw, demosaic=pipeline) * 255).astype(np.float32) / 255)
    menon, bilinear = (torch.from_numpy(np.stack(images)).movedim(-1, 1) for images in developed.values())
    return menon, bilinear


def model(images: Tensor) -> Model:
    K = fingerprint(images[:ESTIMATION].split(1))
    return Model(K, train(images[ESTIMATION : ESTIMATION + PREDICTION].split(1), K, WINDOW, stride=8))


@pytest.fixture(scope="module")
def bench() -> Bench:
    camera, rng = PRESETS["sim-rggb"], np.random.default_rng(129)
    menon, bilinear = photographs(camera, ESTIMATION + PREDICTION + EVALUATION, rng)
    other, _ = photographs(replace(camera, body=2), 8, rng)
    return Bench(menon[-EVALUATION:], model(menon), model(bilinear), fingerprint(other.split(1)))


def mean_best_f1(images: Tensor, known: Model) -> float:
    forged, truth = forge(images, FORGERY)
    found = localise(forged, known.fingerprint, known.predictor, WINDOW)
    return best_f1(found.probability, found.at_centres(truth)).mean().item()


def test_forgeries_are_found_by_the_right_fingerprint_and_best_by_the_right_pipeline(bench: Bench) -> None:
    right = mean_best_f1(bench.images, bench.own)
    mismatched = mean_best_f1(bench.images, bench.other_pipeline)
    wrong_body = mean_best_f1(bench.images, replace(bench.own, fingerprint=bench.other_body))
    print(f"mean best F1: right {right:.2f}, pipeline mismatched {mismatched:.2f}, other body {wrong_body:.2f}")
    assert right > 0.7
    assert right > mismatched + 0.02
    assert right > wrong_body + 0.4


def test_authentic_images_are_left_in_peace_and_foreign_ones_are_not(bench: Bench) -> None:
    authentic = localise(bench.images, bench.own.fingerprint, bench.own.predictor, WINDOW)
    assert authentic.probability.mean() < 0.1
    assert (authentic.probability > 0.5).float().mean() < 0.1
    by_other = localise(bench.images, bench.other_body, bench.own.predictor, WINDOW)
    assert by_other.probability.mean() > 0.9


@pytest.mark.parametrize("level", [0, 0.5, 1])
def test_a_plane_without_noise_tells_nothing(level: float, bench: Bench) -> None:
    plane = torch.full_like(bench.images[:1], level)
    found = localise(plane, bench.own.fingerprint, bench.own.predictor, WINDOW)
    assert not found.known.any()
    assert (found.probability == 0.5).all()


def spoilt(how: str, scene: np.ndarray) -> np.ndarray:
    """Linear light (H, W, 3) of a half in which a fingerprint cannot be seen, or can be seen very well."""
    return {"blown out": scene + 1, "dark": 0.02 * scene, "lit wall": np.full_like(scene, 0.18)}.get(how, scene)


@pytest.mark.parametrize("how", ["blown out", "dark", "lit wall", "one colour"])
def test_a_half_of_an_authentic_photograph_in_which_nothing_is_seen_is_not_suspicious(how: str, bench: Bench) -> None:
    """At most 5 % of the windows with their centre there; in the other half, the map is as it is without it."""
    camera, rng = PRESETS["sim-rggb"], np.random.default_rng(77)
    images = []
    for _ in range(3):
        scene = dead_leaves(SIDE, SIDE, rng)
        scene[:, : SIDE // 2] = spoilt(how, scene[:, : SIDE // 2])
        developed = torch.from_numpy(np.rint(develop(frame(camera, capture(camera, scene, rng))) * 255) / 255)
        images.append(developed.float().movedim(-1, 0))
    taken = torch.stack(images)
    if how == "one colour":
        taken[..., : SIDE // 2] = taken[..., : SIDE // 2].mean((-2, -1), keepdim=True)
    found = localise(taken, bench.own.fingerprint, bench.own.predictor, WINDOW)
    spoilt_half, other = found.columns < SIDE // 2, found.columns > SIDE // 2 + WINDOW // 2
    assert (found.probability[..., spoilt_half] > 0.5).float().mean() <= 0.05
    assert (found.probability[..., other] > 0.5).float().mean() < 0.15
    assert found.known[..., other].float().mean() > 0.9
    assert (found.probability[~found.known] == 0.5).all()
    unknown = (~found.known[..., spoilt_half]).float().mean()
    assert unknown < 0.1 if how == "lit wall" else unknown > 0.7


def test_a_fingerprint_that_is_not_there_to_be_learnt_tells_nothing(bench: Bench) -> None:
    """A predictor trained with another camera's fingerprint expects nothing: the probability stays near 0.5."""
    predictor = train(bench.images[:6].split(1), bench.other_body, WINDOW)
    found = localise(bench.images[6:], bench.other_body, predictor, WINDOW)
    assert (found.probability - 0.5).abs().mean() < 0.15


def test_map_knows_where_it_looked(bench: Bench) -> None:
    image = bench.images[:2, :, :301, :280]
    found = localise(image, bench.own.fingerprint[:301, :280], bench.own.predictor, WINDOW, stride=16)
    assert found.probability.shape == found.correlation.shape == found.expected.shape == (2, 15, 14)
    np.testing.assert_array_equal(found.rows, range(32, 301 - 32, 16))
    np.testing.assert_array_equal(found.columns, range(32, 280 - 32, 16))
    pixels = torch.arange(301 * 280).view(301, 280)
    assert found.at_centres(pixels)[3, 5] == (32 + 3 * 16) * 280 + 32 + 5 * 16
    again = localise(
        image, bench.own.fingerprint[:301, :280], bench.own.predictor, WINDOW, stride=16, residual=residual(image)
    )
    assert (again.probability == found.probability).all()


# --- wrong input ---

PREDICTOR = Predictor(torch.zeros(15, dtype=torch.float64), torch.zeros(4), torch.ones(4), 0.01, 0.01, 0, 0, 1, 129)


@pytest.mark.parametrize(
    ("image", "K", "window", "message"),
    [
        ((1, 3, 200, 200), (200, 200), 65, "trained for windows of 129 pixels, not of 65"),
        ((1, 3, 200, 200), (200, 199), 129, "crop one to the other"),
        ((1, 3, 128, 400), (128, 400), 129, "no window of 129×129 pixels fits into an image of 128×400"),
    ],
)
def test_wrong_images_are_refused(image: tuple[int, ...], K: tuple[int, ...], window: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        localise(torch.rand(image), torch.rand(K), PREDICTOR, window)


def test_wrong_forgeries_and_truths_are_refused() -> None:
    with pytest.raises(ValueError, match="256×256 pixels cannot be flipped in an image of 255×300"):
        forge(torch.zeros(1, 3, 255, 300))
    with pytest.raises(ValueError, match="the same size"):
        best_f1(torch.zeros(4, 5), torch.ones(5, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="no numbers"):
        best_f1(torch.full((4, 5), torch.nan), torch.ones(4, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="something is tampered"):
        f1_curve(torch.zeros(4, 5), torch.zeros(4, 5, dtype=torch.bool), torch.tensor([0.5]))
