"""Trials that take a second."""

from forensics.trial import Distribution, Split, Training, Trial, Validation


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
