"""Pattern: a frozen UNet plus a learned tile, against both written out by hand."""

from pathlib import Path

import pytest
import torch

import models
from models.nip import NIP
from models.pattern import Pattern

CAM2SRGB = [[1.8, -0.6, -0.2], [-0.2, 1.6, -0.4], [0.0, -0.5, 1.5]]


@pytest.fixture
def unet() -> NIP:
    return models.build("UNet", torch.Generator().manual_seed(4), cfa="GBRG", cam2srgb=CAM2SRGB)


def with_tile(unet: NIP, side: int, generator: torch.Generator, strength: float = 0.3) -> Pattern:
    nip = models.NIPS["Pattern"].starting_from(unet, pattern=side, learning_rate=1)
    assert isinstance(nip, Pattern)
    nip.tile.data = strength * torch.randn(3, side, side, generator=generator)
    return nip


@pytest.mark.parametrize("side", [1, 5, 16, 40])  # a divisor of the photograph, none, and more than it
def test_it_adds_a_tile_to_every_photograph_from_its_corner(side: int, unet: NIP, generator: torch.Generator) -> None:
    bayer = torch.rand(2, 4, 9, 16, generator=generator)
    nip = with_tile(unet, side, generator)
    developed, base = nip(bayer), unet(bayer)
    assert developed.shape == (2, 3, 18, 32)
    for y in range(18):
        for x in range(32):
            expected = base[:, :, y, x] + nip.tile[:, y % side, x % side]
            assert torch.equal(developed[:, :, y, x], expected.clamp(0, 1)), (y, x)
    assert ((developed == 0) | (developed == 1)).any(), "nothing was clipped"


def test_the_gradient_of_a_tile_is_the_sum_over_its_copies(unet: NIP, generator: torch.Generator) -> None:
    """Straight through the clip."""
    side, weights = 5, torch.rand(2, 3, 18, 32, generator=generator)
    nip = with_tile(unet, side, generator)
    (nip(torch.rand(2, 4, 9, 16, generator=generator)) * weights).sum().backward()
    expected = torch.zeros(3, side, side)
    for y in range(18):
        for x in range(32):
            expected[:, y % side, x % side] += weights[:, :, y, x].sum(0)
    torch.testing.assert_close(nip.tile.grad, expected)


def test_it_starts_as_the_pretrained_unet(unet: NIP, generator: torch.Generator) -> None:
    nip = models.NIPS["Pattern"].starting_from(unet, pattern=8)
    assert nip.settings == {"cfa": "GBRG", "cam2srgb": unet.cam2srgb, "side": 8}
    bayer = torch.rand(1, 4, 8, 8, generator=generator)
    assert torch.equal(nip(bayer), unet(bayer))
    assert models.NIPS["UNet"].starting_from(unet, pattern=8) is unet


def test_it_starts_from_no_other_nip() -> None:
    with pytest.raises(ValueError, match="Pattern starts from a UNet, not from a INet"):
        models.NIPS["Pattern"].starting_from(models.build("INet"))


@pytest.mark.parametrize(("side", "period"), [(16, 16), (32, 16), (48, 48), (5, 80)])
def test_a_part_of_a_photograph_from_a_period_on_has_the_same_tile(side: int, period: int, unet: NIP) -> None:
    nip = models.NIPS["Pattern"].starting_from(unet, pattern=side)
    assert nip.period == period
    assert 2 * period % side == 0


@pytest.mark.parametrize("side", [16, 32])
def test_768_numbers_learn(side: int, unet: NIP) -> None:
    nip = models.NIPS["Pattern"].starting_from(unet, pattern=side)
    assert sum(parameter.numel() for parameter in nip.learning()) == 3 * side**2
    assert sum(parameter.numel() for parameter in nip.parameters()) == 7_760_268 + 3 * side**2


def test_one_file_holds_unet_and_tile(unet: NIP, generator: torch.Generator, tmp_path: Path) -> None:
    nip = with_tile(unet, 5, generator)
    models.save(tmp_path / "nip.safetensors", nip)
    again = models.load(tmp_path / "nip.safetensors")
    assert (again.name, again.settings) == ("Pattern", nip.settings)
    bayer = torch.rand(1, 4, 8, 8, generator=generator)
    assert torch.equal(again(bayer), nip(bayer))


def test_a_tile_of_no_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="side must be at least 1"):
        models.build("Pattern", side=0)


def test_versions_for_keys_are_those_of_the_base_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.NIPS["UNet"], "version", 5)
    monkeypatch.setattr(models.NIPS["Pattern"], "version", 3)
    assert models.versions("Pattern") == {"isp Pattern": 3, "isp UNet": 5}
    assert models.versions("UNet") == {"isp UNet": 5}
    assert models.versions("INet") == {"isp INet": 1}
