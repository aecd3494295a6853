"""Real encoders and their names."""

import io

import numpy as np
import pytest
import torch

from channel import CODECS, OPERATORS, compress, decompress, distribution, encode, versions
from channel.codecs import Encoder
from models import fidelity


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Over all images (N, 3, H, W) uint8 together, dB."""
    return fidelity.psnr(*(images.flatten()[None, None, None] / 255 for images in (a, b))).item()


@pytest.mark.parametrize("name", [name for name, codec in CODECS.items() if codec.encode])
def test_more_quality_is_more_fidelity(photographs: torch.Tensor, name: str) -> None:
    images = photographs[:2, :, :93, :101]  # odd: no codec may hand back its padding
    scores = []
    for quality in (25, 35, 45):
        decoded = encode(images, f"{name}:{quality}")
        assert decoded.dtype == torch.uint8 and decoded.shape == images.shape
        scores.append(psnr(decoded, images))
    assert scores[0] > 20
    assert scores == sorted(scores)


def test_jpeg2000_reaches_its_psnr(photographs: torch.Tensor) -> None:
    assert psnr(encode(photographs, "jpeg2000:40"), photographs) == pytest.approx(40, abs=1)


@pytest.mark.parametrize(("codec", "colour"), (("jpeg:90", "4:2:0"), ("avif:90:4:4:4", "4:2:0")))
def test_subsampling_blurs_colour(codec: str, colour: str) -> None:
    checkerboard = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    checkerboard[:, 0, ::2, ::2] = checkerboard[:, 2, 1::2, 1::2] = 200  # red and blue pixels side by side
    name, quality = codec.split(":")[:2]
    full, halved = encode(checkerboard, codec), encode(checkerboard, f"{name}:{quality}:{colour}")
    assert psnr(full, checkerboard) > psnr(halved, checkerboard) + 6


def test_jpeg_is_what_pillow_reads_back(photographs: torch.Tensor) -> None:
    from PIL import Image

    file = io.BytesIO()
    pixels = photographs[0].permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=70, subsampling="4:2:0")
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    assert torch.equal(encode(photographs[:1], "jpeg:70:4:2:0")[0], expected)


def test_numpy_and_any_memory_layout(photographs: torch.Tensor) -> None:
    expected = encode(photographs)
    assert torch.equal(encode(photographs.numpy()), expected)
    assert torch.equal(encode(photographs.contiguous(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("codec", ("", "jpeg", "jpeg:0", "jpeg:101", "png:1", "webp:80:4:4:4", "jpeg:50:4:1:1"))
def test_unknown_codecs_are_refused_in_one_line(photographs: torch.Tensor, codec: str) -> None:
    with pytest.raises(ValueError, match="codec") as error:
        encode(photographs, codec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("images", (torch.rand(1, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)))
def test_wrong_images_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="uint8 images"):
        encode(images)


@pytest.mark.parametrize(
    ("text", "shortest"),
    [
        ("jpeg:50", "jpeg:50"),
        ("jpeg:050:", "jpeg:50"),
        ("jpeg:50:4:4:4", "jpeg:50"),
        ("jpeg:50:4:2:0", "jpeg:50:4:2:0"),
        ("avif:60:4:2:0", "avif:60"),
        ("avif:60:4:4:4", "avif:60:4:4:4"),
        ("webp:80:4:2:0", "webp:80"),
    ],
)
def test_an_encoder_has_one_shortest_name(text: str, shortest: str) -> None:
    encoder = Encoder.parse(text)
    assert str(encoder) == shortest
    assert Encoder.parse(shortest) == encoder


def test_versions_are_those_of_the_parts_in_use() -> None:
    assert versions(("jpeg:50-90", "awgn"), "jpeg:50") == {
        "channel": distribution.VERSION,
        "manipulation jpeg": CODECS["jpeg"].version,
        "manipulation awgn": OPERATORS["awgn"].version,
        "codec jpeg": CODECS["jpeg"].version,
    }
    assert versions((), "none") == {"channel": distribution.VERSION}


@pytest.mark.parametrize("codec", ("jpeg:70:4:2:0", "webp:60", "avif:60", "jpeg2000:35"))
def test_bytes_are_those_of_a_file_that_pillow_reads(photographs: torch.Tensor, codec: str) -> None:
    from PIL import Image

    data = compress(photographs[0], codec)
    with Image.open(io.BytesIO(data)) as opened:
        name = codec.partition(":")[0]
        assert opened.format == name.upper()
        expected = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(decompress(data, codec), expected)
    assert torch.equal(encode(photographs[:1], codec)[0], expected)
    assert len(data) < photographs[0].numel()


def test_compress_takes_one_picture(photographs: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="uint8 image"):
        compress(photographs, "jpeg:50")
