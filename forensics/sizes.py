"""How many bytes a trial writes: weights are float32, pictures uint8."""

from functools import cache

from channel import Manipulations
from forensics.fan import FAN
from forensics.training import EXAMPLES
from forensics.trial import Trial
from models.sizes import MOMENTS, nip_size, size


@cache
def _fan_size(manipulations: tuple[str, ...]) -> int:
    return size(FAN(len(Manipulations(manipulations).classes)))


def outcome_size(trial: Trial) -> int:
    """Bytes of what is kept of a trial: the weights of its NIP and its FAN, and example patches."""
    shown = min(EXAMPLES, trial.split.validation * trial.validation.fidelity_patches)
    examples = 3 * shown * 3 * (2 * trial.training.patch) ** 2  # target, native, developed: RGB uint8
    return nip_size(trial.isp) + _fan_size(trial.manipulations) + examples


def checkpoint_size(trial: Trial) -> int:
    """Bytes of a checkpoint of a trial: all weights, their means, and Adam's moments of those that learn."""
    nip, fan = nip_size(trial.isp), _fan_size(trial.manipulations)
    return trial.training.copies * (nip + fan) + MOMENTS * (nip + fan if trial.joint else fan)
