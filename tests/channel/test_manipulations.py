"""The manipulations against scikit-image, scipy and numpy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from channel import DifferentiableJPEG, Manipulations
from channel.manipulations import OPERATORS, Manipulation
from channel.manipulations.awgn import awgn
from channel.manipulations.gamma import gamma
from channel.manipulations.median import median, median_by_sorting, median_of_nine
from channel.manipulations.sharpen import sharpen
from channel.noise import draw_seed, normal

Oracle = Callable[[np.ndarray, float], np.ndarray]  # (H, W, 3) float64 in [0, 1], strength -> same


def sharpen_oracle(image: np.ndarray, strength: float) -> np.ndarray:
    from scipy.ndimage import correlate
    from skimage.color import hsv2rgb, rgb2hsv

    equation_4 = np.array(((-1, -4, -1), (-4, 26, -4), (-1, -4, -1))) / 6
    identity = np.zeros((3, 3))
    identity[1, 1] = 1
    hsv = rgb2hsv(image)
    sharpened = correlate(hsv[..., 2], identity + strength * (equation_4 - identity), mode="mirror")
    hsv[..., 2] = sharpened.clip(0, 1)
    return hsv2rgb(hsv)


def gaussian_oracle(image: np.ndarray, strength: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, strength, radius=math.ceil(2.4 * strength), mode="mirror", axes=(0, 1))


def median_oracle(image: np.ndarray, strength: float) -> np.ndarray:
    from scipy.ndimage import median_filter

    return median_filter(image, size=(int(strength), int(strength), 1), mode="mirror")


def resample_oracle(image: np.ndarray, strength: float) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    def resize(source: np.ndarray, H: int, W: int) -> np.ndarray:
        rows = (np.arange(H) + 0.5) * source.shape[0] / H - 0.5
        columns = (np.arange(W) + 0.5) * source.shape[1] / W - 0.5
        grid = np.meshgrid(rows, columns, indexing="ij")
        return np.stack([map_coordinates(source[..., c], grid, order=1, mode="nearest") for c in range(3)], axis=-1)

    H, W = image.shape[:2]
    return resize(resize(image, round(H / strength), round(W / strength)), H, W)


def gamma_oracle(image: np.ndarray, strength: float) -> np.ndarray:
    return (np.round(255 * image**strength) / 255) ** (1 / strength)


ORACLES: dict[str, Oracle] = {
    "sharpen": sharpen_oracle,
    "gaussian": gaussian_oracle,
    "resample": resample_oracle,
    "median": median_oracle,
    "gamma": gamma_oracle,
}
SPECS = (
    "sharpen",
    "sharpen:0.5",
    "gaussian",
    "gaussian:1.5",
    "resample",
    "resample:3",
    "resample:1.7",
    "median",
)


@pytest.mark.parametrize("size", ((64, 80), (61, 47)), ids=str)
@pytest.mark.parametrize("spec", (*SPECS, "median:5", "gamma", "gamma:2.2"))
def test_against_the_oracle(photographs: torch.Tensor, spec: str, size: tuple[int, int]) -> None:
    images = photographs[:, :, : size[0], : size[1]].double() / 255
    images[:, :, 20:30, 20:30] = 0  # black, where hue and saturation mean nothing
    images[:, :, 40:45, :20] = 1
    operation = Manipulation.parse(spec)
    manipulated = Manipulations((spec,))(images)[len(images) :]
    for image, ours in zip(images, manipulated, strict=True):
        expected = ORACLES[operation.name](image.permute(1, 2, 0).numpy(), operation.low)
        np.testing.assert_allclose(ours.permute(1, 2, 0), expected, atol=1e-6)


def test_gaussian_of_the_paper_has_five_taps() -> None:
    impulse = torch.zeros(1, 3, 11, 11)
    impulse[..., 5, 5] = 1
    blurred = Manipulations(("gaussian",))(impulse)[1, 0]
    assert blurred.nonzero().tolist() == [[i, j] for i in range(3, 8) for j in range(3, 8)]
    assert float(blurred[5, 5] / blurred[5, 6]) == pytest.approx(math.exp(0.5 / 0.83**2), rel=1e-5)


def test_sharpen_keeps_hue_and_saturation(photographs: torch.Tensor) -> None:
    images = photographs.double() / 255
    sharpened = sharpen(images, 1)
    # Ratios of channels fix hue and saturation: R' : G' : B' = R : G : B.
    torch.testing.assert_close(sharpened * images.roll(1, 1), sharpened.roll(1, 1) * images, rtol=0, atol=1e-12)


def test_jpeg_is_djpeg_with_sinusoidal_rounding(photographs: torch.Tensor) -> None:
    images = photographs / 255
    assert torch.equal(Manipulations(("jpeg",))(images)[len(images) :], DifferentiableJPEG(80, "sin")(images))
    assert torch.equal(Manipulations(("jpeg:35",))(images)[len(images) :], DifferentiableJPEG(35, "sin")(images))


def test_awgn_is_gaussian_and_stored_as_8_bits(generator: torch.Generator) -> None:
    grey = torch.full((2, 3, 128, 128), 0.5, dtype=torch.float64)
    noisy = 255 * awgn(grey, 5.1, generator)
    torch.testing.assert_close(noisy, noisy.round(), rtol=0, atol=1e-9)
    noise = (noisy - 127.5).flatten()
    assert float(noise.mean()) == pytest.approx(0, abs=5 * 5.1 / math.sqrt(len(noise)))
    assert float(noise.std()) == pytest.approx(math.sqrt(5.1**2 + 1 / 12), rel=5 / math.sqrt(2 * len(noise)))
    kurtosis = (noise**4).mean() / (noise**2).mean() ** 2
    assert float(kurtosis) == pytest.approx(3, abs=5 * math.sqrt(24 / len(noise)))


def test_gradient_of_awgn_is_that_of_sinusoidal_rounding(generator: torch.Generator) -> None:
    images = (0.3 + 0.4 * torch.rand(1, 3, 8, 8, generator=generator, dtype=torch.float64)).requires_grad_()
    seed = draw_seed(torch.Generator().manual_seed(1))
    noise = normal(images.numel(), seed, images.device).view(images.shape).double()
    (gradient,) = torch.autograd.grad(awgn(images, 2, torch.Generator().manual_seed(1)).sum(), images)
    expected = 1 - torch.cos(2 * math.pi * (255 * images + 2 * noise))
    torch.testing.assert_close(gradient, expected.detach())


def test_gradient_of_gamma_is_that_of_sinusoidal_rounding(generator: torch.Generator) -> None:
    x = (0.2 + 0.7 * torch.rand(1, 3, 8, 8, generator=generator, dtype=torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(gamma(x, 3).sum(), x)
    stored = (255 * x**3).round() / 255
    expected = 3 * x**2 * (1 - torch.cos(2 * math.pi * 255 * x**3)) * stored ** (1 / 3 - 1) / 3
    torch.testing.assert_close(gradient, expected.detach())


def test_gradient_of_sharpen_is_what_autograd_derives(photographs: torch.Tensor) -> None:
    """Of the same formula, in pixels that are grey, black, white, or clipped by the sharpening, too."""
    images = (photographs[:, :, :48, :56].double() / 255).requires_grad_()
    with torch.no_grad():
        images[0, :, :8] = images[0, :1, :8]  # grey: R, G and B share the gradient of V
        images[1, :, :8, :8], images[2, :, 4:9] = 0, 1
    V = images.amax(dim=1, keepdim=True)
    mirrored = torch.nn.functional.pad(V, (1, 1, 1, 1), mode="reflect")
    kernel = torch.tensor(((1.0, 4, 1), (4, 16, 4), (1, 4, 1)), dtype=torch.float64)[None, None] / 36
    steep = V + 6 * 0.8 * (V - torch.nn.functional.conv2d(mirrored, kernel))
    clipped = steep + (steep.clamp(0, 1) - steep).detach()
    reference = images * (clipped / V.clamp_min(1e-6))
    ours = sharpen(images, 0.8)
    torch.testing.assert_close(ours, reference)
    weights = torch.rand(images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected, gradient = (torch.autograd.grad((result * weights).sum(), images)[0] for result in (reference, ours))
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("k", (3, 5))
def test_gradient_of_median_goes_to_the_pixels_that_equal_it(k: int, generator: torch.Generator) -> None:
    images = torch.randint(4, (2, 3, 9, 11), generator=generator).double().requires_grad_()  # many are equal
    weights = torch.rand(images.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((median(images, k) * weights).sum(), images)
    windows = torch.nn.functional.pad(images, (k // 2,) * 4, mode="reflect").unfold(2, k, 1).unfold(3, k, 1).flatten(-2)
    equal = (windows == windows.median(dim=-1, keepdim=True).values).double()
    means = (windows * equal).sum(dim=-1) / equal.sum(dim=-1)
    (expected,) = torch.autograd.grad((means * weights).sum(), images)
    torch.testing.assert_close(gradient, expected)


def test_the_median_of_nine_is_a_median(generator: torch.Generator) -> None:
    padded = torch.randint(6, (2, 3, 20, 31), generator=generator).float()
    assert torch.equal(median_of_nine(padded), median_by_sorting(padded, 3))
    sorted_on_a_gpu = padded.unfold(2, 5, 1).unfold(3, 5, 1).flatten(-2).sort(dim=-1).values[..., 12]
    assert torch.equal(median_by_sorting(padded, 5), sorted_on_a_gpu)


def test_classes_come_one_after_the_other(photographs: torch.Tensor) -> None:
    images = photographs[:2, :, :32, :32] / 255
    manipulations = Manipulations(("sharpen", "gaussian", "jpeg:80", "resample"))
    assert manipulations.classes == ("native", "sharpen", "gaussian", "jpeg", "resample")
    results = manipulations(images)
    assert results.shape == (10, 3, 32, 32)
    assert torch.equal(results[:2], images)
    for label, name in enumerate(manipulations.classes[1:], start=1):
        assert torch.equal(results[2 * label : 2 * label + 2], Manipulations((name,))(images)[2:])


def test_no_manipulation_is_native_alone(photographs: torch.Tensor) -> None:
    nothing = Manipulations(())
    assert nothing.classes == ("native",)
    assert torch.equal(nothing(photographs / 255), photographs / 255)


def test_a_name_used_twice_is_told_apart() -> None:
    assert Manipulations(("jpeg:80", "median", "jpeg:50")).classes == (
        "native",
        "jpeg:80",
        "median",
        "jpeg:50",
    )


@pytest.mark.parametrize("spec", ("sharpen:0.5-2", "gaussian:0.5-1.5", "jpeg:50-90", "resample:1.5-3", "median:3-7"))
def test_a_strength_is_drawn_from_its_range(photographs: torch.Tensor, spec: str, generator: torch.Generator) -> None:
    operation = Manipulation.parse(spec)
    drawn = [operation.draw(generator) for _ in range(200)]
    width = operation.high - operation.low
    assert operation.low <= min(drawn) < operation.low + 0.35 * width
    assert operation.high - 0.35 * width < max(drawn) <= operation.high
    step = OPERATORS[operation.name].step
    assert not step or {(strength - operation.low) % step for strength in drawn} == {0}

    images = photographs[:1, :, :24, :24] / 255
    manipulations = Manipulations((spec,))
    strength = operation.draw(torch.Generator().manual_seed(5))
    fixed = Manipulations((f"{operation.name}:{strength!r}",))
    assert torch.equal(manipulations(images, torch.Generator().manual_seed(5)), fixed(images))


@pytest.mark.parametrize("spec", ("awgn:5", "gaussian:0.5-1.5"))
def test_randomness_needs_a_generator(spec: str) -> None:
    images = torch.rand(1, 3, 16, 16)
    manipulations = Manipulations(("sharpen", spec))
    with pytest.raises(ValueError, match="pass a generator"):
        manipulations(images)
    first, again, other = (manipulations(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "names",
    (
        ("blur",),
        ("sharpen:",),
        ("gaussian:wide",),
        ("gaussian:0",),
        ("gaussian:1.5-0.5",),
        ("gaussian:-1",),
        ("jpeg:0",),
        ("jpeg:80.5",),
        ("jpeg:50-101",),
        ("median:4",),
        ("resample:0.5",),
        ("native",),
        ("gaussian", "gaussian:0.83"),
    ),
    ids=str,
)
def test_impossible_manipulations_are_refused_in_one_line(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=names[0].partition(":")[0]) as error:
        Manipulations(names)
    assert "\n" not in str(error.value)
