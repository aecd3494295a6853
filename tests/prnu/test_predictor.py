"""Local correlation and its predictor, against plain NumPy that visits one window after the other."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d
from torch import Tensor

from models import tensorfile
from prnu.predictor import FEATURES, Predictor, features, load, save, train
from prnu.residual import LUMA, residual, wiener_dft, zero_mean
from prnu.windows import image_correlation, local_correlation, window_mean, window_positions

GEOMETRIES = [  # height, width, window, stride
    pytest.param(40, 40, 9, 8, id="square"),
    pytest.param(37, 54, 9, 4, id="odd"),
    pytest.param(61, 33, 33, 8, id="one column"),
    pytest.param(29, 29, 29, 8, id="one window"),
    pytest.param(24, 31, 5, 1, id="every pixel"),
]


def windows(x: np.ndarray, window: int, stride: int) -> list[list[np.ndarray]]:
    """The windows of x (H, W), row by row."""
    height, width = x.shape
    return [
        [x[top : top + window, left : left + window] for left in range(0, width - window + 1, stride)]
        for top in range(0, height - window + 1, stride)
    ]


def slow_correlation(a: list[list[np.ndarray]], b: list[list[np.ndarray]]) -> list[list[float]]:
    return [
        [np.corrcoef(p.ravel(), q.ravel())[0, 1] for p, q in zip(*row, strict=True)] for row in zip(a, b, strict=True)
    ]


def photograph(generator: torch.Generator, height: int, width: int, count: int = 2, channels: int = 3) -> Tensor:
    """Noise that grows from dark to burnt-out, from flat to textured: (count, channels, height, width) in [0, 1]."""
    rows, columns = torch.linspace(0, 1.1, height)[:, None], torch.linspace(0, 1, width) ** 3
    noise = torch.randn(count, channels, height, width, generator=generator)
    return (rows + 0.2 * columns * noise).clamp(0, 1)


# --- sliding windows ---


@pytest.mark.parametrize(("height", "width", "window", "stride"), GEOMETRIES)
def test_windows_lie_where_they_are_said_to(height: int, width: int, window: int, stride: int) -> None:
    rows, columns = window_positions(height, width, window, stride)
    index = np.arange(height * width).reshape(height, width)
    centres = [[w[window // 2, window // 2] for w in row] for row in windows(index, window, stride)]
    np.testing.assert_array_equal(index[rows[:, None], columns], centres)


@pytest.mark.parametrize(("height", "width", "window", "stride"), GEOMETRIES)
def test_means_and_correlations_are_those_of_every_window(
    height: int, width: int, window: int, stride: int, generator: torch.Generator
) -> None:
    """A large mean and a tiny deviation: what single precision could not tell apart."""
    a = 100 + 1e-3 * torch.randn(2, height, width, generator=generator, dtype=torch.float64)
    b = 0.3 * a + 1e-3 * torch.randn(2, height, width, generator=generator, dtype=torch.float64)
    means, correlations = window_mean(a, window, stride), local_correlation(a, b, window, stride)
    for i in range(2):
        grid = windows(a[i].numpy(), window, stride), windows(b[i].numpy(), window, stride)
        np.testing.assert_allclose(means[i], [[w.mean() for w in row] for row in grid[0]], rtol=1e-13)
        np.testing.assert_allclose(correlations[i], slow_correlation(*grid), atol=1e-6)


def test_constant_windows_correlate_with_nothing(generator: torch.Generator) -> None:
    a, b = torch.randn(2, 64, 48, generator=generator)
    a[:40, :] = 0.7
    b[:, 32:] = 0
    correlation = local_correlation(a, b, 9, 1)
    assert (correlation[:32] == 0).all()
    assert (correlation[:, 32:] == 0).all()
    assert (correlation[32:, :32] != 0).all()
    assert (local_correlation(a, a, 9, 1)[32:] == 1).all()


@pytest.mark.parametrize(("channels", "several"), [(3, False), (1, True)])
def test_image_correlation_is_that_of_the_residual_and_of_what_the_fingerprint_leaves(
    channels: int, several: bool, generator: torch.Generator
) -> None:
    image = photograph(generator, 70, 85, channels=channels)
    fingerprints = 0.01 * torch.randn(3, 70, 85, generator=generator)
    found = image_correlation(image, fingerprints if several else fingerprints[0], 33, 8)
    W = wiener_dft(zero_mean(residual(image)))
    weights = LUMA if channels == 3 else [1]
    intensity = np.einsum("nchw,c->nhw", image.numpy().astype(float), weights)
    for i in range(2):
        for k in range(3 if several else 1):
            grid = windows(W[i].numpy(), 33, 8), windows(intensity[i] * fingerprints[k].numpy(), 33, 8)
            np.testing.assert_allclose(found[i, k] if several else found[i], slow_correlation(*grid), atol=1e-4)
    torch.testing.assert_close(
        image_correlation(image, fingerprints[0], 33, 8, residual=residual(image)),
        image_correlation(image, fingerprints[0], 33, 8),
    )


# --- features ---


def slow_features(image: np.ndarray, window: int, stride: int) -> np.ndarray:
    """(3, H, W) -> (15, h, w), feature by feature and window by window."""
    intensity = 255 * np.tensordot(np.array(LUMA), image.astype(float), 1)

    def deviation(x: np.ndarray) -> np.ndarray:
        padded = np.pad(x, 2, mode="reflect")
        return np.array([[padded[i : i + 5, j : j + 5].std() for j in range(x.shape[1])] for i in range(x.shape[0])])

    smooth = intensity
    for kernel in ([1, 4, 6, 4, 1], [1, 0, 4, 0, 6, 0, 4, 0, 1]):
        for axis in (0, 1):
            smooth = convolve1d(smooth, np.array(kernel) / 16, axis, mode="mirror")
    burnt = intensity > 250
    seen = (deviation(intensity) ** 2 > 0.05) & (image.min(0) * 255 < 250.5)
    attenuated = np.where(burnt, np.exp(-(np.where(burnt, intensity - 250, 0) ** 2) / 6), intensity / 250)
    texture = 1 / (1 + deviation(intensity - smooth) ** 2)
    flat = deviation(intensity) < 0.03 * intensity

    def vector(place: np.ndarray) -> list[float]:
        counted = (place == 1) & seen
        share = counted.sum() / (place == 1).sum()
        if share == 0:
            return [0] * 15
        f = [x[counted].mean() for x in (attenuated, texture, flat, attenuated * texture)]
        return [share**0.5 * x for x in (1, *f, *(f[i] * f[j] for i in range(4) for j in range(i, 4)))]

    rows, columns = window_positions(*intensity.shape, window, stride)
    place = np.zeros((len(rows), len(columns), *intensity.shape))
    for i, j in product(range(len(rows)), range(len(columns))):
        place[i, j, i * stride : i * stride + window, j * stride : j * stride + window] = 1
    return np.array([[vector(p) for p in row] for row in place]).transpose(2, 0, 1)


@pytest.mark.parametrize(("height", "width", "window", "stride"), GEOMETRIES)
def test_features_are_those_of_every_window(
    height: int, width: int, window: int, stride: int, generator: torch.Generator
) -> None:
    image = photograph(generator, height, width)
    found = features(image, window, stride)
    assert found.shape[1] == FEATURES
    for i in range(2):
        np.testing.assert_allclose(found[i], slow_features(image[i].numpy(), window, stride), atol=1e-9)


def test_pixels_without_noise_do_not_count(generator: torch.Generator) -> None:
    """A window of which the left 12 of 16 columns are one colour, or white, has the features of the others, times ½."""
    noisy = (0.5 + 0.05 * torch.randn(1, 3, 20, 16, generator=generator)).clamp(0, 0.9)
    for colour in (0.3, 1.0, 0.0):
        image = noisy.clone()
        image[..., :12] = colour
        found = features(image[..., :16, 1:16], 15, 1)[0, :, 0, 0]  # 11 of 15 columns
        counted = round(float(found[0] ** 2 * 15 * 15))
        # Beside the edge, 5×5 pixels are not constant: two columns more if the colour itself is not blown out.
        assert counted == 15 * (4 if colour == 1 else 6)


def test_features_of_plain_images() -> None:
    """Black, mid-grey and white, without any noise: nothing is there to be seen."""
    image = torch.tensor([0, 0.5, 1]).view(3, 1, 1, 1).expand(3, 1, 32, 40)
    assert (features(image, 17, 8) == 0).all()


# --- predictor ---


def test_predictor_recovers_coefficients_and_error(generator: torch.Generator, tmp_path: Path) -> None:
    content = torch.cat([features(photograph(generator, 128, 128), 17, 2) for _ in range(12)])
    theta = torch.randn(FEATURES, generator=generator, dtype=torch.float64)
    clear = torch.einsum("nfhw,f->nhw", content, theta)
    exact = Predictor.fit(content, clear, 17)
    torch.testing.assert_close(exact.coefficients, theta, atol=1e-6, rtol=0)
    assert exact.error < 1e-9
    trained = content[:, 0] ** 2 >= 0.5  # in the others, too few pixels show noise
    torch.testing.assert_close(exact.predict(content)[trained], clear.clamp(min=0)[trained], atol=1e-9, rtol=0)

    noisy = Predictor.fit(content, clear + 0.1 * torch.randn(clear.shape, generator=generator), 17)
    assert noisy.error == pytest.approx(0.1, rel=0.03)
    assert noisy.unrelated == 1 / 17

    save(tmp_path / "predictor.safetensors", noisy, camera="one", images=["a", "b"])
    loaded, provenance = load(tmp_path / "predictor.safetensors")
    assert (loaded.coefficients == noisy.coefficients).all()
    assert (loaded.error, loaded.unrelated, loaded.window) == (noisy.error, noisy.unrelated, 17)
    for name in ("relative", "darkest", "most"):
        assert getattr(loaded, name) == getattr(noisy, name)
    assert torch.equal(loaded.lowest, noisy.lowest) and torch.equal(loaded.highest, noisy.highest)
    assert provenance == {"camera": "one", "images": ["a", "b"]}


def test_predictor_of_images_that_are_all_alike_predicts_their_mean(generator: torch.Generator) -> None:
    """Features that depend on each other leave the coefficients open, but not what they predict."""
    content = features((0.5 + 0.05 * torch.randn(1, 1, 64, 64, generator=generator)), 17, 8).expand(2, -1, -1, -1)
    content = content[..., :1, :1].expand(2, -1, 6, 6)
    measured = 0.3 + 0.01 * torch.randn(content[:, 0].shape, generator=generator)
    predicted = Predictor.fit(content, measured, 17).predict(content)
    torch.testing.assert_close(predicted, torch.full_like(predicted, measured.double().mean().item()))


def slow_products(f: list[float], share: float = 1) -> Tensor:
    """(1, 15) of four base features."""
    products = [f[i] * f[j] for i in range(4) for j in range(i, 4)]
    return share**0.5 * torch.tensor([[1, *f, *products]], dtype=torch.float64)


def test_prediction_stops_at_the_edge_of_what_was_trained(generator: torch.Generator) -> None:
    """Beyond the range of a feature, the prediction is that at the edge; darker than all training, nothing is known."""
    base = 0.3 + 0.4 * torch.rand(400, 4, generator=generator, dtype=torch.float64)
    content = torch.cat([slow_products(f) for f in base.tolist()])
    rho = 0.2 * base[:, 0] + 0.1 * base[:, 1] ** 2 + 0.02 * torch.randn(400, generator=generator, dtype=torch.float64)
    predictor = Predictor.fit(content, rho, 65, unrelated=0.01)
    apart = torch.cat((base[:, :3], base[:, 3:] - base[:, :1] * base[:, 1:2]), 1)
    assert torch.equal(predictor.lowest, apart.amin(0)) and torch.equal(predictor.highest, apart.amax(0))
    assert predictor.most == pytest.approx((content @ predictor.coefficients).max().item())
    inside = [0.5, 0.5, 0.5, 0.25]
    for feature in range(3):
        for edge, beyond in ((base.amin(0), 0.01), (base.amax(0), 0.99)):
            out, at = inside.copy(), inside.copy()
            out[feature], at[feature] = beyond, edge[feature].item()
            for f in (out, at):
                f[3] = f[0] * f[1]
            torch.testing.assert_close(predictor.predict(slow_products(out)), predictor.predict(slow_products(at)))
            dark = feature == 0 and beyond < 0.5
            assert predictor.knows(slow_products(out)).item() is not dark
    low = replace(predictor, most=0.05)
    assert low.predict(slow_products(inside)).item() == 0.05 < predictor.predict(slow_products(inside)).item()
    assert predictor.knows(slow_products(inside, 0.51)).item() is True
    assert predictor.knows(slow_products(inside, 0.49)).item() is False  # half of the pixels show nothing
    assert predictor.darkest == pytest.approx(base[:, 0].quantile(0.02).item())
    for light in (0.99, 1.01):
        assert predictor.knows(slow_products([light * predictor.darkest, *inside[1:]])).item() is (light > 1)
    half = predictor.predict(slow_products(inside, 0.5))
    torch.testing.assert_close(half, predictor.predict(slow_products(inside)) * 0.5**0.5)


def test_a_prediction_no_larger_than_chance_tells_nothing() -> None:
    theta = torch.zeros(FEATURES, dtype=torch.float64)
    theta[1] = 0.02
    predictor = Predictor(theta, torch.zeros(4), torch.ones(4), 0.03, 0.01, 0.2, 0, 1, 65)
    below, above = (slow_products([f, 0.5, 0.5, 0.5]) for f in (0.49, 0.51))
    assert not predictor.knows(below) and predictor.knows(above)


def test_the_spread_shrinks_to_that_of_chance(generator: torch.Generator) -> None:
    """Correlations with two kinds of error, 0.01 by chance and 20 % of the prediction: both are found again."""
    base = torch.rand(20000, 4, generator=generator, dtype=torch.float64)
    content = torch.cat([slow_products(f) for f in base.tolist()])
    expected = 0.3 * base[:, 0]
    noise = torch.randn(2, 20000, generator=generator, dtype=torch.float64)
    predictor = Predictor.fit(content, expected * (1 + 0.2 * noise[0]) + 0.01 * noise[1], 65, unrelated=0.01)
    assert predictor.relative == pytest.approx(0.2, rel=0.03)
    spread = predictor.spread(torch.tensor([0.0, 0.1, 0.3]))
    assert spread.tolist() == pytest.approx([0.01, (1e-4 + 0.02**2) ** 0.5, (1e-4 + 0.06**2) ** 0.5], rel=0.03)
    quiet = Predictor.fit(content, expected, 65, unrelated=0.01)
    assert quiet.relative == 0 and quiet.spread(expected).max() == 0.01


def test_training_predicts_strong_and_weak_fingerprints(generator: torch.Generator) -> None:
    """A multiplicative pattern in images from dark to bright: the predictor learns to tell where it shows."""
    K = 0.02 * torch.randn(160, 192, generator=generator)

    def shot() -> Tensor:
        light = torch.linspace(0.05, 0.85, 160)[:, None].expand(160, 192)
        noise = 0.01 * torch.randn(160, 192, generator=generator)
        return (light * (1 + K) + noise).clamp(0, 1)[None, None]

    predictor = train([shot() for _ in range(6)], K, window=33, stride=8)
    image = shot()
    measured, expected = image_correlation(image, K, 33, 8), predictor.predict(features(image, 33, 8))
    assert np.corrcoef(measured.flatten(), expected.flatten())[0, 1] > 0.9
    assert measured[0, -1].mean() > 2 * measured[0, 0].mean()
    assert (measured - expected).square().mean().sqrt() < 1.3 * predictor.error
    assert 0.5 / 33 < predictor.unrelated < 2 / 33


# --- wrong input ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: features(torch.zeros(1, 3, 128, 200)), "no window of 129×129 pixels fits into an image of 128×200"),
        (lambda: features(torch.zeros(1, 3, 64, 64), 16), "an odd size"),
        (lambda: window_mean(torch.zeros(64, 64), 9, 0), "a stride of at least 1"),
        (lambda: local_correlation(torch.zeros(40, 40), torch.zeros(40, 41), 9), "40×40 and 40×41 pixels"),
        (lambda: image_correlation(torch.zeros(1, 3, 200, 200), torch.zeros(200, 201)), "crop one to the other"),
        (lambda: image_correlation(torch.zeros(1, 3, 99, 99), torch.zeros(99, 99)), "no window of 129×129"),
        (lambda: Predictor.fit(torch.ones(20, 14), torch.ones(20)), "features (N, 15, ...)"),
        (lambda: Predictor.fit(torch.ones(20, 15, 2), torch.ones(20)), "of the same windows"),
        (lambda: Predictor.fit(torch.ones(15, 15), torch.ones(15)), "15 windows are too few for 15 coefficients"),
        (lambda: train([], torch.zeros(200, 200)), "at least one image"),
        (lambda: train([torch.rand(1, 3, 80, 80)], torch.zeros(80, 80), 9), "is the fingerprint all zero"),
        (
            lambda: Predictor(torch.ones(14), torch.zeros(4), torch.ones(4), 0.1, 0.1, 0, 0, 1, 129),
            "15 finite coefficients",
        ),
        (lambda: local_correlation(torch.full((40, 40), torch.nan), torch.ones(40, 40), 9), "not finite"),
        (lambda: features(torch.full((1, 3, 40, 40), 255.0), 9), "divide 8-bit images by 255"),
        (lambda: features(torch.zeros(3, 40, 40), 9), "not (3, 40, 40)"),
    ],
)
def test_wrong_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_another_file_is_no_predictor(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        load(tmp_path / "missing.safetensors")
    tensorfile.write(tmp_path / "other.safetensors", "weights", {}, {})
    with pytest.raises(ValueError, match="holds 'weights', not PRNU predictor"):
        load(tmp_path / "other.safetensors")
