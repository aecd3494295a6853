"""The registry of neural imaging pipelines (NIPs): the list of all, and how to build one by its name."""

import inspect
from pkgutil import resolve_name
from typing import Any

import torch

from models.nip import NIP

# To add a NIP, write its class into a new file of models/, and add one line here: module:class. Settings, reports and
# fingerprints follow this list. A NIP's position decides its colour in every report, so append new ones.
CLASSES = (
    "models.unet:UNet",
    "models.inet:INet",
    "models.dnet:DNet",
    "models.classic:ClassicISP",
    "models.pattern:Pattern",
)

NIPS: dict[str, type[NIP]] = {nip.__name__: nip for nip in map(resolve_name, CLASSES)}


def pretrained_as(name: str) -> str:
    """Returns the name of the NIP whose pre-trained weights a NIP starts from: its own, or that of its base."""
    return NIPS[name].base or name


def has_standard_start(name: str) -> bool:
    """Whether a NIP can start as the standard pipeline, or always does."""
    nip = NIPS[name]
    return nip.starts_as_standard or nip.start_as_standard is not NIP.start_as_standard


def versions(name: str) -> dict[str, int]:
    """Returns the versions of a NIP and of its base, for keys."""
    return {f"isp {each}": NIPS[each].version for each in dict.fromkeys((name, pretrained_as(name)))}


def build(name: str, generator: torch.Generator | None = None, **settings: Any) -> NIP:
    """Builds a NIP with its starting weights, on the CPU.

    Args:
        name: a key of `NIPS`.
        generator: source of random starting weights, on the CPU; None is a fresh one with seed 0. Torch's global
            generator is not used, and its state does not change.
        settings: arguments of the class: `cfa` and `cam2srgb` of the camera for every NIP, and what else it takes.

    Raises:
        ValueError: an unknown name or setting, or an impossible value.
    """
    if name not in NIPS:
        raise ValueError(f"no pipeline is called {name!r}: choose one of {', '.join(NIPS)}")
    known = inspect.signature(NIPS[name]).parameters
    for key in settings.keys() - known.keys():
        raise ValueError(f"{name} has no setting {key!r}: it knows {', '.join(known)}")
    with torch.random.fork_rng(devices=[]):  # torch draws starting weights of its own, which are replaced below
        nip = NIPS[name](**settings)
    nip.initialise(torch.Generator().manual_seed(0) if generator is None else generator)
    return nip
