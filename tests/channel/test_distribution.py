import pytest
import torch
from torch.nn import functional as F

from channel import Channel, DifferentiableJPEG


@pytest.mark.parametrize("downsample", (1, 2, 3))
def test_the_channel_averages_and_then_compresses(photographs: torch.Tensor, downsample: int) -> None:
    images = photographs / 255
    expected = DifferentiableJPEG(50, "sin", "4:4:4")(F.avg_pool2d(images, downsample))
    # "sin" is smooth: averages that differ in their last bit stay close; "round" might take another step.
    torch.testing.assert_close(Channel(downsample, "jpeg:50")(images), expected, rtol=0, atol=1e-4)


def test_settings_reach_the_codec(photographs: torch.Tensor) -> None:
    images = photographs / 255
    channel = Channel(1, "jpeg:30", rounding="soft", subsampling="4:2:0")
    assert torch.equal(channel(images), DifferentiableJPEG(30, "soft", "4:2:0")(images))


def test_averaging_is_bilinear_interpolation_at_one_to_two(photographs: torch.Tensor) -> None:
    images = photographs / 255
    bilinear = F.interpolate(images, scale_factor=0.5, mode="bilinear", align_corners=False)
    torch.testing.assert_close(Channel(2, "none")(images), bilinear)


def test_no_codec_and_no_downsampling_changes_nothing(photographs: torch.Tensor) -> None:
    assert torch.equal(Channel(1, "none")(photographs / 255), photographs / 255)


@pytest.mark.parametrize("codec", ("", "jpeg", "jpeg:", "jpeg:x", "jpeg:0", "jpeg:50:4:2:0", "none:1", "webp:80"))
def test_unknown_codecs_are_refused_in_one_line(codec: str) -> None:
    with pytest.raises(ValueError, match=r"codec|quality") as error:
        Channel(codec=codec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("downsample", (0, -1, 1.5))
def test_impossible_downsampling_is_refused(downsample: float) -> None:
    with pytest.raises(ValueError, match="downsample"):
        Channel(downsample)


def test_images_smaller_than_one_cell_are_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        Channel(4)(torch.rand(1, 3, 3, 8))
