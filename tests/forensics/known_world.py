"""Photographs whose truth is known: their evidence is Gaussian, and each kind of file distorts it its own way."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from forensics.analysis.samples import Sample

CLASSES = ("native", "sharpen", "median")
KINDS = ("jpeg:50", "jpeg:90:4:2:0", "webp")
PIXELS = (10_000, 2_500)  # of photographs and of crops
S = 12  # statistics
# What each kind of file makes of the evidence x: A x + b.
A = {"jpeg:50": np.eye(3), "jpeg:90:4:2:0": -2 * np.eye(3), "webp": np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])}
B = {"jpeg:50": np.zeros(3), "jpeg:90:4:2:0": np.array([1.0, 0, 2]), "webp": np.array([0.0, -3, 0])}


def means(distance: float) -> np.ndarray:
    return distance * np.eye(3)


def likelihoods(x: np.ndarray, distance: float) -> np.ndarray:
    """True log-likelihoods (…,3) of evidence (…,3), up to a constant."""
    mu = means(distance)
    return x @ mu.T - (mu**2).sum(axis=1) / 2


def centre(kind: str, label: int) -> np.ndarray:
    """Of statistics."""
    return np.arange(S) + 5.0 * (np.arange(S) == KINDS.index(kind)) + 3.0 * (np.arange(S) == 3 + label)


def logits(x: np.ndarray, kind: str) -> Tensor:
    return torch.from_numpy(x @ A[kind].T + B[kind]).float()


def photographs(
    count: int, seed: int, distance: float = 2.0, kinds: Sequence[str] = KINDS, crops: int = 2
) -> tuple[list[Sample], np.ndarray]:
    """Samples of so many photographs, every class and scale, and their evidence (samples,3)."""
    random, found, evidence = np.random.default_rng(seed), [], []
    for photograph in range(count):
        kind = kinds[random.integers(len(kinds))]
        for scale in range(crops):
            for label in range(len(CLASSES)):
                x = random.normal(means(distance)[label] / (1 + scale))
                windows = random.normal(means(distance)[label], size=(4, 3))
                places = random.normal(means(distance)[0], size=(3, 4, 3))
                sample = Sample(
                    photograph,
                    label,
                    kind,
                    scale,
                    PIXELS[scale],
                    logits(x, kind),
                    torch.from_numpy(random.normal(centre(kind, label))).float(),
                    random.uniform(5, 30),
                    logits(windows, kind),
                    logits(places, kind) if label == scale == 0 else None,
                )
                found.append(sample)
                evidence.append(x)
    return found, np.stack(evidence)
