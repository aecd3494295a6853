"""Tiles leave no seams: every NIP develops a photograph in tiles as it does at once."""

import pytest
import torch
from torch import Tensor

import models
from forensics.whole import PROBE, Box, develop_whole, reach
from models.nip import NIP, clip

FIELDS = {"INet": 1, "ClassicISP": 2, "DNet": 16, "UNet": 94}  # cells, counted over their layers by hand


class Tiled(NIP):
    """Adds a pattern of 5 cells that repeats, and nothing is pooled."""

    period = 5

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.pattern = torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(1)) / 4

    def forward(self, bayer: Tensor) -> Tensor:
        h, w = bayer.shape[-2:]
        pattern = self.pattern.repeat(1, 1, h // 5 + 1, w // 5 + 1)[..., :h, :w]
        return clip(self.scale * (bayer / 2 + pattern)[:, :3].repeat_interleave(2, 2).repeat_interleave(2, 3))


class Global(Tiled):
    """Looks at the whole photograph."""

    def forward(self, bayer: Tensor) -> Tensor:
        return clip(super().forward(bayer) * bayer.mean())


def nip_of(name: str) -> NIP:
    if name in ("Tiled", "Global"):
        return {"Tiled": Tiled, "Global": Global}[name]()
    return models.build(name, generator=torch.Generator().manual_seed(0)).eval()


def photograph(h: int, w: int) -> Tensor:
    return torch.rand(1, 4, h, w, generator=torch.Generator().manual_seed(h))


@pytest.mark.parametrize(
    ("name", "size", "tile"),
    [
        ("INet", (71, 93), 64),  # odd sizes, and tiles that do not divide them
        ("ClassicISP", (71, 93), 80),
        ("DNet", (71, 93), 80),
        ("UNet", (37, 303), 288),
        ("Tiled", (71, 93), 32),
        ("Global", (71, 93), 32),
    ],
)
@torch.no_grad()
def test_tiles_equal_the_whole(name: str, size: tuple[int, int], tile: int) -> None:
    nip, bayer = nip_of(name), photograph(*size)
    pieces: list[int] = []
    hook = nip.register_forward_pre_hook(lambda module, stacks: pieces.append(stacks[0].shape[-1]))
    tiled = develop_whole(nip, bayer, tile=tile)
    hook.remove()
    whole = nip(bayer)
    assert whole.std() > 0.01, "else any tile would do"
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
    levels = [(255 * image).round() for image in (tiled, whole)]
    assert (levels[0] - levels[1]).abs().max() <= 1
    largest = max(size for size in pieces if size not in PROBE)
    assert largest <= tile if name != "Global" else largest == size[1]


@pytest.mark.parametrize("name", ["INet", "UNet", "Tiled"])
@torch.no_grad()
def test_a_part_is_that_of_the_whole(name: str) -> None:
    """Its place is no multiple of what a UNet pools, or a pattern repeats."""
    nip, bayer, box = nip_of(name), photograph(35, 310), Box(7, 151, 21, 83)
    part = nip(bayer)[..., 14:56, 302:468]
    for tile in (400, 272):
        torch.testing.assert_close(develop_whole(nip, bayer, box=box, tile=tile), part, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FIELDS)
def test_the_reach_covers_the_receptive_field(name: str) -> None:
    nip = nip_of(name)
    assert FIELDS[name] <= reach(nip) <= FIELDS[name] + nip.period - 1


@torch.no_grad()
def test_no_gradient_sees_further_than_the_reach() -> None:
    """A UNet's pixel, from one cell after another of a period."""
    nip = nip_of("UNet").double()
    for cell in (128, 135, 143):
        with torch.enable_grad():
            bayer = photograph(16, PROBE[0]).double().requires_grad_()
            nip(bayer)[..., 2 * cell].sum().backward()
        assert bayer.grad is not None
        seen = bayer.grad.abs().amax(dim=(0, 1, 2)).nonzero().flatten()
        assert max(cell - seen[0].item(), seen[-1].item() - cell) <= reach(nip.float())
        nip.double()


def test_what_sees_everything_or_nothing_is_developed_at_once() -> None:
    assert reach(nip_of("Global")) == torch.inf
    assert reach(nip_of("Tiled")) == 4


def test_training_mode_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    nip, bayer = nip_of("DNet"), photograph(20, 20)
    assert torch.equal(develop_whole(nip.train(), bayer), nip.eval()(bayer))
