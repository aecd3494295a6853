"""The estimate against its formula, against the pattern that simulated cameras carry, and against theory."""

import importlib
import itertools
import re
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cameras.develop import develop
from cameras.scenes import dead_leaves
from cameras.simulate import PRESETS, capture, frame, prnu_pattern
from models import tensorfile
from prnu import Accumulator, correlation, fingerprint, load, saturation, save, wavelet_noise, wiener_dft, zero_mean

module = importlib.import_module("prnu.fingerprint")


def photographs(count: int, channels: int = 3, height: int = 33, width: int = 42) -> torch.Tensor:
    """Shading and noise, with a corner blown out: (N,C,H,W)."""
    noise = torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(0))
    scene = torch.linspace(0.1, 0.8, width) + 0.1 * torch.arange(count)[:, None, None, None]
    scene = scene * torch.linspace(1, 0.5, channels)[:, None, None]
    scene[..., -6:] += 0.3
    return (scene + 0.02 * noise).clamp(0, 1)


# --- the formula ---


def slow_variance(W: np.ndarray) -> np.ndarray:
    """Mean of W² over 9×9 pixels, mirrored at the border, and the variance of rounding to 8 bits."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(W**2, 4, mode="reflect"), (9, 9))
    return around.mean((-2, -1)) + (1 / 255) ** 2 / 12


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_formula(channels: int, weighted: bool) -> None:
    images = photographs(5, channels)
    assert saturation(images).any()
    numerator, denominator = np.zeros((2, channels, 33, 42))
    for image in images:
        for c, channel in enumerate(image):
            W = wavelet_noise(channel[None], 2 / 255)[0].double().numpy()
            I = np.where(saturation(image[None])[0, c], 0, channel.double())  # noqa: E741 (the paper's symbol)
            weight = 1 / slow_variance(W) if weighted else 1
            numerator[c] += W * I * weight
            denominator[c] += I * I * weight
    K = numerator / (denominator + (1 / 0.0037**2 if weighted else 1))
    expected = K[0] if channels == 1 else 0.298936 * K[0] + 0.587043 * K[1] + 0.114021 * K[2]
    sums = Accumulator(sigma=2 / 255, weighted=weighted)
    sums.add(images)
    raw = sums.estimate(clean=False)
    np.testing.assert_allclose(raw.numpy(), expected, rtol=0, atol=1e-6 * np.abs(expected).max() + 1e-9)
    torch.testing.assert_close(sums.estimate(), wiener_dft(zero_mean(raw)))
    if weighted:
        assert torch.equal(fingerprint([images], sigma=2 / 255), sums.estimate())


def test_weights_find_more_of_the_pattern_where_photographs_have_texture() -> None:
    """Photographs of which other halves are rough: every pixel's estimate should come from where it was smooth."""
    generator = torch.Generator().manual_seed(3)
    K = 0.01 * torch.randn(128, 128, generator=generator)
    sums = {weighted: Accumulator(weighted=weighted) for weighted in (True, False)}
    for number in range(8):
        noise = 0.003 * torch.randn(128, 128, generator=generator)
        noise[:, 64 * (number % 2) :][:, :64] *= 4
        for its in sums.values():
            its.add((0.5 * (1 + K) + noise)[None, None])
    assert correlation(sums[True].estimate(), K) > correlation(sums[False].estimate(), K) + 0.05


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_streaming_equals_all_at_once(batch: int) -> None:
    images = photographs(5)
    before = images.clone()
    sums = Accumulator()
    for part in images.split(batch):
        sums.add(part)
    assert sums.images == 5
    torch.testing.assert_close(sums.estimate(), fingerprint([images]), rtol=0, atol=1e-7)
    assert torch.equal(images, before)


def test_images_are_read_one_by_one() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def camera() -> Iterator[torch.Tensor]:
        for image in photographs(4).split(1):
            assert sum(old() is not None for old in alive) <= 1  # the last, that the caller still holds
            shot = image.clone()
            alive.append(weakref.ref(shot))
            yield shot
            del shot

    assert torch.equal(fingerprint(camera()), fingerprint(photographs(4).split(1)))
    assert len(alive) == 4


def test_order_does_not_matter_and_an_estimate_can_be_continued() -> None:
    images = photographs(4)
    sums = Accumulator()
    sums.add(images[2:])
    first = sums.estimate()
    assert torch.equal(sums.estimate(), first)  # it changes nothing
    sums.add(images[:2])
    torch.testing.assert_close(sums.estimate(), fingerprint([images]), rtol=0, atol=1e-7)


