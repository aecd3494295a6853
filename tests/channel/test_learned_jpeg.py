"""JPEG with tables that learn, and the estimate of its rate, against dJPEG and real files of libjpeg."""

from pathlib import Path

import numpy as np
import pytest
import torch

import models
from channel import CODECS, DifferentiableJPEG
from channel.codecs import build, jpeg
from channel.codecs.jpeg import quantization_tables
from channel.codecs.learned_jpeg import SPEED, LearnedJPEG
from tests.channel.changed_tables import learned

SUBSAMPLINGS = ("4:4:4", "4:2:0")


def scan_bits(codec: LearnedJPEG, photograph: torch.Tensor) -> int:
    """Of a real file: what follows its header, without the end marker."""
    data = codec.compress(photograph)
    return 8 * (len(data) - data.index(b"\xff\xda") - 14 - 2)


def estimated_bits(codec: LearnedJPEG, photograph: torch.Tensor) -> torch.Tensor:
    codec(photograph[None] / 255)
    return codec.rate() * photograph[0].numel()


# --- it starts as dJPEG ---


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("rounding", ("round", "sin", "soft", "harmonic", "straight-through"))
@pytest.mark.parametrize("quality", (5, 50, 98))
def test_starts_as_djpeg(photographs: torch.Tensor, quality: int, rounding: str, subsampling: str) -> None:
    images = photographs[:2, :, :61, :77] / 255
    weights = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    found = []
    for codec in (LearnedJPEG(quality, rounding, subsampling), DifferentiableJPEG(quality, rounding, subsampling)):
        entered = images.clone().requires_grad_()
        left = codec(entered)
        found.append((left, *torch.autograd.grad((left * weights).sum(), entered)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=0)
    exact = rounding != "straight-through"  # there, dJPEG leaves out the DCT and its inverse
    torch.testing.assert_close(found[0][1], found[1][1], rtol=0, atol=0 if exact else 1e-5)


def test_tables_are_whole_and_in_range() -> None:
    for quality in range(1, 101):
        assert torch.equal(LearnedJPEG(quality).tables(), quantization_tables(quality).float()), quality
    codec = learned()
    codec.log_steps.data[0, 0] = torch.tensor((-1.0, 0.0, 7.6, 100.0, 2.5, 99.4, 99.6, 6e4)).log() / SPEED
    codec.log_steps.data[0, 0, 0] = -3 / SPEED
    assert codec.tables()[0, 0].tolist() == [1, 1, 8, 100, 2, 99, 100, 255]


def test_a_step_out_of_range_can_return(generator: torch.Generator) -> None:
    """Steps of 1 and 255 have a gradient only towards the others."""
    for quality, inwards in ((100, 1), (1, -1)):
        codec = LearnedJPEG(quality)
        for direction in (1, -1):  # in which descent moves the steps
            codec.log_steps.grad = None
            (-direction * codec.tables().sum()).backward()
            assert codec.log_steps.grad is not None
            assert bool((codec.log_steps.grad != 0).all()) == (direction == inwards)


# --- gradients ---


def test_gradient_of_tables_is_that_of_finite_differences(photographs: torch.Tensor) -> None:
    """Of the distortion, with a smooth ρ and steps that are not rounded to whole numbers."""
    images = (photographs[:1, :, :32, :40] / 255).double()
    codec = LearnedJPEG(60, "sin", "4:2:0")

    def distortion(steps: torch.Tensor) -> torch.Tensor:
        encode, decode = jpeg.matrices(steps[[0, 1, 1]], jpeg.dct_of_blocks())

        def quantize(planes: torch.Tensor, first: int) -> torch.Tensor:
            tables = slice(first, first + planes.shape[1])
            coefficients = codec.jpeg.rho(jpeg.dct(planes, encode[tables]))
            return jpeg.crop(jpeg.inverse_dct(coefficients, decode[tables]), *planes.shape[-2:])

        return 255**2 * (codec.jpeg.through(images, quantize) - images).square().mean()

    steps = quantization_tables(60).double().requires_grad_()
    (by_autograd,) = torch.autograd.grad(distortion(steps), steps)
    codec(images)
    codec.aux_loss().backward()  # β is zero
    assert codec.log_steps.grad is not None
    torch.testing.assert_close(codec.log_steps.grad, (SPEED * steps.detach() * by_autograd).float(), rtol=1e-3, atol=0)
    for place in ((0, 0, 0), (0, 1, 2), (1, 0, 1)):
        moved = torch.zeros(2, 8, 8, dtype=torch.float64)
        moved[place] = 0.02
        by_difference = (distortion(steps + moved) - distortion(steps - moved)).item() / 0.04
        assert by_autograd[place].item() == pytest.approx(by_difference, rel=0.05, abs=1e-4), place


@pytest.mark.parametrize("quality", (20, 50, 85))
def test_gradient_of_the_rate_is_that_of_real_files(photographs: torch.Tensor, quality: int) -> None:
    """When all steps grow by some per cent."""
    predicted, real = 0.0, 0.0
    for photograph in photographs:
        codec = LearnedJPEG(quality)
        (gradient,) = torch.autograd.grad(estimated_bits(codec, photograph), codec.log_steps)
        predicted += gradient.sum().item() / SPEED
        sizes = []
        for factor in (0.8, 1.25):
            codec = LearnedJPEG(quality)
            codec.log_steps.data += torch.tensor(factor).log() / SPEED
            sizes.append(scan_bits(codec, photograph))
        real += (sizes[1] - sizes[0]) / (np.log(1.25) - np.log(0.8))
    assert predicted == pytest.approx(real, rel=0.1)


def test_images_learn_to_cost_less(photographs: torch.Tensor) -> None:
    """The gradient of the rate reaches the images: against it, a real file shrinks."""
    codec = LearnedJPEG(60)
    image = (photographs[2:3] / 255).requires_grad_()
    codec(image)
    (gradient,) = torch.autograd.grad(codec.rate(), image)
    cheaper = (255 * (image - 0.02 * gradient / gradient.square().mean().sqrt())).detach()
    sizes = [scan_bits(codec, x.clamp(0, 255).round().byte()[0]) for x in (255 * image.detach(), cheaper)]
    assert sizes[1] < 0.97 * sizes[0]


# --- the rate ---


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("quality", (2, 10, 25, 50, 75, 90, 95))
def test_rate_is_that_of_real_files(photographs: torch.Tensor, quality: int, subsampling: str) -> None:
    codec = LearnedJPEG(quality, "sin", subsampling)
    ratios = [estimated_bits(codec, one).item() / scan_bits(codec, one) for one in photographs[..., :187, :221]]
    # These photographs chose nothing. On average of 19 larger ones, the estimate is right within 1 %.
    assert np.mean(ratios) == pytest.approx(1, abs=0.04)
    assert max(abs(ratio - 1) for ratio in ratios) < 0.08


def test_rate_counts_differences_of_dc(photographs: torch.Tensor) -> None:
    """Of pictures whose blocks have one colour each."""
    codec = LearnedJPEG(2)
    ratios = []
    for photograph in photographs:
        means = torch.nn.functional.avg_pool2d(photograph.float(), 8).round().byte()
        mosaic = means.repeat_interleave(8, 1).repeat_interleave(8, 2)
        ratios.append(estimated_bits(codec, mosaic).item() / scan_bits(codec, mosaic))
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)


