"""Real encoders in a training: their values, with the gradient of dJPEG."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from channel import CODECS, Channel, DifferentiableJPEG, codecs, encode
from channel.codecs import Encoder
from channel.codecs.trained import RealEncoder

REAL = ("jpeg:50", "jpeg:70:4:2:0", "jpeg:70:4:2:2", "webp:60", "avif:50", "avif:60:4:4:4", "jpeg2000:34")


@pytest.mark.parametrize("rounding", ("sin", "soft", "straight-through"))
@pytest.mark.parametrize("name", REAL)
def test_values_are_the_encoders_and_gradients_djpegs(photographs: torch.Tensor, name: str, rounding: str) -> None:
    encoder = Encoder.parse(name)
    images = (photographs[:2, :, :61, :77] / 255 + 0.001).requires_grad_()
    weights = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    received = RealEncoder(encoder, rounding)(images)
    assert torch.equal(received, encode((255 * images.detach()).round().byte(), name) / 255)

    quality = CODECS[encoder.name].jpeg_quality(encoder.quality)
    subsampling = "4:4:4" if encoder.subsampling == "4:4:4" else "4:2:0"
    surrogate = DifferentiableJPEG(quality, rounding, subsampling)(images)
    assert not torch.equal(surrogate, received)
    expected, found = (torch.autograd.grad((out * weights).sum(), images)[0] for out in (surrogate, received))
    assert torch.equal(found, expected)


def test_round_has_no_gradient_here_either(photographs: torch.Tensor) -> None:
    images = (photographs[:1, :, :16, :16] / 255).requires_grad_()
    received = Channel(1, "libjpeg:50", "round")(images)
    (gradient,) = torch.autograd.grad(received.sum(), images)
    assert not gradient.any()


def test_without_a_gradient_nothing_but_the_encoder_computes(
    photographs: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = photographs[:1] / 255
    expected = Channel(1, "webp:50")(images.clone().requires_grad_()).detach()
    monkeypatch.setattr(DifferentiableJPEG, "forward", None)
    assert torch.equal(Channel(1, "webp:50")(images), expected)
    with torch.no_grad():
        assert torch.equal(Channel(1, "webp:50")(images.requires_grad_()), expected)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)
def test_encoders_keep_the_dtype(dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 16, 16, dtype=dtype, generator=torch.Generator().manual_seed(0))
    received = Channel(1, "libjpeg:90")(images)
    assert received.dtype == dtype
    assert torch.equal(received, received.mul(255).round() / 255)


def test_the_meta_device_has_no_values_to_encode() -> None:
    images = torch.rand(2, 3, 16, 16, device="meta", requires_grad=True)
    received = Channel(2, "avif:50", storage="8-bit")(images)
    received.sum().backward()
    assert received.shape == (2, 3, 8, 8) and images.grad is not None


@pytest.mark.parametrize("name", [name for name, codec in CODECS.items() if codec.encode])
def test_threads_change_nothing(photographs: torch.Tensor, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = photographs.repeat(3, 1, 1, 1)[:, :, :64, :64] + torch.arange(12, dtype=torch.uint8)[:, None, None, None]
    found = []
    for count in (1, 5):
        monkeypatch.setattr(codecs, "ThreadPoolExecutor", lambda threads, count=count: ThreadPoolExecutor(count))
        found.append(encode(images, f"{name}:40"))
    assert torch.equal(*found)
    assert torch.equal(torch.cat([encode(image[None], f"{name}:40") for image in images]), found[0])


@pytest.mark.parametrize("name", ("webp", "avif", "jpeg2000"))
def test_the_djpeg_that_lends_its_gradient_costs_about_as_many_decibels(photographs: torch.Tensor, name: str) -> None:
    """On photographs of half the size, as the channel shrinks them: within 1.2 dB at every quality."""
    from channel import shrink
    from models.fidelity import psnr

    images = shrink(photographs.float(), 2).round().byte()
    for quality in (22, 30, 38, 44) if name == "jpeg2000" else (15, 35, 50, 65, 85):
        subsampling = CODECS[name].subsamplings[0]
        jpeg = encode(images, f"jpeg:{CODECS[name].jpeg_quality(quality)}:{subsampling}")
        theirs, ours = (
            psnr(each / 255, images / 255).mean().item() for each in (encode(images, f"{name}:{quality}"), jpeg)
        )
        assert ours == pytest.approx(theirs, abs=1.2), quality


def test_qualities_of_jpeg_are_its_own() -> None:
    assert [CODECS["jpeg"].jpeg_quality(quality) for quality in range(1, 101)] == list(range(1, 101))
