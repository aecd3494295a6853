"""dJPEG against libjpeg-turbo (Pillow), scipy and kornia."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from channel import DifferentiableJPEG, encode
from channel.codecs.jpeg import LEVEL_SHIFT, dct_matrix, downsample, quantization_tables, upsample
from models.fidelity import psnr

QUALITIES = (10, 30, 50, 75, 90, 95)
SUBSAMPLINGS = ("4:4:4", "4:2:0")


def mean_psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Over images, dB."""
    return psnr(a, b).mean().item()


@pytest.fixture(params=SUBSAMPLINGS)
def subsampling(request: pytest.FixtureRequest) -> str:
    return request.param


def test_tables_are_libjpegs() -> None:
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
        tables = Image.open(file).quantization
        assert quantization_tables(quality).flatten(1).tolist() == [tables[0], tables[1]], quality


def test_dct_is_scipys(generator: torch.Generator) -> None:
    from scipy.fft import dctn

    block = torch.rand(8, 8, generator=generator, dtype=torch.float64)
    D = dct_matrix()
    np.testing.assert_allclose(D @ block @ D.T, dctn(block.numpy(), norm="ortho"), atol=1e-14)


def to_integers(planes: torch.Tensor, *dither: float) -> torch.Tensor:
    """libjpeg's integer division: columns are rounded down after adding each ``dither`` in turn."""
    W = planes.shape[-1]
    added = torch.tensor(dither).repeat(W // len(dither) + 1)[:W]
    return torch.floor(255 * (planes + LEVEL_SHIFT) + added + 1e-3).clamp(0, 255) / 255 - LEVEL_SHIFT


@pytest.mark.parametrize("quality", (50, 90))
@pytest.mark.parametrize(("size", "floor"), (((192, 224), 55), ((182, 186), 55), ((181, 203), 50)), ids=str)
def test_planes_are_libjpegs(
    photographs: torch.Tensor, subsampling: str, quality: int, size: tuple[int, int], floor: float
) -> None:
    """Without colour conversion, and with libjpeg's integers between the steps, only its integer DCT differs.

    The floors hold at the bottom and right edges by themselves, where sizes are not whole blocks: padding or
    interpolating chroma there in any other way than libjpeg's costs 4 dB and more.
    """
    codec = DifferentiableJPEG(quality, "round", subsampling)
    H, W = size
    errors = []
    for photograph in photographs[..., :H, :W]:
        image = Image.fromarray(photograph.permute(1, 2, 0).contiguous().numpy()).convert("YCbCr")
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, subsampling=subsampling)
        decoded = Image.open(file)
        decoded.draft("YCbCr", decoded.size)
        assert decoded.mode == "YCbCr"

        planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255 - LEVEL_SHIFT
        y, cbcr = planes.split((1, 2), dim=1)
        if subsampling == "4:2:0":
            reduced = codec.quantize(to_integers(downsample(cbcr), 1 / 4, 2 / 4), first=1)[..., : (W + 1) // 2]
            cbcr = to_integers(upsample(to_integers(reduced, 1 / 2)), 8 / 16, 7 / 16)[..., :H, :W]
        else:
            cbcr = to_integers(codec.quantize(cbcr, first=1), 1 / 2)
        y = to_integers(codec.quantize(y, first=0), 1 / 2)
        theirs = torch.from_numpy(np.array(decoded)).permute(2, 0, 1)
        errors.append(torch.cat((y, cbcr), dim=1)[0] + LEVEL_SHIFT - theirs / 255)

    error = torch.stack(errors)
    same = (255 * error).abs() < 1.5
    assert same[:, 0].float().mean() > 0.95 and same[:, 1:].float().mean() > 0.98
    chroma = error[:, 1:].square()
    for where, part in {"all": chroma, "bottom": chroma[..., -16:, :], "right": chroma[..., -16:]}.items():
        assert -10 * torch.log10(part.mean()) > floor, where


@pytest.mark.parametrize("quality", QUALITIES)
def test_round_is_libjpeg_and_the_others_come_close(photographs: torch.Tensor, subsampling: str, quality: int) -> None:
    """libjpeg rounds YCbCr to 8 bits before and after the DCT, and RGB; at times that costs a coefficient.

    Published differentiable JPEGs are 42–43 dB away.
    """
    reference = encode(photographs, f"jpeg:{quality}:{subsampling}") / 255
    images = photographs / 255
    scores = {
        rounding: mean_psnr(DifferentiableJPEG(quality, rounding, subsampling)(images), reference)
        for rounding in ("round", "soft", "harmonic", "sin", "straight-through")
    }
    assert scores["round"] > (43 if quality >= 30 else 41)
    assert scores["soft"] == pytest.approx(scores["round"], abs=0.05)
    assert scores["straight-through"] == scores["round"]
    assert scores["sin"] < scores["harmonic"]
    # A smooth ρ errs less than no rounding at all.
    assert scores["sin"] > mean_psnr(images, reference)
    if quality <= 75:  # above, libjpeg's rounding of pixels weighs more
        assert scores["harmonic"] < scores["round"]


@pytest.mark.parametrize("quality", (50, 75, 90))
def test_closer_to_libjpeg_than_kornia(photographs: torch.Tensor, quality: int) -> None:
    kornia = pytest.importorskip("kornia")
    images = photographs / 255
    reference = encode(photographs, f"jpeg:{quality}:4:2:0") / 255
    peer = kornia.enhance.jpeg_codec_differentiable(images, torch.full((len(images),), float(quality)))
    assert (
        mean_psnr(DifferentiableJPEG(quality, "round", "4:2:0")(images), reference) > mean_psnr(peer, reference) + 0.5
    )


def test_more_quality_is_more_fidelity(photographs: torch.Tensor, subsampling: str) -> None:
    images = photographs / 255
    scores = [mean_psnr(DifferentiableJPEG(q, "sin", subsampling)(images), images) for q in QUALITIES]
    assert scores == sorted(scores)


def test_more_harmonics_come_closer_to_libjpeg(photographs: torch.Tensor) -> None:
    reference = encode(photographs, "jpeg:50") / 255
    codecs = [DifferentiableJPEG(50, "harmonic", harmonics=terms) for terms in (1, 2, 5)]
    scores = [mean_psnr(codec(photographs / 255), reference) for codec in codecs]
    assert scores == sorted(scores)
    assert scores[-1] - scores[0] > 2  # the toolbox used one term where the paper says five


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_soft_learns_like_sin(photographs: torch.Tensor, subsampling: str) -> None:
    images = (photographs[:2, :, :40, :56] / 255).double().requires_grad_()
    weights = torch.rand(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = [
        torch.autograd.grad((DifferentiableJPEG(50, rounding, subsampling)(images) * weights).sum(), images)[0]
        for rounding in ("soft", "sin")
    ]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("quality", QUALITIES)
def test_straight_through_is_round_to_the_bit(photographs: torch.Tensor, subsampling: str, quality: int) -> None:
    images = photographs[..., :61, :77] / 255
    ours, theirs = (DifferentiableJPEG(quality, name, subsampling)(images) for name in ("straight-through", "round"))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("size", ((16, 24), (13, 27)), ids=str)
def test_straight_through_has_the_gradient_without_rounding(
    subsampling: str, size: tuple[int, int], generator: torch.Generator
) -> None:
    """The oracle: autograd of dJPEG with a ρ that does nothing, which passes DCT, tables and padding."""
    images = torch.rand(2, 3, *size, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(images.shape, generator=generator, dtype=torch.float64)
    oracle = DifferentiableJPEG(50, "round", subsampling).double()
    oracle.rho = lambda x: x
    codec = DifferentiableJPEG(50, "straight-through", subsampling).double()
    found, expected = (torch.autograd.grad((module(images) * weights).sum(), images)[0] for module in (codec, oracle))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # constants are float32
    if subsampling == "4:4:4":
        torch.testing.assert_close(found, weights, rtol=0, atol=1e-6)


def test_grey_stays_grey(generator: torch.Generator) -> None:
    grey = torch.rand(1, 1, 16, 24, generator=generator).expand(1, 3, 16, 24)
    R, G, B = DifferentiableJPEG(20)(grey).unbind(dim=1)
    torch.testing.assert_close(R, G, rtol=0, atol=1e-5)
    torch.testing.assert_close(B, G, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    (
        ({"quality": 0}, "quality"),
        ({"quality": 101}, "quality"),
        ({"quality": 50.5}, "quality"),
        ({"rounding": "ceil"}, "ceil"),
        ({"subsampling": "4:1:1"}, "4:1:1"),
        ({"rounding": "harmonic", "harmonics": 0}, "harmonics"),
    ),
    ids=str,
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DifferentiableJPEG(**settings)
