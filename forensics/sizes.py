"""How many bytes a trial writes: weights are float32, pictures uint8."""

from functools import cache

from channel import Manipulations
from channel.learned import Autoencoder
from forensics.compression.pretraining import CodecPretraining
from forensics.fan import FAN
from forensics.training import EXAMPLES
from forensics.trial import Trial
from models.sizes import MOMENTS, nip_size, size


@cache
def _fan_size(manipulations: tuple[str, ...]) -> int:
    return size(FAN(len(Manipulations(manipulations).classes)))


def codec_size(settings: CodecPretraining | None) -> int:
    """Bytes of the weights of a pre-trained codec; 0 where there is none."""
    return 0 if settings is None else _codec_size(settings.features, settings.width)


@cache
def _codec_size(features: int, width: int) -> int:
    return size(Autoencoder(features, width))


def outcome_size(trial: Trial, codec: CodecPretraining | None = None) -> int:
    """Bytes of what is kept of a trial: the weights of its NIP, its FAN and its channel's codec, and example patches.

    Args:
        codec: the pre-training of its channel's codec, where that needs one.
    """
    shown = min(EXAMPLES, trial.split.validation * trial.validation.fidelity_patches)
    examples = 3 * shown * 3 * (2 * trial.training.patch) ** 2  # target, native, developed: RGB uint8
    return nip_size(trial.isp) + _fan_size(trial.manipulations) + codec_size(codec) + examples


def checkpoint_size(trial: Trial, codec: CodecPretraining | None = None) -> int:
    """Bytes of a checkpoint of a trial: all weights, their means, and Adam's moments of those that learn.

    Args:
        codec: as in `outcome_size`.
    """
    nip, fan, of_codec = nip_size(trial.isp), _fan_size(trial.manipulations), codec_size(codec)
    learning = fan + (nip if trial.joint else 0) + (of_codec if trial.codec_learns else 0)
    return trial.training.copies * (nip + fan + of_codec) + MOMENTS * learning


def codec_checkpoint_size(settings: CodecPretraining) -> int:
    """Bytes of a checkpoint of a codec's pre-training: its weights, its best weights, and Adam's moments."""
    return (2 + MOMENTS) * codec_size(settings)
