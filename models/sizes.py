"""How many bytes the files of a network take: weights are float32."""

from functools import cache

from torch import nn

from models.registry import build

MOMENTS = 2  # that Adam keeps of every weight


def size(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(value.numel() * value.element_size() for value in module.state_dict().values())


@cache
def nip_size(name: str) -> int:
    """Bytes of the weights of a NIP."""
    return size(build(name))


def pretraining_checkpoint_size(name: str) -> int:
    """Bytes of a checkpoint of a NIP's pre-training: its weights, its best weights, and Adam's moments."""
    return (2 + MOMENTS) * nip_size(name)
