"""Down-sampling against Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image

from channel.downsampling import FILTERS, Factors, resampling_matrix, shrink

PILLOWS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SIZES = ((64, 48), (61, 47), (33, 130), (7, 5))
ALL_FACTORS = (1.01, 1.5, 2, 2.3, 3, 4)


@pytest.mark.parametrize("kernel", FILTERS)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("factor", ALL_FACTORS)
def test_filters_are_pillows(kernel: str, size: tuple[int, int], factor: float) -> None:
    planes = np.random.default_rng(0).random((2, 3, *size), dtype=np.float32)
    h, w = (int(side / factor) for side in size)
    expected = [
        [np.array(Image.fromarray(plane).resize((w, h), PILLOWS[kernel])) for plane in image] for image in planes
    ]
    shrunk = shrink(torch.from_numpy(planes), factor, kernel)
    np.testing.assert_allclose(shrunk.numpy(), np.array(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", FILTERS)
def test_eight_bits_are_pillows_up_to_its_own_rounding(photographs: torch.Tensor, kernel: str) -> None:
    """Pillow rounds and clips to 8 bits between columns and rows as well."""
    pixels = photographs[0]
    theirs = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).resize((89, 76), PILLOWS[kernel])
    ours = shrink(pixels[None].float(), 2.5, kernel).round().clamp(0, 255)[0].permute(1, 2, 0)
    apart = np.abs(ours.numpy() - np.array(theirs, dtype=float))
    assert apart.max() <= 4 and (apart <= 1).mean() > 0.99 and (apart == 0).mean() > 0.7


@pytest.mark.parametrize("kernel", FILTERS)
@pytest.mark.parametrize("factor", (1.5, 2, 2.7))
def test_gradcheck(kernel: str, factor: float, generator: torch.Generator) -> None:
    images = torch.rand(1, 2, 9, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: shrink(x, factor, kernel), images)


@pytest.mark.parametrize("kernel", FILTERS)
def test_even_areas_stay_even(kernel: str) -> None:
    for size in (16, 31, 64):
        matrix = resampling_matrix(size, int(size / 1.7), kernel, torch.float64, torch.device("cpu"))
        torch.testing.assert_close(matrix.sum(dim=1), torch.ones(len(matrix), dtype=torch.float64))
        torch.testing.assert_close(matrix.flip(0, 1), matrix)


def test_a_factor_of_one_changes_nothing(generator: torch.Generator) -> None:
    images = torch.rand(1, 3, 9, 8, generator=generator)
    assert all(shrink(images, 1, kernel) is images for kernel in ("mean", *FILTERS))


def test_sizes_do_not_suffer_from_floating_point() -> None:
    for factor in (1.1, 1.2, 1.3, 1.6, 1.7, 2.2, 2.3, 3.3):
        for whole in (10, 20, 30, 70):
            size = round(whole * factor)
            if abs(size - whole * factor) < 1e-9:
                assert shrink(torch.rand(1, 1, size, size), factor, "bilinear").shape[-1] == whole


def test_constants_of_inference_mode_can_be_trained_with() -> None:
    resampling_matrix.cache_clear()
    with torch.inference_mode():
        shrink(torch.rand(1, 3, 12, 12), 1.5, "bicubic")
    shrink(torch.rand(1, 3, 12, 12, requires_grad=True), 1.5, "bicubic").sum().backward()


def test_means_are_drawn_as_whole_numbers_and_others_as_any() -> None:
    whole, any_ = Factors.parse("2-4"), Factors.parse("2-4", "lanczos")
    assert [whole.pick(u) for u in (0, 0.33, 0.34, 0.67, 0.999999)] == [2, 2, 3, 4, 4]
    assert [any_.pick(u) for u in (0, 0.25, 0.5)] == [2, 2.5, 3]
