"""Demosaicing: colour-demosaicing is the oracle; algebra shows what an oracle cannot."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

from cameras import demosaic
from cameras.raw import CFA_PATTERNS

Demosaic = Callable[[torch.Tensor, str], torch.Tensor]
METHODS: dict[str, Demosaic] = {"bilinear": demosaic.bilinear, "menon": demosaic.menon}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
every_cfa = pytest.mark.parametrize("cfa", CFA_PATTERNS)


def sample(rgb: np.ndarray, cfa: str) -> np.ndarray:
    """(H, W, 3) -> mosaic (H, W), by the letters of the pattern."""
    mosaic = np.empty(rgb.shape[:2], rgb.dtype)
    for position, colour in enumerate(cfa):
        y, x = divmod(position, 2)
        mosaic[y::2, x::2] = rgb[y::2, x::2, "RGB".index(colour)]
    return mosaic


def apply(method: Demosaic, mosaic: np.ndarray, cfa: str) -> np.ndarray:
    return method(torch.from_numpy(mosaic)[None, None], cfa)[0].movedim(0, -1).numpy()


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """8-bit values: at many pixels both directions are equally good, and a careless sum decides otherwise."""
    from skimage import data

    return data.astronaut()[100:260, 60:300] / 255


@pytest.fixture(scope="module")
def oracle() -> dict[str, Callable[..., np.ndarray]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses a plotting library
        import colour_demosaicing
    return {
        "bilinear": colour_demosaicing.demosaicing_CFA_Bayer_bilinear,
        "menon": colour_demosaicing.demosaicing_CFA_Bayer_Menon2007,
    }


@every_cfa
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", METHODS)
def test_equals_colour_demosaicing(
    name: str, dtype: type, cfa: str, photograph: np.ndarray, oracle: dict[str, Callable[..., np.ndarray]]
) -> None:
    mosaic = sample(photograph, cfa).astype(dtype)
    ours = apply(METHODS[name], mosaic, cfa)
    assert ours.dtype == dtype
    theirs = oracle[name](mosaic.astype(np.float64), cfa)
    inside = np.s_[4:-4, 4:-4] if name == "bilinear" else np.s_[:, :]  # Menon agrees up to the border
    assert np.abs(ours - theirs)[inside].max() < (1e-6 if dtype == np.float32 else 1e-12)


def test_strips_leave_no_seam(oracle: dict[str, Callable[..., np.ndarray]]) -> None:
    height = 2 * demosaic.STRIP + 6
    mosaic = np.random.default_rng(1).random((height, 12))
    assert np.abs(apply(demosaic.menon, mosaic, "GRBG") - oracle["menon"](mosaic, "GRBG")).max() < 1e-12


@every_cfa
@every_method
@pytest.mark.parametrize("shape", [(2, 2), (2, 10), (6, 4), (8, 14)])
def test_any_even_size_keeps_the_samples_and_constants(
    method: Demosaic, shape: tuple[int, int], cfa: str, generator: torch.Generator
) -> None:
    mosaic = torch.rand(3, 1, *shape, generator=generator)
    rgb = method(mosaic, cfa)
    assert rgb.shape == (3, 3, *shape)
    for image, sampled in zip(rgb, mosaic, strict=True):
        np.testing.assert_array_equal(sample(image.movedim(0, -1).numpy(), cfa), sampled[0].numpy())
    np.testing.assert_allclose(method(torch.full((1, 1, *shape), 0.3), cfa), 0.3, atol=1e-6)


@every_cfa
@every_method
def test_planes_are_interpolated_exactly_inside(method: Demosaic, cfa: str) -> None:
    """A grey ramp with another slope along each axis: what is linear stays linear."""
    y, x = np.mgrid[:16, :20]
    ramp = np.repeat((0.1 + 0.02 * x + 0.005 * y)[..., None], 3, axis=2)
    rgb = apply(method, sample(ramp, cfa), cfa)
    np.testing.assert_allclose(rgb[5:-5, 5:-5], ramp[5:-5, 5:-5], atol=1e-12)


@every_method
def test_images_of_a_batch_do_not_mix(method: Demosaic, generator: torch.Generator) -> None:
    mosaic = torch.rand(4, 1, 20, 24, generator=generator)
    together = method(mosaic, "GBRG")
    assert torch.equal(together, torch.cat([method(image[None], "GBRG") for image in mosaic]))


@every_method
def test_gradient(method: Demosaic, generator: torch.Generator) -> None:
    mosaic = torch.rand(1, 1, 6, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: method(m, "BGGR"), mosaic, fast_mode=True)


@every_cfa
def test_stack_and_mosaic_are_inverse(cfa: str, generator: torch.Generator) -> None:
    mosaic = torch.rand(2, 1, 6, 10, generator=generator)
    bayer = demosaic.stack_from_mosaic(mosaic, cfa)
    assert torch.equal(demosaic.mosaic_from_stack(bayer, cfa), mosaic)
    letters = dict(zip("R12B", range(4), strict=True))
    cell = cfa.replace("G", "1", 1).replace("G", "2")  # the greens in row-major order
    for position, letter in enumerate(cell):
        y, x = divmod(position, 2)
        assert torch.equal(bayer[:, letters[letter]], mosaic[:, 0, y::2, x::2])


@every_method
def test_refuses_what_is_no_mosaic(method: Demosaic) -> None:
    with pytest.raises(ValueError, match="even H and W"):
        method(torch.zeros(1, 1, 5, 6), "RGGB")
    with pytest.raises(ValueError, match="even H and W"):
        method(torch.zeros(1, 3, 6, 6), "RGGB")
    with pytest.raises(ValueError, match="RGBG"):
        method(torch.zeros(1, 1, 6, 6), "RGBG")