def test_rate_counts_all_images_of_a_batch(photographs: torch.Tensor) -> None:
    codec = learned(50, "4:2:0")
    single = torch.stack([estimated_bits(codec, one) for one in photographs]) / photographs[0, 0].numel()
    codec(photographs / 255)
    torch.testing.assert_close(codec.rate(), single.mean())
    with torch.no_grad():
        codec(photographs[:1] / 255)
    codec.eval()(photographs[:1] / 255)
    torch.testing.assert_close(codec.rate(), single.mean())  # only passes in training, with a gradient, count


def test_training_the_tables_lowers_the_rate_at_the_same_distortion(photographs: torch.Tensor) -> None:
    """Real files of L = distortion + β·rate: learned tables reach a smaller loss than libjpeg's at any quality."""
    beta, images = 40.0, photographs[..., :96, :112] / 255

    def loss(codec: LearnedJPEG) -> tuple[float, float]:
        real = codec.through_files(photographs[..., :96, :112])[0] / 255
        rate = np.mean([scan_bits(codec, one) / one[0].numel() for one in photographs[..., :96, :112]])
        return float(255**2 * (real - images).square().mean() + beta * rate), float(rate)

    untrained = {quality: loss(LearnedJPEG(quality)) for quality in (30, 40, 50, 60, 70, 80)}
    codec = LearnedJPEG(80, "soft")
    codec.rate_weight = beta
    optimizer = torch.optim.Adam(codec.parameters(), lr=2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        codec(images)
        codec.aux_loss().backward()
        optimizer.step()
    found, rate = loss(codec)
    assert found < 0.97 * min(one for one, _ in untrained.values())
    assert rate < 0.8 * untrained[80][1]


# --- it is built again ---


def test_saved_and_built_again(tmp_path: Path, photographs: torch.Tensor) -> None:
    codec = learned(35, "4:2:0", "soft")
    models.save(tmp_path / "codec.safetensors", codec)
    again = models.load(tmp_path / "codec.safetensors", build=build)
    assert again.settings == {"quality": 35, "rounding": "soft", "subsampling": "4:2:0"}
    assert again.compress(photographs[0]) == codec.compress(photographs[0])
    assert CODECS["learned_jpeg"].learning is LearnedJPEG


@pytest.mark.parametrize("settings", ({"quality": 0}, {"rounding": "ceil"}, {"subsampling": "4:1:1"}), ids=str)
def test_impossible_settings_of_the_learned_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match=str(next(iter(settings.values())))):
        LearnedJPEG(**settings)
