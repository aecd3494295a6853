"""Patches are aligned, uniform, filtered as the paper says, and decided by the generator alone."""

import numpy as np
import pytest
import torch

from cameras.pairs import Pairs
from cameras.patches import fixed, fixed_places, gather, random_places, sample

SIZES = [(9, 14), (12, 8), (8, 8)]  # Bayer pixels
ALL = torch.arange(len(SIZES))


def pairs_of(images) -> Pairs:
    return Pairs.from_images(images, "RGGB", np.eye(3), "Maker Model")


def numbered(sizes=SIZES) -> Pairs:
    """Every Bayer pixel holds its number in all planes; its target pixels hold that and where they are."""
    images, first = [], 0
    for height, width in sizes:
        number = first + np.arange(height * width, dtype=np.uint16).reshape(height, width)
        first += height * width
        bayer = np.stack([number, number + 10000, number + 20000, number + 65535 - 3000], 2).astype(np.uint16)
        target = np.empty((2 * height, 2 * width, 3), np.uint8)
        for dy, dx in np.ndindex(2, 2):
            target[dy::2, dx::2] = np.stack([number & 255, number >> 8, np.full_like(number, 2 * dy + dx)], 2)
        images.append((bayer, target))
    return pairs_of(images)


@pytest.mark.parametrize("patch", [1, 3, 8])
@pytest.mark.parametrize("draw", [sample, fixed])
def test_bayer_and_target_are_of_the_same_place(draw, patch, generator):
    patches = draw(numbered(), ALL, 40, patch, generator, textured=False)
    count = 40 if draw is sample else 40 * len(SIZES)
    assert patches.bayer.shape == (count, 4, patch, patch) and patches.bayer.dtype == torch.float32
    assert patches.target.shape == (count, 3, 2 * patch, 2 * patch) and patches.target.dtype == torch.float32
    assert patches.bayer.is_contiguous() and patches.target.is_contiguous() and len(patches) == count
    bayer = (patches.bayer * 65535).round().long()
    number = bayer[:, 0]
    for plane, distance in enumerate((0, 10000, 20000, 65535 - 3000)):
        torch.testing.assert_close(bayer[:, plane], number + distance)
    target = (patches.target * 255).round().long()
    for dy in (0, 1):
        for dx in (0, 1):
            low, high, where = target[:, :, dy::2, dx::2].unbind(1)
            torch.testing.assert_close(low + 256 * high, number)
            assert (where == 2 * dy + dx).all()
    # Neighbours in the patch are neighbours in the image.
    assert (number.diff(dim=2) == 1).all()
    assert (number.diff(dim=1) == number.diff(dim=1)[:, :1, :1]).all()


def test_every_corner_can_be_drawn_the_last_one_too(generator):
    pairs = numbered()
    places = random_places(pairs, ALL, 5000, 8, generator, textured=False)
    drawn = set(zip(*(part.tolist() for part in (places.image, places.y, places.x)), strict=True))
    assert drawn == {(i, y, x) for i, (h, w) in enumerate(SIZES) for y in range(h - 7) for x in range(w - 7)}


def test_fixed_is_image_major_in_the_order_given(generator):
    images = torch.tensor([2, 0])
    for textured in (False, True):
        places = fixed_places(numbered(), images, 5, 2, generator, textured=textured)
        assert places.image.tolist() == [2] * 5 + [0] * 5


def assert_follows(counts: np.ndarray, probability: np.ndarray) -> None:
    """Pearson's chi-square: within four standard deviations of what is expected of a true sample."""
    assert counts[probability == 0].sum() == 0
    counts, expected = counts[probability > 0], counts.sum() * probability[probability > 0]
    assert expected.min() > 5
    statistic, freedom = ((counts - expected) ** 2 / expected).sum(), len(counts) - 1
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom), (statistic, freedom)


def count_corners(pairs: Pairs, places, image: int, patch: int) -> np.ndarray:
    shape = (int(pairs.height[image]) - patch + 1, int(pairs.width[image]) - patch + 1)
    here = places.image == image
    counts = np.zeros(shape)
    np.add.at(counts, (places.y[here].numpy(), places.x[here].numpy()), 1)
    return counts


