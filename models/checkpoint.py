"""Checkpoints of a training in progress: all it takes to continue bit-identically, in one file."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models import tensorfile

StrPath = str | os.PathLike[str]
Write = Callable[[StrPath], None]  # what a training hands out: it writes a checkpoint of this moment to a path


class CheckpointError(ValueError):
    """A file that is no checkpoint of this training: missing, damaged, or of another training."""


def save_checkpoint(
    path: StrPath,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
    generators: Mapping[str, torch.Generator],
    identity: Mapping[str, Any],
    state: Mapping[str, Any],
) -> None:
    """Writes a checkpoint to one safetensors file, atomically.

    Args:
        path: the file; an older one is replaced.
        modules: their parameters and buffers are kept.
        optimisers: their tensors (Adam: exp_avg, exp_avg_sq, step) are kept by parameter order, and the
            settings of their parameter groups, such as the current learning rate.
        generators: their states are kept.
        identity: which training this is (settings, fingerprint of the data), JSON-able: `load_checkpoint` asks for
            the same.
        state: anything JSON-able (step, history, run id). Its numbers come back exactly; tuples come back as lists,
            and keys that are numbers as strings.
    """
    tensors = _fixed_tensors(modules, generators)
    groups = {}
    for name, optimiser in optimisers.items():
        packed = optimiser.state_dict()
        groups[name] = packed["param_groups"]
        for index, fields in packed["state"].items():
            tensors |= {f"optimisers/{name}/{index}/{field}": value for field, value in fields.items()}
    document = {"identity": dict(identity), "groups": groups, "state": dict(state)}
    tensorfile.write(path, "checkpoint", tensors, document)


def load_checkpoint(
    path: StrPath,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
    generators: Mapping[str, torch.Generator],
    identity: Mapping[str, Any],
) -> dict[str, Any]:
    """Restores modules, optimisers and generators in place, on their own devices, and returns the state.

    Everything is checked before anything is changed: after an error they are as they were.

    Raises:
        CheckpointError: when the file is missing, damaged, no checkpoint, or one of another training: of another
            identity, or of other modules, optimisers or generators.
    """
    try:
        tensors, document = tensorfile.read(path, "checkpoint")
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    stored, wanted = document.get("identity", {}), json.loads(json.dumps(identity))
    if different := sorted(key for key in stored.keys() | wanted.keys() if stored.get(key) != wanted.get(key)):
        differ = "differs" if len(different) == 1 else "differ"
        raise CheckpointError(f"{path}: a checkpoint of another training: its {' and '.join(different)} {differ}")
    expected = {key: (value.dtype, value.shape) for key, value in _fixed_tensors(modules, generators).items()}
    found = {key: (value.dtype, value.shape) for key, value in tensors.items() if not key.startswith("optimisers/")}
    if expected != found or document["groups"].keys() != optimisers.keys():
        raise CheckpointError(f"{path}: a checkpoint of other modules, optimisers or generators than these")
    states = {
        name: _optimiser_state(path, name, optimiser, document["groups"][name], tensors)
        for name, optimiser in optimisers.items()
    }

    for name, module in modules.items():
        module.load_state_dict({key: tensors[f"modules/{name}/{key}"] for key in module.state_dict()})
    for name, optimiser in optimisers.items():
        optimiser.load_state_dict(states[name])
    for name, generator in generators.items():
        generator.set_state(tensors[f"generators/{name}"])
    return document["state"]


def _fixed_tensors(modules: Mapping[str, nn.Module], generators: Mapping[str, torch.Generator]) -> dict[str, Tensor]:
    """The tensors that are there from the start; an optimiser's appear with its first step."""
    tensors = {f"modules/{name}/{key}": v for name, m in modules.items() for key, v in m.state_dict().items()}
    return tensors | {f"generators/{name}": generator.get_state() for name, generator in generators.items()}


def _optimiser_state(
    path: StrPath,
    name: str,
    optimiser: Optimizer,
    groups: list[dict[str, Any]],
    tensors: Mapping[str, Tensor],
) -> dict[str, Any]:
    """What `optimiser.load_state_dict` takes, checked against the parameters it is meant for."""
    live = optimiser.state_dict()["param_groups"]
    if [group["params"] for group in live] != [group["params"] for group in groups]:
        raise CheckpointError(f"{path}: optimiser {name!r} has other parameters than this one")
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if not key.startswith(f"optimisers/{name}/"):
            continue
        index, field = key.removeprefix(f"optimisers/{name}/").split("/")
        parameter = parameters[int(index)]
        if value.ndim and value.shape != parameter.shape:
            raise CheckpointError(f"{path}: optimiser {name!r} has parameters of other shapes than this one")
        if value.ndim:  # in the parameter's memory layout: in another, the next step may round differently
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[field] = value
    # JSON knows no tuples: where the optimiser has one (Adam's betas), it gets one
    groups = [
        {key: tuple(v) if isinstance(old.get(key), tuple) else v for key, v in new.items()}
        for old, new in zip(live, groups, strict=True)
    ]
    return {"state": state, "param_groups": groups}
