"""The names under which pipelines are built."""

import inspect
from typing import Any

import torch

from models.classic import ClassicISP
from models.dnet import DNet
from models.inet import INet
from models.nip import NIP
from models.onet import ONet
from models.unet import UNet

NIPS: dict[str, type[NIP]] = {nip.__name__: nip for nip in (INet, UNet, DNet, ONet, ClassicISP)}


def build(name: str, generator: torch.Generator | None = None, **settings: Any) -> NIP:
    """A pipeline with its starting weights, on the CPU.

    Args:
        name: "INet", "UNet", "DNet", "ONet" or "ClassicISP".
        generator: of random starting weights, on the CPU; None is a fresh one seeded 0. Torch's global
            generator is neither used nor moved.
        settings: `cfa` and `cam2srgb` of the camera for any pipeline; `filters` for ClassicISP.

    Raises:
        ValueError: an unknown name or setting, or an impossible value.
    """
    if name not in NIPS:
        raise ValueError(f"no pipeline is called {name!r}: choose one of {', '.join(NIPS)}")
    known = inspect.signature(NIPS[name]).parameters
    for key in settings.keys() - known.keys():
        raise ValueError(f"{name} has no setting {key!r}: it knows {', '.join(known)}")
    with torch.random.fork_rng(devices=[]):  # torch draws weights of its own, replaced below
        nip = NIPS[name](**settings)
    nip.initialise(torch.Generator().manual_seed(0) if generator is None else generator)
    return nip
