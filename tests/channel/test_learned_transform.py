"""The learned codec as a DCT: against SciPy's, plane by plane."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from channel.learned import FEATURES, Autoencoder, codebook
from channel.learned.transform import CELL, COEFFICIENTS, LEAST_WIDTH, RATE_WEIGHT, STEP, basis, start_as_dct

JFIF = np.array([[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]])


def started(features: int, width: int = LEAST_WIDTH, rate_weight: float = RATE_WEIGHT) -> Autoencoder:
    codec = Autoencoder(features, width, torch.Generator().manual_seed(2))
    start_as_dct(codec, rate_weight)
    return codec.eval()


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * torch.log10((a - b).square().mean()).item()


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize(("width", "rate_weight"), ((LEAST_WIDTH, 100.0), (64, 25.0), (50, 1600.0)))
def test_values_are_coefficients_divided_by_their_steps(
    photographs: torch.Tensor, features: int, width: int, rate_weight: float
) -> None:
    step = 2.8 * rate_weight**0.5
    pixels = photographs[:1, :, :64, :96].double()
    values = started(features, width, rate_weight).encode(pixels.float() / 255)[0].detach().double().numpy()
    y, cb, cr = np.tensordot(JFIF, pixels[0].numpy() - 127.5, axes=1)
    of_y, of_chroma = COEFFICIENTS[features]
    expected = []
    for plane, size, number in ((y, 8, of_y), (halved(cb), 4, of_chroma), (halved(cr), 4, of_chroma)):
        h, w = plane.shape
        blocks = plane.reshape(h // size, size, w // size, size).swapaxes(1, 2)
        coefficients = dctn(blocks, axes=(2, 3), norm="ortho")
        places = sorted(np.ndindex(size, size), key=lambda place: (sum(place), max(place)))[:number]
        steps = [step if sum(place) else max(step, size * 127.5 / 15) for place in places]
        expected += [coefficients[:, :, u, v] / step for (u, v), step in zip(places, steps, strict=True)]
    np.testing.assert_allclose(values, np.stack(expected), atol=2e-4)


def halved(plane: np.ndarray) -> np.ndarray:
    h, w = plane.shape
    return plane.reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3))


def test_what_is_not_quantised_comes_back(photographs: torch.Tensor) -> None:
    """Of 64 features, 48 of 64 coefficients of Y come back; of grey pictures without fine detail, all that there is."""
    codec = started(64)
    images = photographs.float() / 255
    with torch.no_grad():
        assert psnr(codec.decode(codec.encode(images), *images.shape[-2:]), images) > 32
        smooth = torch.nn.functional.interpolate(images[:, :1, ::16, ::16], scale_factor=16, mode="bicubic").clamp(
            0.1, 0.9
        )
        grey = smooth.expand(-1, 3, -1, -1)
        assert psnr(codec.decode(codec.encode(grey), *grey.shape[-2:]), grey) > 45
        flat = torch.tensor([0.7, 0.4, 0.2])[None, :, None, None].expand(1, 3, 48, 48)
        decoded = codec.decode(codec.encode(flat), 48, 48)  # at the border, chroma is interpolated with nothing
        assert torch.allclose(decoded[..., 2:-2, 2:-2], flat[..., 2:-2, 2:-2], atol=1e-4), "chroma has its place"


@pytest.mark.parametrize("features", FEATURES)
def test_rows_are_at_right_angles(features: int) -> None:
    transform, steps = basis(features, STEP)
    torch.testing.assert_close(transform @ transform.mT, 127.5**2 * torch.eye(features), atol=1e-1, rtol=0)
    assert len(steps) == features and steps.min() == STEP


def test_black_and_white_have_codes() -> None:
    codec = started(16)
    for level in (0.0, 1.0):
        flat = torch.full((1, 3, 16, 16), level)
        values = codec.encode(flat)
        assert torch.allclose(codebook.nearest(values), values.round(), atol=0), "no code is clipped"
        assert codec.decode(codebook.nearest(values), 16, 16).sub(flat).abs().max() < 1 / 255


def test_it_is_where_a_training_can_go_on(photographs: torch.Tensor) -> None:
    """The loss falls, and after a step or two every weight has a gradient, also those without an effect at first."""
    codec = started(16).train()
    adam = torch.optim.Adam(codec.parameters(), lr=1e-5)
    images = photographs[:2, :, :64, :64].float() / 255
    losses = []
    codec.rate_weight = 100.0
    for _ in range(12):
        codec.zero_grad()
        codec(images)
        codec.aux_loss().backward()
        losses.append(codec.aux_loss().item())
        adam.step()
    assert losses[-1] < losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in codec.parameters())


def test_a_narrow_codec_is_refused() -> None:
    with pytest.raises(ValueError, match="width 32 cannot start as the DCT: use 48"):
        start_as_dct(Autoencoder(16, 32))
    assert len(CELL) == 4