def test_no_gradients_are_gathered() -> None:
    sums = Accumulator()
    sums.add(photographs(1).requires_grad_())
    assert sums.WI is not None and not sums.WI.requires_grad
    assert not sums.estimate().requires_grad


def test_what_is_saturated_in_every_image_has_no_pattern() -> None:
    images = photographs(3)
    images[:, :, 5:9, 5:9] = 1
    assert (fingerprint([images], clean=False)[5:9, 5:9] == 0).all()


# --- recovery of a known pattern ---


def test_flat_fields_recover_the_pattern_exactly_as_theory_says() -> None:
    """Grey frames I·(1 + K) + Ξ at constant I, with Ξ below σ₀: all details are noise to the denoiser.

    Then ρ² / (1 − ρ²) = N · I² · var K / var Ξ: in the √N regime, ρ ≪ 1, the correlation grows as √N.
    """
    size, intensity, prnu, sigma = 256, 0.5, 0.01, 0.01
    generator = torch.Generator().manual_seed(5)
    K = prnu * torch.randn(size, size, generator=generator)
    sums, weighted = Accumulator(weighted=False), Accumulator()
    snr = (intensity * prnu / sigma) ** 2  # 1/4 with one image
    for N in range(1, 17):
        Xi = sigma * torch.randn(size, size, generator=generator)
        for its in (sums, weighted):
            its.add((intensity * (1 + K) + Xi)[None, None])
        if N in (1, 2, 4, 8, 16):
            expected = (N * snr / (1 + N * snr)) ** 0.5
            # Three standard deviations of a correlation, of which cleaning takes one: it costs 0.5 %.
            assert correlation(sums.estimate(), K) == pytest.approx(expected, abs=3 / size)
            # Where the noise is the same everywhere, weights by estimates of it cost 2 to 3 %.
            assert correlation(weighted.estimate(), K) == pytest.approx(0.975 * expected, abs=3 / size)


SIZE, COUNT = 160, 32


