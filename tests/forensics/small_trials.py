"""Trials that take a second."""

from torch import Tensor

from cameras.pairs import Pairs
from cameras.patches import Patches, gather
from forensics.trial import Distribution, Split, Training, Trial, Validation
from forensics.validation import validation_set


def small_trial(lam: float | str, **changes: object) -> Trial:
    """A trial of six iterations, validated (and saved) after every second."""
    settings: dict = {
        "split": Split(3, 1),
        "training": Training(iterations=6, batch=2, patch=16),
        "validation": Validation(every=2, accuracy_patches=3, fidelity_patches=2, textured=False),
        "channel": Distribution(),
        "isp": "INet",
    }
    return Trial("camera", lam=lam, **{**settings, **changes})  # type: ignore[arg-type]


def validation_patches(trial: Trial, pairs: Pairs, images: Tensor) -> tuple[Patches, Patches]:
    """The patches for accuracy and those for fidelity."""
    places = validation_set(trial, pairs, images)
    return gather(pairs, places.accuracy, places.patch), gather(pairs, places.fidelity, places.patch)
