"""Weights files: one safetensors file that rebuilds its module."""

import os
from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from cameras.errors import one_line
from models import registry, tensorfile


class Buildable(Protocol):
    """A module with the name and the settings to build it again; every NIP is one."""

    settings: dict[str, Any]

    @property
    def name(self) -> str: ...

    def state_dict(self) -> dict[str, Tensor]: ...


def save(path: str | os.PathLike[str], module: Buildable, **metadata: str) -> None:
    """Writes the weights, name and settings of `module` and free `metadata` to one file, atomically."""
    document = {"name": module.name, "settings": module.settings, "metadata": metadata}
    tensorfile.write(path, "weights", module.state_dict(), document)


def load(path: str | os.PathLike[str], build: Callable[..., Any] = registry.build) -> Any:
    """Returns the module from a file that `save` wrote, on the CPU.

    Args:
        path: the file.
        build: builds a module from its name and its settings; the default builds NIPs.

    Raises:
        ValueError: the file is missing, damaged or no weights file, or does not fit the module that it names.
    """
    tensors, document = tensorfile.read(path, "weights")
    try:
        module: nn.Module = build(document["name"], **document["settings"])
        module.load_state_dict(tensors)
    except (ValueError, RuntimeError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"{path}: weights of another version or package: {one_line(error)}") from error
    return module


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Returns the free metadata that `save` was given. Raises ValueError as `load` does."""
    return tensorfile.read(path, "weights")[1]["metadata"]
