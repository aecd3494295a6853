"""The validation patches against a brute-force search: every place of every image, its variance by NumPy."""

import by_hand
import numpy as np
import torch
from small_trials import small_trial, validation_patches
from torch import Tensor

from cameras.pairs import Pairs
from forensics.trial import Training, Validation

PATCH = 16
VALIDATION = [2, 0]


IMAGES = [by_hand.faded(1, 20, 60), by_hand.faded(2, 24, 40), by_hand.faded(3, 18, 50)]


def variance(target: np.ndarray) -> float:
    return float((target / 255).var())


def candidates(target: np.ndarray) -> list[tuple[int, int]]:
    """All places of an image, row by row: once from a variance of 0.01, twice from 0.02, the others not at all."""
    height, width = (side // 2 - PATCH + 1 for side in target.shape[:2])
    places = []
    for y, x in np.ndindex(height, width):
        v = variance(target[2 * y :][: 2 * PATCH, 2 * x :][:, : 2 * PATCH])
        places += [(y, x)] * ((v >= 0.01) + (v >= 0.02))
    return places


def patches_by_hand(per_image: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As many places of every image, each candidate as likely as any other."""
    stacks, targets = [], []
    for number in VALIDATION:
        bayer, target = IMAGES[number]
        places = candidates(target)
        for chosen in torch.randint(len(places), (per_image,), generator=generator).tolist():
            y, x = places[chosen]
            stacks.append(bayer[y : y + PATCH, x : x + PATCH].transpose(2, 0, 1) / 65535)
            targets.append(target[2 * y :][: 2 * PATCH, 2 * x :][:, : 2 * PATCH].transpose(2, 0, 1) / 255)
    return torch.tensor(np.array(stacks)).float(), torch.tensor(np.array(targets)).float()


def test_textured_patches_are_those_of_a_brute_force_filter() -> None:
    pairs = Pairs.from_images(IMAGES, "RGGB", np.eye(3), "test")
    validation = Validation(every=2, accuracy_patches=40, fidelity_patches=15, seed=5)
    trial = small_trial(0.1, training=Training(iterations=6, batch=2, patch=PATCH), validation=validation)
    accuracy, found = validation_patches(trial, pairs, torch.tensor(VALIDATION))

    generator = torch.Generator().manual_seed(5)
    bayer, _ = patches_by_hand(40, generator)
    fidelity_bayer, fidelity_target = patches_by_hand(15, generator)
    torch.testing.assert_close(accuracy.bayer, bayer)
    torch.testing.assert_close(found.bayer, fidelity_bayer)
    torch.testing.assert_close(found.target, fidelity_target)
    assert min(variance(target.numpy() * 255) for target in found.target) >= 0.01


def test_the_images_of_this_test_have_places_of_all_three_kinds() -> None:
    for number in VALIDATION:
        _, target = IMAGES[number]
        places = candidates(target)
        everywhere = (target.shape[0] // 2 - PATCH + 1) * (target.shape[1] // 2 - PATCH + 1)
        twice = len(places) - len(set(places))
        once, never = len(set(places)) - twice, everywhere - len(set(places))
        assert min(once, twice, never) > 0.05 * everywhere
