"""Whether a trial that was trained again is the same: to the bit, or as closely as rounding allows."""

from collections.abc import Iterator, Mapping

import torch

import models
from channel import codecs
from forensics import fan
from forensics.training import Outcome
from models.checkpoint import StrPath

# Of the last validation. Two trainings that differ by rounding drift apart; NOTES.md has how far.
TOLERANCE = {"accuracy": 0.2, "psnr": 2.5, "ssim": 0.08, "ssim_paper": 0.05}


def differences(
    again: Outcome,
    metrics: Mapping[str, Mapping[int, float]],
    nip_file: StrPath,
    fan_file: StrPath,
    codec_file: StrPath | None = None,
) -> Iterator[str]:
    """What differs from the first training, in words.

    Args:
        again: the outcome of the repetition.
        metrics: of the first training, by name and iteration.
        nip_file, fan_file, codec_file: the weights that the first training left; the last where its channel's codec has
            weights.

    Raises:
        ValueError: a file is missing or damaged.
    """
    for name, values in metrics.items():
        for step, now in again.history.items():
            if values.get(step) != now[name]:
                yield f"{name} at iteration {step}: logged {values.get(step)!r}, now {now[name]!r}"
    for name, file, module, build in (
        ("nip", nip_file, again.nip, models.build),
        ("fan", fan_file, again.fan, fan.build),
        ("codec", codec_file, again.codec, codecs.build),
    ):
        if file is None or module is None:
            continue
        before, weights = models.load(file, build=build).state_dict(), module.state_dict()
        yield from (f"weights {name}.{key}" for key in before if not torch.equal(before[key], weights[key].cpu()))


def deviations(again: Outcome, metrics: Mapping[str, Mapping[int, float]]) -> Iterator[str]:
    """What differs at the last validation by more than TOLERANCE, in words; arguments as in `differences`."""
    last = max(again.history)
    for name, allowed in TOLERANCE.items():
        before, now = metrics.get(name, {}).get(last), again.history[last][name]
        if before is not None and not abs(before - now) <= allowed:
            yield f"{name}: logged {before:.4g}, now {now:.4g}, allowed are ± {allowed:g}"