@pytest.fixture(scope="module")
def simulated() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """8-bit images (N,3,H,W) of two bodies of one model, of different scenes, and their true patterns K."""
    rng = np.random.default_rng(7)
    wide = [dead_leaves(2 * SIZE, 2 * SIZE, rng) for _ in range(COUNT // 4)]  # cut in four: cheaper than four
    tiles = [tile for scene in wide for half in np.split(scene, 2) for tile in np.split(half, 2, axis=1)]
    scenes = [tiles[i] for i in rng.permutation(COUNT)]
    bodies = {}
    for body, count in ((1, COUNT), (2, COUNT // 2)):
        camera = replace(PRESETS["sim-gbrg"], body=body)
        shots = [develop(frame(camera, capture(camera, scene, rng)), "bilinear") for scene in scenes[-count:]]
        images = torch.from_numpy(np.rint(255 * np.stack(shots)) / 255).float().movedim(-1, 1).contiguous()
        bodies[f"body {body}"] = images, torch.from_numpy(prnu_pattern(camera, SIZE, SIZE))
    return bodies


def test_a_simulated_camera_is_told_from_its_twin(simulated: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    estimates = {body: fingerprint(images.split(1)) for body, (images, _) in simulated.items()}
    for body, other in itertools.product(simulated, simulated):
        rho = correlation(estimates[body], simulated[other][1])
        if body == other:
            assert rho > 0.25
        else:  # four standard deviations of the correlation of independent patterns
            assert abs(rho) < 4 / SIZE


def test_the_correlation_grows_with_the_number_of_images_as_theory_says(
    simulated: dict[str, tuple[torch.Tensor, torch.Tensor]],
) -> None:
    """The estimate is K·h + noise / √N, so 1 / ρ² = a + b / N, and ρ² / (1 − ρ²) = N / (b + (a − 1)·N).

    h is the blur of demosaicing, because of which ρ stays below 1 / √a = 2/3 even with endless images. While
    N ≪ b, this is the √N regime: ρ² / (1 − ρ²) ∝ N.
    """
    images, K = simulated["body 1"]
    numbers = np.array([1, 2, 4, 8, 16, 32])
    # Means over disjoint groups, as scenes differ.
    rho = np.array([np.mean([correlation(fingerprint([group]), K) for group in images.split(int(N))]) for N in numbers])
    assert (np.diff(rho) > 0).all()

    # The line through three numbers foretells the last two. Over eight draws of scenes it did to 4 %; a correlation's
    # own standard deviation, 1/160 at most, is 1.5 % of them.
    few, many = slice(1, 4), slice(4, 6)
    b, a = np.polyfit(1 / numbers[few], rho[few] ** -2, 1)
    np.testing.assert_allclose((a + b / numbers[many]) ** -0.5, rho[many], rtol=0.06)

    # In the √N regime the slope is 1. Here (a − 1)·N is no longer nothing beside b: 0.90 to 0.94 over the eight draws.
    slope = np.polyfit(np.log(numbers[few]), np.log(rho[few] ** 2 / (1 - rho[few] ** 2)), 1)[0]
    assert slope == pytest.approx(1, abs=0.15)


# --- errors ---


def test_no_image_is_refused_and_one_is_enough() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        fingerprint([])
    assert fingerprint([photographs(1)]).shape == (33, 42)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (photographs(1, height=34), r"image 3 has \(C,H,W\) = \(3, 34, 42\), those before it \(3, 33, 42\)"),
        (photographs(1, channels=1), "crop them alike"),
        (255 * photographs(1), "divide 8-bit images by 255"),
        (photographs(1) - 0.5, r"outside \[0,1\]"),
        (torch.full((1, 3, 33, 42), torch.nan), r"outside \[0,1\]"),
        (torch.zeros(1, 3, 33, 42, dtype=torch.uint8), "float tensor"),
        (torch.zeros(3, 33, 42), "float tensor"),
        (torch.full((1, 3, 33, 42), 0.3), "image 3 is constant or saturated"),
        (torch.tensor([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1).expand(1, 3, 33, 42), "constant or saturated"),
        (torch.ones(1, 3, 33, 42), "constant or saturated"),
        (torch.cat((photographs(1), torch.zeros(1, 3, 33, 42))), "constant or saturated"),
    ],
    ids=[
        "size",
        "grey after RGB",
        "8 bits",
        "negative",
        "NaN",
        "bytes",
        "no batch",
        "constant",
        "colour",
        "white",
        "one",
    ],
)
def test_wrong_images_are_refused_and_add_nothing(image: torch.Tensor, message: str) -> None:
    sums = Accumulator()
    sums.add(photographs(2))
    before = sums.estimate()
    with pytest.raises(ValueError, match=message):
        sums.add(image)
    assert sums.images == 2
    assert torch.equal(sums.estimate(), before)


# --- files ---


def test_a_file_holds_the_fingerprint_and_its_provenance(tmp_path: Path) -> None:
    K = fingerprint([photographs(2)])
    path = tmp_path / "camera.safetensors"
    save(path, K, camera="Nikon D90 #1", pipeline="libraw", images=2, sigma=2 / 255, seed=3)
    loaded, provenance = load(path)
    assert torch.equal(loaded, K)
    expected = {
        "camera": "Nikon D90 #1",
        "pipeline": "libraw",
        "images": 2,
        "sigma": 2 / 255,
        "size": [33, 42],
        "seed": 3,
    }
    assert provenance == expected


@pytest.mark.parametrize("K", [torch.zeros(1, 20, 20), torch.zeros(20, 20).double(), torch.full((20, 20), torch.inf)])
def test_what_is_no_fingerprint_is_not_saved(tmp_path: Path, K: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="finite float32"):
        save(tmp_path / "x.safetensors", K, camera="a", pipeline="b", images=1)
    assert not list(tmp_path.iterdir())


def test_what_is_no_fingerprint_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match="no such file"):
        load(path)
    tensorfile.write(path, "weights", {"K": torch.zeros(20, 20)}, {})
    with pytest.raises(ValueError, match="holds 'weights', not PRNU fingerprint"):
        load(path)
    tensorfile.write(path, module.KIND, {"K": torch.zeros(20)}, {})
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*finite float32"):
        load(path)
    tensorfile.write(path, module.KIND, {"other": torch.zeros(20, 20)}, {})
    with pytest.raises(ValueError, match="one tensor, K"):
        load(path)
    save(path, torch.zeros(20, 20), camera="a", pipeline="b", images=1)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="truncated"):
        load(path)