def acceptance(pairs: Pairs, image: int, patch: int) -> np.ndarray:
    """The paper's filter, patch by patch, in NumPy."""
    target = pairs.image(image)[1][0].permute(1, 2, 0).numpy().astype(np.float64)
    height, width, _ = target.shape
    corners = np.ndindex(height // 2 - patch + 1, width // 2 - patch + 1)
    variance = [target[2 * y :][: 2 * patch, 2 * x :][:, : 2 * patch].var() for y, x in corners]
    accept = np.select([np.less(variance, 0.01), np.less(variance, 0.02)], [0, 0.5], 1)
    return accept.reshape(height // 2 - patch + 1, -1)


def faded(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise whose contrast grows from left to right, so that patches are rejected, kept at 50 %, and kept."""
    rng = np.random.default_rng(seed)
    contrast = np.linspace(0, 0.9, 2 * width)[:, None]
    target = 0.5 + contrast * (rng.random((2 * height, 2 * width, 3)) - 0.5)
    return rng.random((height, width, 4)), target


PATCH = 4


@pytest.fixture(scope="module")
def textures() -> Pairs:
    return pairs_of([faded(1, 7, 20), faded(2, 11, 16), (np.zeros((9, 9, 4)), np.full((18, 18, 3), 0.7))])


def test_the_reference_filter_meets_all_three_cases(textures):
    for image in (0, 1):
        assert set(np.unique(acceptance(textures, image, PATCH))) == {0, 0.5, 1}
    assert not acceptance(textures, 2, PATCH).any()


@pytest.mark.parametrize("textured", [False, True])
def test_random_places_follow_image_then_position_then_filter(textures, textured, generator):
    places = random_places(textures, ALL, 30_000, PATCH, generator, textured)
    probability = []
    counts = []
    for image in range(3):
        counts.append(count_corners(textures, places, image, PATCH).ravel())
        accept = acceptance(textures, image, PATCH).ravel() if textured else np.ones(counts[-1].size)
        probability.append(accept / accept.size)
    weights = np.concatenate(probability)
    assert_follows(np.concatenate(counts), weights / weights.sum())


@pytest.mark.parametrize("textured", [False, True])
def test_fixed_places_follow_position_then_filter(textures, textured, generator):
    places = fixed_places(textures, ALL[:2], 15_000, PATCH, generator, textured)
    for image in (0, 1):
        counts = count_corners(textures, places, image, PATCH)
        accept = acceptance(textures, image, PATCH) if textured else np.ones_like(counts)
        assert counts.sum() == 15_000
        assert_follows(counts.ravel(), accept.ravel() / accept.sum())


@pytest.mark.parametrize("textured", [False, True])
@pytest.mark.parametrize("draw", [sample, fixed])
def test_the_generator_alone_decides(textures, draw, textured, generator):
    def batch(random: torch.Generator):
        return draw(textures, ALL[:2], 12, PATCH, random, textured)

    first = batch(generator)
    state = generator.get_state()
    second = batch(generator)
    torch.rand(5)  # the global generator is nobody's business
    resumed = batch(torch.Generator().set_state(state))
    assert torch.equal(resumed.bayer, second.bayer) and torch.equal(resumed.target, second.target)
    assert not torch.equal(first.bayer, second.bayer)


def test_places_gathered_slice_by_slice_are_the_fixed_patches(textures):
    whole = fixed(textures, ALL[:2], 10, PATCH, torch.Generator().manual_seed(1), textured=True)
    places = fixed_places(textures, ALL[:2], 10, PATCH, torch.Generator().manual_seed(1), textured=True)
    slices = [gather(textures, places[i : i + 7], PATCH) for i in range(0, len(places), 7)]
    assert torch.equal(torch.cat([part.bayer for part in slices]), whole.bayer)
    assert torch.equal(torch.cat([part.target for part in slices]), whole.target)


def test_stored_pairs_are_sampled_as_those_in_memory(tmp_path, textures):
    from cameras.pairs import append

    for name, image in zip(textures.names, [faded(1, 7, 20), faded(2, 11, 16)], strict=False):
        append(tmp_path, name, *image, cfa="RGGB", cam2srgb=np.eye(3), camera="Maker Model")
    drawn = [
        sample(pairs, ALL[:2], 9, PATCH, torch.Generator().manual_seed(1), textured=True)
        for pairs in (textures, Pairs.open(tmp_path))
    ]
    assert torch.equal(drawn[0].target, drawn[1].target) and torch.equal(drawn[0].bayer, drawn[1].bayer)


@pytest.mark.parametrize("draw", [sample, fixed])
def test_a_patch_larger_than_an_image_names_both(draw, generator):
    pairs = numbered()
    with pytest.raises(ValueError, match=r"0001 \(Maker Model\) has 16 × 24 pixels, .* 18 × 18"):
        draw(pairs, ALL, 4, 9, generator, textured=False)
    assert len(draw(pairs, ALL[:1], 4, 9, generator, textured=False)) == 4  # only images drawn from matter


def test_nothing_textured_is_a_clear_error(textures, generator):
    with pytest.raises(ValueError, match="no textured patches in 1 images of Maker Model"):
        sample(textures, ALL[2:], 4, PATCH, generator, textured=True)
    with pytest.raises(ValueError, match=r"no textured patches in 0002 \(Maker Model\)"):
        fixed(textures, ALL, 4, PATCH, generator, textured=True)


@pytest.mark.parametrize("images, count, patch", [(ALL, 0, 4), (ALL, 4, 0), (ALL[:0], 4, 4)])
@pytest.mark.parametrize("draw", [sample, fixed])
def test_drawing_nothing_is_an_error(draw, images, count, patch, generator):
    with pytest.raises(ValueError, match=f"{count} patches of {patch} Bayer pixels from {len(images)} im"):
        draw(numbered(), images, count, patch, generator, textured=False)


def test_gathering_waits_for_no_device(generator):
    """The meta device has no values: whoever asks it for one gets an error."""
    pairs = numbered()
    places = random_places(pairs, ALL, 5, 3, generator, textured=False)
    patches = gather(pairs.to("meta"), places.to("meta"), 3)
    assert patches.bayer.shape == (5, 4, 3, 3) and patches.target.shape == (5, 3, 6, 6)
    assert patches.bayer.is_meta and patches.target.is_meta


def test_a_part_has_the_patches_of_its_images_and_no_others(textures, generator):
    images = torch.tensor([2, 0])
    part = textures.part(images, "cpu")
    assert len(part.bayer) == 9 * 9 + 7 * 20 and len(part.target) == 4 * len(part.bayer)
    places = random_places(textures, images, 50, PATCH, generator, textured=False)
    found, expected = (gather(pairs, places, PATCH) for pairs in (part, textures))
    assert torch.equal(found.bayer, expected.bayer) and torch.equal(found.target, expected.target)
    for i in images.tolist():
        assert all(torch.equal(*both) for both in zip(part.image(i), textures.image(i), strict=True))
    with pytest.raises(IndexError):
        gather(part, random_places(textures, ALL[1:2], 1, PATCH, generator, textured=False), PATCH)
