"""Filters against PyTorch's own; what a GPU computes against what a CPU does, both on a CPU."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from channel import filters
from channel.filters import average, blur, blur_transposed, resize, resize_transposed

Filter = Callable[[torch.Tensor], torch.Tensor]
TAPS = ((1.0,), (0.2, 0.6, 0.2), (0.3, -0.2, 0.5, -0.2, 0.3), (0.05, 0.1, 0.2, 0.3, 0.2, 0.1, 0.05))
SIZES = ((30, 30), (17, 23), (5, 6))


def transposed(function: Filter, images: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """What autograd makes of the function's own gradient."""
    images = images.detach().requires_grad_()
    return torch.autograd.grad(function(images), images, gradient)[0]


@pytest.mark.parametrize("k", (1, 2, 3, 5))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_average_is_avg_pool2d(k: int, size: tuple[int, int], generator: torch.Generator) -> None:
    images = torch.rand(2, 3, *size, generator=generator)
    pooled = F.avg_pool2d(images, k)
    torch.testing.assert_close(average(images, k), pooled)
    gradient = torch.rand(pooled.shape, generator=generator)
    expected = transposed(lambda x: F.avg_pool2d(x, k), images, gradient)
    torch.testing.assert_close(transposed(lambda x: average(x, k), images, gradient), expected)


@pytest.mark.parametrize("k", (1, 2, 3))
def test_a_gpu_spreads_gradients_as_a_cpu_does(k: int, generator: torch.Generator) -> None:
    gradient = torch.rand(2, 3, 5, 7, generator=generator)
    torch.testing.assert_close(filters.spread_at_once(gradient, k), filters.spread_by_shifts(gradient, k))


def reference_blur(images: torch.Tensor, taps: tuple[float, ...]) -> torch.Tensor:
    kernel = torch.outer(*[torch.tensor(taps, dtype=images.dtype)] * 2)
    channels = images.shape[1]
    mirrored = F.pad(images, (len(taps) // 2,) * 4, mode="reflect")
    return F.conv2d(mirrored, kernel.expand(channels, 1, -1, -1), groups=channels)


@pytest.mark.parametrize("taps", TAPS, ids=len)
@pytest.mark.parametrize("size", ((9, 14), (4, 5), (8, 4)), ids=str)
@pytest.mark.parametrize("channels", (3, 1))
def test_blur_is_conv2d_with_mirrored_borders(
    taps: tuple[float, ...], size: tuple[int, int], channels: int, generator: torch.Generator
) -> None:
    images = torch.rand(2, channels, *size, generator=generator, dtype=torch.float64)
    gradient = torch.rand(images.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(blur(images, taps), reference_blur(images, taps))
    expected = transposed(lambda x: reference_blur(x, taps), images, gradient)
    torch.testing.assert_close(transposed(lambda x: blur(x, taps), images, gradient), expected)
    torch.testing.assert_close(blur_transposed(gradient, taps), expected)


@pytest.mark.parametrize("taps", TAPS, ids=len)
def test_a_gpu_blurs_as_a_cpu_does(taps: tuple[float, ...], generator: torch.Generator) -> None:
    padded = torch.rand(2, 3, 20, 23, generator=generator)
    expected = filters.blur_by_shifts(padded, taps)
    torch.testing.assert_close(filters.blur_by_convolution(padded, taps), expected, rtol=0, atol=1e-6)


def test_blur_refuses_images_smaller_than_its_filter() -> None:
    with pytest.raises(ValueError, match="2×9 pixels are too small for a filter of radius 2"):
        blur(torch.rand(1, 3, 2, 9), (0.2,) * 5)


@pytest.mark.parametrize("taps", ((0.5, 0.5), (0.1, 0.7, 0.2)), ids=str)
def test_blur_refuses_taps_without_symmetry(taps: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="symmetric"):
        blur(torch.rand(1, 3, 9, 9), taps)


@pytest.mark.parametrize("size", ((16, 20), (17, 23)), ids=str)
@pytest.mark.parametrize("sizes", (((8, 10),), ((31, 7),), ((8, 12), (16, 20)), ((5, 9), (40, 1))), ids=str)
def test_resizing_is_bilinear_interpolation(
    size: tuple[int, int], sizes: tuple[tuple[int, int], ...], generator: torch.Generator
) -> None:
    def reference(images: torch.Tensor) -> torch.Tensor:
        for each in sizes:
            images = F.interpolate(images, size=each, mode="bilinear", align_corners=False)
        return images

    images = torch.rand(2, 3, *size, generator=generator)
    resized = resize(images, *sizes)
    torch.testing.assert_close(resized, reference(images))
    gradient = torch.rand(resized.shape, generator=generator)
    expected = transposed(reference, images, gradient)
    torch.testing.assert_close(resize_transposed(gradient, (size, *sizes)), expected, rtol=0, atol=1e-6)


def test_gradients_of_a_gpu_are_those_of_its_filters(generator: torch.Generator) -> None:
    images = torch.rand(1, 2, 7, 9, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: filters._Resize.apply(x, ((4, 5), (7, 9))), images)
    assert torch.autograd.gradcheck(lambda x: average(x, 2), images)
    assert torch.autograd.gradcheck(lambda x: blur(x, TAPS[2]), images)


def test_constants_serve_training_after_inference(generator: torch.Generator) -> None:
    """They are kept: what inference mode made could not be used in training."""
    images = torch.rand(1, 2, 11, 13, generator=generator)
    with torch.inference_mode():
        resize_transposed(images, ((5, 6), (11, 13)))
        blur_transposed(images, (0.25, 0.5, 0.25))
        filters.blur_by_convolution(images, (0.25, 0.5, 0.25))
    for constant in (
        filters._resizing_matrix((5, 11), images.dtype, images.device),
        filters._border_weights(11, 13, images.dtype, images.device),
        *filters._kernels((0.25, 0.5, 0.25), images.dtype, images.device),
    ):
        assert not constant.is_inference()
