"""The map over its photograph: colours, regions, which way up; and files that replace nothing."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from forensics.analysis import words
from forensics.analysis.analyse import Analysis, Map, Region
from forensics.analysis.picture import (
    COVER,
    MapError,
    altered,
    colour,
    painted,
    shrunk,
    turned_box,
    upright,
    with_legend,
    write_map,
)
from forensics.localisation.maps import evidence
from forensics.pictures import turned

CLASSES = ("native", "sharpen", "gaussian", "jpeg", "resample")
ANALYSIS = Analysis("altered", "", 96, 160, "unknown", 0.01)


def photograph(height: int = 96, width: int = 160) -> torch.Tensor:
    return torch.randint(256, (1, 3, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def mapped(*histories: tuple[int, int, int], sure: float = 1.0) -> Map:
    """A map of 5×9 places, native but for places (row, column, class)."""
    probabilities = torch.zeros(5, 9, 5)
    probabilities[..., 0] = 1
    for row, column, label in histories:
        probabilities[row, column] = torch.eye(5)[label] * sure + torch.eye(5)[0] * (1 - sure)
    return Map(probabilities, first=16.0)


def rgb(number: int) -> np.ndarray:
    return np.array(list(bytes.fromhex(colour(number)[1:])))


@given(st.lists(st.floats(-20, 20), min_size=5, max_size=5))
def test_the_probability_of_altering_is_that_of_the_likelihood_ratio(logits: list[float]) -> None:
    likelihoods = torch.tensor(logits, dtype=torch.float64)
    expected = torch.sigmoid(evidence(likelihoods))
    assert torch.allclose(altered(likelihoods.softmax(dim=0)), expected, atol=1e-9)


def test_a_native_place_stays_grey_and_an_altered_one_has_the_colour_of_what_was_done() -> None:
    received = photograph()
    image = np.asarray(painted(received, replace(ANALYSIS, map=mapped((2, 3, 1), (2, 7, 4))))).astype(float)
    grey = received[0].float().mean(dim=0).numpy()
    assert np.abs(image[:16, :16] - grey[:16, :16, None]).max() <= 1, "native is grey"
    for column, label in ((3, 1), (7, 4)):
        y, x = 16 + 16 * 2, 16 + 16 * column  # the place's centre lies between pixels
        share = COVER * (2 * (1 - 1 / 32) ** 2 - 1)  # half a pixel from the centre in both directions
        expected = grey[y, x] * (1 - share) + rgb(label - 1) * share
        # The probability of altering is interpolated, and those of the classes weigh 1/4 each in it
        assert np.abs(image[y, x] - expected).max() < 12
        assert np.abs(image[y, x] - expected).max() < min(
            np.abs(image[y, x] - grey[y, x] * (1 - share) - rgb(other) * share).max()
            for other in range(4)
            if other != label - 1
        )


def test_colour_is_stronger_where_altering_is_more_probable() -> None:
    received = torch.full((1, 3, 96, 160), 128, dtype=torch.uint8)
    saturation = []
    for sure in (0.0, 0.5, 0.9, 0.99, 1.0):
        place = np.asarray(painted(received, replace(ANALYSIS, map=mapped((2, 3, 1), sure=sure))))[48, 64]
        saturation.append(int(place.max()) - int(place.min()))
    assert saturation == sorted(saturation)
    assert saturation[0] == 0 < 100 < saturation[-1]


def test_a_small_picture_shows_the_same_places() -> None:
    received = torch.full((1, 3, 768, 1280), 128, dtype=torch.uint8)
    found = Map(mapped((2, 3, 1)).probabilities, first=128.0, stride=128)
    large = painted(received, replace(ANALYSIS, map=found))
    small = painted(received, replace(ANALYSIS, map=found), side=160)
    assert small.size == (160, 96)
    difference = np.asarray(large.resize(small.size, Image.Resampling.BOX)).astype(int) - np.asarray(small)
    assert np.abs(difference).max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_for_a_viewer_and_regions_with_them(orientation: int) -> None:
    region = Region(20, 30, 60, 70, 0.1, "sharpen")
    inside = np.zeros((96, 160, 3), np.uint8)
    inside[20:80, 30:100] = 1
    rows, columns = np.nonzero(turned(inside, orientation)[..., 0])
    expected = (rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1)
    box = turned_box(region, 96, 160, orientation)
    assert tuple(box) == expected

    received = photograph()
    stored = Image.fromarray(received[0].movedim(0, -1).numpy())
    stored.getexif()[274] = orientation
    assert np.array_equal(np.asarray(upright(received, orientation)), np.asarray(ImageOps.exif_transpose(stored)))

    plain, outlined = (
        np.asarray(painted(received, replace(ANALYSIS, map=mapped((2, 3, 1)), regions=regions), orientation))
        for regions in ((), (region,))
    )
    rows, columns = np.nonzero((plain != outlined).any(axis=2))
    assert (rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1) == expected
    assert (outlined[box.top, box.left : box.left + box.width] == 0).all(), "black outside"
    assert (outlined[box.top + 2, box.left + 2 : box.left + box.width - 2] == 255).any(), "white inside"


def test_a_legend_names_every_colour_below_the_picture() -> None:
    image = painted(photograph(), replace(ANALYSIS, map=mapped()))
    made = with_legend(image, CLASSES)
    assert made.size[0] == image.size[0]
    assert np.array_equal(np.asarray(made)[:96], np.asarray(image))
    below = np.asarray(made)[96:].reshape(-1, 3)
    for number in range(4):
        assert (below == rgb(number)).all(axis=1).sum() > 100, CLASSES[number + 1]


def test_maps_replace_maps_of_the_same_photograph_alone(tmp_path: Path) -> None:
    one, other = tmp_path / "one.jpg", tmp_path / "other.jpg"
    one.write_bytes(b"one")
    other.write_bytes(b"other")
    image, found = Image.new("RGB", (8, 8)), mapped((1, 2, 3))
    png, npy = write_map(tmp_path / "maps.1", image, found, one)
    assert (png.name, npy.name) == ("maps.1.png", "maps.1.npy")
    numbers = np.load(npy)
    assert (numbers.dtype, numbers.shape) == (np.float32, (5, 9, 5))
    assert np.array_equal(numbers, found.probabilities.numpy())
    write_map(tmp_path / "maps.1", image, found, one)
    with pytest.raises(MapError, match="no map of this photograph"):
        write_map(tmp_path / "maps.1", image, found, other)
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    with pytest.raises(MapError, match=r"photo\.png"):
        write_map(tmp_path / "photo", image, found, tmp_path / "photo.png")
    assert (tmp_path / "photo.png").read_bytes() == before
    np.save(tmp_path / "numbers.npy", np.zeros(3))
    with pytest.raises(MapError, match=r"numbers\.npy"):
        write_map(tmp_path / "numbers", image, found, one)
    assert not (tmp_path / "numbers.png").exists()


def test_shrunk_to_look_at() -> None:
    assert shrunk(photograph(300, 500), 100).shape == (1, 3, 60, 100)
    assert torch.equal(shrunk(photograph(), 1000), photograph())
    file = io.BytesIO()
    upright(photograph()).save(file, "png")


# --- words ---


@pytest.mark.parametrize(
    ("log10_lr", "said"),
    [
        (0.0, "A likelihood ratio of 1 to 1 supports neither native nor altered."),
        (0.2, "A likelihood ratio of 1.6 supports neither native nor altered."),
        (0.4, "A likelihood ratio of 2.5 is weak support for altered."),
        (1.0, "A likelihood ratio of 10 is moderate support for altered."),
        (2.4, "A likelihood ratio of 250 is moderately strong support for altered."),
        (-1.3, "A likelihood ratio of 1 to 20 is moderate support for native."),
        (3.5, "A likelihood ratio of 3,200 is strong support for altered."),
        (-4.0, "A likelihood ratio of 1 to 10,000 is very strong support for native."),
        (9.0, "A likelihood ratio of more than a million is extremely strong support for altered."),
    ],
)
def test_likelihood_ratios_in_words(log10_lr: float, said: str) -> None:
    assert words.support(log10_lr) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0, "0 %"),
        (1e-9, "< 0.1 %"),
        (0.004, "0.4 %"),
        (0.1, "10 %"),
        (0.6, "60 %"),
        (0.9947, "99.5 %"),
        (1 - 1e-9, "> 99.9 %"),
        (1, "100 %"),
    ],
)
def test_shares_in_words(share: float, said: str) -> None:
    assert words.percent(share) == said


def test_histories_in_words() -> None:
    assert words.done("jpeg:80") == words.done("jpeg") == "saved as JPEG once more"
    assert words.done("own operator") == "own operator"
