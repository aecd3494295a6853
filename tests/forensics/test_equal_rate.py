"""Codecs side by side at equal rate: the setting against a search through all, the page against the pixels."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from forensics.compression.coders import Coder, Setting, coders
from forensics.compression.equal_rate import Shown, at_rate, nearest, page, place
from tests.forensics.known_rates import leaves, rate


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return leaves()


def fake(sizes: list[int], rising: bool = True) -> Coder:
    """A codec whose files have these sizes."""

    def setting(number: int, size: int) -> Setting:
        return Setting(str(number), lambda picture: bytes(size), lambda data: torch.zeros(3, 8, 8, dtype=torch.uint8))

    settings = tuple(setting(number, size) for number, size in enumerate(sizes))
    return Coder("fake", settings, settings, rising)


@pytest.mark.parametrize(("codec", "targets"), [("jpeg", (0.5, 1.3, 99)), ("webp", (0.01, 0.7)), ("jpeg2000", (0.9,))])
def test_the_nearest_setting_by_search_through_all(
    picture: torch.Tensor, codec: str, targets: tuple[float, ...]
) -> None:
    part = picture[:, :96, :96]
    (coder,) = coders([codec])
    assert len(coder.every) == 100
    sizes = {setting.quality: 8 * len(setting.compress(part)) / 96**2 for setting in coder.every}
    for target in targets:
        found = sizes[nearest(coder, part, target).quality]
        assert abs(found - target) == min(abs(size - target) for size in sizes.values())


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.floats(0.1, 60), st.booleans())
def test_the_nearest_setting_of_any_sizes(sizes: list[int], target: float, rising: bool) -> None:
    coder = fake(sorted(sizes) if rising else sizes, rising)
    found = nearest(coder, torch.zeros(3, 8, 8, dtype=torch.uint8), target)
    distances = [abs(size / 8 - target) for size in (sorted(sizes) if rising else sizes)]
    assert distances[int(found.quality)] == min(distances)


def test_bisection_looks_at_few_settings() -> None:
    looked: list[int] = []

    def compress(size: int) -> Callable[[torch.Tensor], bytes]:
        return lambda picture: looked.append(size) or bytes(size)  # type: ignore[func-returns-value]

    settings = tuple(Setting(str(n), compress(n), lambda data: torch.zeros(3, 8, 8)) for n in range(1, 101))
    assert nearest(Coder("fake", settings, settings, True), torch.zeros(3, 8, 8), 57 / 8).quality == "57"
    assert len(looked) <= 13


def test_a_codec_is_shown_at_the_rate_asked_for(picture: torch.Tensor) -> None:
    jpeg, webp = at_rate("a", picture, coders(["jpeg", "webp"], ["1"]), 1.0)
    assert (jpeg.rate.codec, webp.rate.codec) == ("jpeg", "webp")
    assert [one.rate.bpp for one in (jpeg, webp)] == pytest.approx([1, 1], rel=0.05)
    file = io.BytesIO()
    pixels = picture.movedim(0, -1).numpy()
    Image.fromarray(pixels).save(file, "jpeg", quality=int(jpeg.rate.quality), subsampling="4:4:4")
    assert np.array_equal(jpeg.picture.movedim(0, -1).numpy(), np.asarray(Image.open(file)))


def test_the_part_shown_is_what_codecs_change_most(picture: torch.Tensor) -> None:
    changed = picture.clone()
    changed[:, 96:136, 40:80] ^= 128
    shown = [Shown(rate("a"), picture), Shown(rate("b"), changed)]
    assert place(picture, shown, side=40) == (96, 40)


def test_a_page_holds_the_original_first_and_every_codec_at_200_percent(picture: torch.Tensor) -> None:
    large = picture.repeat(1, 2, 2)
    shown = [Shown(rate(name), large.roll(step, 2)) for step, name in enumerate("abcd", 1)]
    made = np.asarray(page(large, shown, 0.5))
    top, left = place(large, shown)
    rows = made.shape[0] // 2
    for number, one in enumerate((large, *(each.picture for each in shown))):
        cut = one[:, top : top + 224, left : left + 224].movedim(0, -1).numpy().repeat(2, 0).repeat(2, 1)
        row, column = divmod(number, 3)
        y, x = 12 + row * (448 + 52), 12 + column * (448 + 12)
        assert np.array_equal(made[y : y + 448, x : x + 448], cut), number
        assert (made[y + 448 : y + 490, x : x + 200] < 100).any()  # its caption
    assert rows > 448
