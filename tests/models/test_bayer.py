"""The sample selection against a pixel-by-pixel construction of the mosaic."""

import numpy as np
import pytest
import torch

from cameras import demosaic
from cameras.raw import CFA_PATTERNS
from models.bayer import SampleSelection, bilinear_kernels, selection


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_every_sample_returns_to_where_the_sensor_measured_it(cfa: str) -> None:
    mosaic = np.arange(1, 6 * 8 + 1, dtype=np.float32).reshape(6, 8)
    expected = np.zeros((3, 6, 8), np.float32)
    planes: dict[str, list[np.ndarray]] = {"R": [], "G": [], "B": []}
    for position, colour in enumerate(cfa):
        site = (slice(position // 2, None, 2), slice(position % 2, None, 2))
        expected["RGB".index(colour)][site] = mosaic[site]
        planes[colour].append(mosaic[site])
    stack = torch.from_numpy(np.stack([*planes["R"], *planes["G"], *planes["B"]]))[None]
    assert torch.equal(SampleSelection(cfa)(stack)[0], torch.from_numpy(expected))


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
@pytest.mark.parametrize("size", [3, 5])
def test_bilinear_kernels_demosaic_like_the_standard_pipeline(cfa: str, size: int, generator: torch.Generator) -> None:
    bayer = torch.rand(1, 4, 9, 7, generator=generator)
    padding = size // 2
    mosaic = torch.nn.functional.pad(SampleSelection(cfa)(bayer), [padding] * 4, mode="reflect")
    rgb = torch.nn.functional.conv2d(mosaic, bilinear_kernels(size))
    expected = demosaic.bilinear(demosaic.mosaic_from_stack(bayer, cfa), cfa)
    torch.testing.assert_close(rgb[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2])


@pytest.mark.parametrize("cfa", ["", "rggb", "RGBG", "RRGB"])
def test_refuses_what_is_no_bayer_pattern(cfa: str) -> None:
    with pytest.raises(ValueError, match="unknown Bayer pattern"):
        selection(cfa)
