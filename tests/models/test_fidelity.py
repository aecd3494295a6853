"""PSNR, SSIM and MS-SSIM against scikit-image and torchmetrics."""

import math

import by_hand
import pytest
import torch
from precisions import PRECISIONS

import models
from cameras.patches import Patches
from models.fidelity import (
    LOSSES,
    METRICS,
    absolute_error,
    evaluate,
    ms_ssim,
    psnr,
    squared_error,
    ssim,
    ssim_paper,
)
from models.precision import autocast


def images(size: tuple[int, int], generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images and distorted copies, some of them little and some much."""
    a = torch.rand(3, 3, *size, generator=generator)
    a = torch.nn.functional.avg_pool2d(a, 3, stride=1, padding=1)
    noise = torch.randn(a.shape, generator=generator) * torch.tensor([1e-3, 0.02, 0.3])[:, None, None, None]
    return a, (a + noise).clamp(0, 1)


@pytest.mark.parametrize("size", [(11, 11), (32, 45), (64, 17)])
def test_equals_scikit_image_and_torchmetrics(size: tuple[int, int], generator: torch.Generator) -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = images(size, generator)
    for i in range(len(a)):
        x, y = (image[i].movedim(0, -1).double().numpy() for image in (a, b))
        assert math.isclose(psnr(a, b)[i], peak_signal_noise_ratio(x, y, data_range=1), rel_tol=1e-5)
        expected = structural_similarity(
            x, y, data_range=1, channel_axis=-1, gaussian_weights=True, use_sample_covariance=False
        )
        assert math.isclose(ssim(a, b)[i], expected, abs_tol=1e-5)
    _, similarity = structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)
    inside = similarity[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))  # it pads by reflection and averages over all
    torch.testing.assert_close(ssim(a, b), inside, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "scales"), [((11, 40), 1), ((21, 33), 1), ((22, 45), 2), ((51, 48), 3), ((88, 175), 4), ((176, 203), 5)]
)
def test_ms_ssim_has_as_many_scales_as_fit(size: tuple[int, int], scales: int, generator: torch.Generator) -> None:
    a, b = images(size, generator)
    torch.testing.assert_close(ms_ssim(a, b), by_hand.ms_ssim(a, b, scales), rtol=0, atol=1e-5)
    if scales == 1:
        torch.testing.assert_close(ms_ssim(a, b), ssim(a, b))


def test_ms_ssim_is_nearly_that_of_torchmetrics(generator: torch.Generator) -> None:
    """Which counts places where the window reaches beyond the coarsest image."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    a, b = images((400, 380), generator)
    expected = multiscale_structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
    torch.testing.assert_close(ms_ssim(a, b), expected, rtol=0, atol=2e-3)


def test_equal_images() -> None:
    a = torch.rand(2, 3, 24, 24)
    assert psnr(a, a).tolist() == [math.inf, math.inf]
    torch.testing.assert_close(ssim(a, a), torch.ones(2))
    for loss in LOSSES.values():
        torch.testing.assert_close(loss(a, a), torch.zeros(2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [11, 44])
def test_ms_ssim_of_a_negative_has_a_finite_gradient(size: int, generator: torch.Generator) -> None:
    """Its structure is opposite, and a negative number has no power: at all scales, or at the finer ones."""
    a = torch.rand(1, 3, size, size, generator=generator).requires_grad_()
    found = ms_ssim(a, 1 - a.detach())
    (gradient,) = torch.autograd.grad(found.sum(), a)
    assert 0 < found.item() < 0.1
    assert gradient.isfinite().all()


def test_ssim_is_the_same_under_autocast(generator: torch.Generator) -> None:
    a, b = images((16, 16), generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ssim(a, b), ssim(a, b).float())
        inside = ssim(a, b)
    assert torch.equal(inside, ssim(a, b))


def test_gradients(generator: torch.Generator) -> None:
    a, b = (image[:1].double() for image in images((12, 13), generator))
    assert torch.autograd.gradcheck(squared_error, (a.requires_grad_(), b), fast_mode=True)
    assert torch.autograd.gradcheck(psnr, (a, b), fast_mode=True)
    assert torch.autograd.gradcheck(ssim, (a, b), fast_mode=True)
    a, b = (image[:1].double() for image in images((23, 22), generator))
    for loss in LOSSES.values():
        assert torch.autograd.gradcheck(loss, (a.requires_grad_(), b), fast_mode=True)


def test_errors_are_in_8_bit_units() -> None:
    a = torch.zeros(2, 3, 4, 4)
    a[0] = 2 / 255
    a[1, 0] = 6 / 255
    torch.testing.assert_close(squared_error(a, torch.zeros_like(a)), torch.tensor([4.0, 12.0]))
    torch.testing.assert_close(absolute_error(a, torch.zeros_like(a)), torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(absolute_error(torch.zeros_like(a), a), torch.tensor([2.0, 2.0]))


def test_losses_are_what_they_are_called(generator: torch.Generator) -> None:
    a, b = images((24, 30), generator)
    expected = {
        "L2": 255**2 * (a - b).square().mean(dim=(1, 2, 3)),
        "L1": 255 * (a - b).abs().mean(dim=(1, 2, 3)),
        "SSIM": 1 - ssim(a, b),
        "MS-SSIM": 1 - ms_ssim(a, b),
    }
    assert expected.keys() == LOSSES.keys()
    for name, loss in LOSSES.items():
        torch.testing.assert_close(loss(a, b), expected[name])


@pytest.mark.parametrize("name", ["DNet", "INet"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("loss", ["L2", "L1"])
def test_evaluation_is_the_mean_over_patches_whatever_its_chunks(
    name: str, precision: str, loss: str, generator: torch.Generator
) -> None:
    patches = Patches(torch.rand(6, 4, 8, 8, generator=generator), torch.rand(6, 3, 16, 16, generator=generator))
    nip = models.build(name).eval()
    with torch.no_grad(), autocast(patches.bayer, precision):
        developed = nip(patches.bayer)
    expected = {
        measure: function(developed, patches.target).mean().item()
        for measure, function in zip(METRICS, (LOSSES[loss], psnr, ssim, ssim_paper), strict=True)
    }
    tolerance = {"rel": 2e-3, "abs": 1e-3} if precision == "bfloat16" else {"rel": 1e-5}
    for chunk in (1, 4, 6):
        parts = zip(patches.bayer.split(chunk), patches.target.split(chunk), strict=True)
        found = evaluate(nip, (Patches(*part) for part in parts), precision, loss)
        assert found == pytest.approx(expected, **tolerance)


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    for measure in (ssim, ms_ssim):
        with pytest.raises(ValueError, match="11×11"):
            measure(torch.rand(1, 3, 10, 20), torch.rand(1, 3, 10, 20))
