import pytest
import torch
from torch.nn import functional as F

from channel.filters import average, blur


@pytest.mark.parametrize("k", (1, 2, 3, 5))
@pytest.mark.parametrize("size", ((30, 30), (17, 23), (5, 6)), ids=str)
def test_average_is_avg_pool2d(k: int, size: tuple[int, int], generator: torch.Generator) -> None:
    images = torch.rand(2, 3, *size, generator=generator)
    torch.testing.assert_close(average(images, k), F.avg_pool2d(images, k))


@pytest.mark.parametrize("taps", ((1.0,), (0.1, 0.7, 0.4), (0.3, -0.2, 0.5, 0.1, 0.6)))
def test_blur_is_conv2d_with_mirrored_borders(taps: tuple[float, ...], generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 9, 14, generator=generator)
    kernel = torch.outer(torch.tensor(taps), torch.tensor(taps))
    mirrored = F.pad(images, (len(taps) // 2,) * 4, mode="reflect")
    expected = F.conv2d(mirrored, kernel.expand(3, 1, -1, -1), groups=3)
    torch.testing.assert_close(blur(images, taps), expected)


def test_blur_refuses_images_smaller_than_its_filter() -> None:
    with pytest.raises(ValueError, match="2×9 pixels are too small for a filter of radius 2"):
        blur(torch.rand(1, 3, 2, 9), (0.2,) * 5)
