"""The FAN over all windows at once: tiles leave no seams, and every window is that of the photograph around it."""

import pytest
import torch
from torch import Tensor

from forensics import dense
from forensics.dense import dense_features, dense_logits, in_tiles, over_windows
from forensics.fan import CELL, FAN


@pytest.fixture(scope="module")
def fan() -> FAN:
    return FAN(4, torch.Generator().manual_seed(5)).eval()


def photograph(height: int, width: int) -> Tensor:
    return torch.randint(256, (1, 3, height, width), generator=torch.Generator().manual_seed(7)).to(torch.uint8)


def close(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    assert wanted.std() > 0.01, "else anything would do"
    torch.testing.assert_close(found, wanted, atol=1e-5 * wanted.abs().max().item(), rtol=0)


@pytest.mark.parametrize("tile", [1, 2, 3, 64])
@torch.no_grad()
def test_tiles_equal_the_whole(fan: FAN, tile: int) -> None:
    """Its sides are no multiples of cells, nor of tiles."""
    received = photograph(87, 121)
    close(dense_features(fan, received, tile), fan.cells(received / 255))


@torch.no_grad()
def test_every_layer_of_the_tiles_is_that_of_the_whole(fan: FAN) -> None:
    received, (rows, columns) = photograph(64, 96), (2, 3)
    tiles = list(in_tiles(fan, received, 2))
    assert [(tile.row, tile.column) for tile in tiles] == [(i, j) for i in range(rows) for j in range(columns)]
    for number, layer in enumerate(fan.layers(received / 255)):
        lines = [
            torch.cat([tiles[columns * row + column].layers[number] for column in range(columns)], dim=3)
            for row in range(rows)
        ]
        close(torch.cat(lines, dim=2), layer)


@torch.no_grad()
def test_the_reach_is_that_of_the_layers(fan: FAN) -> None:
    """Pixels that are not numbers make features so that depend on them."""
    for beyond, touched in ((dense.REACH, False), (dense.REACH - 1, True)):
        pixels = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(1))
        pixels[..., 48 - 1 - beyond, 56] = torch.nan  # above the cell (3,3), which begins at pixel 48
        assert bool(fan.cells(pixels)[0, :, 3, 3].isnan().any()) is touched
    assert CELL * dense.MARGIN >= dense.REACH


@pytest.mark.parametrize(("window", "side"), [(16, 1), (33, 2), (48, 3), (5, 1)])
def test_windows_are_means_of_their_cells(window: int, side: int, generator: torch.Generator) -> None:
    cells = torch.rand(2, 6, 4, 5, generator=generator)
    found = over_windows(cells, window)
    assert found.shape == (2, 4 - side + 1, 5 - side + 1, 6)
    for i in range(found.shape[1]):
        for j in range(found.shape[2]):
            mean = cells[:, :, i : i + side, j : j + side].mean(dim=(2, 3))
            torch.testing.assert_close(found[:, i, j], mean)


def test_a_photograph_smaller_than_a_window_is_refused(fan: FAN) -> None:
    with pytest.raises(ValueError, match=r"^a photograph of some 32×48 px is smaller than a window of 48 px$"):
        dense_logits(fan, photograph(47, 60), 48)


@torch.no_grad()
def test_logits_are_those_of_windows_with_their_surroundings(fan: FAN) -> None:
    """The FAN on a part of the photograph with all that its features depend on, decided by the window's cells alone."""
    received, window = photograph(144, 160), 32
    found = dense_logits(fan, received, window)
    assert found.shape == (1, 8, 9, 4)
    assert found.dtype == torch.float32
    margin = CELL * dense.MARGIN
    for i, j in ((2, 2), (3, 5), (5, 6)):
        top, left = CELL * i, CELL * j
        part = received[..., top - margin : top + window + margin, left - margin : left + window + margin]
        inner = fan.cells(part / 255)[..., dense.MARGIN : -dense.MARGIN, dense.MARGIN : -dense.MARGIN]
        close(found[:, i, j], fan.decision(fan.hidden(inner.mean(dim=(2, 3)))))


@torch.no_grad()
def test_a_photograph_of_one_window_is_what_the_fan_was_trained_on(fan: FAN) -> None:
    received = photograph(48, 48)
    close(dense_logits(fan, received, 48)[0, 0], fan(received / 255))
