"""Checkpoints of a training in progress: one file with all that is needed to continue bit-identically."""

import copy
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models import tensorfile

StrPath = str | os.PathLike[str]
Write = Callable[[StrPath], None]  # writes a checkpoint of the training's present state to a path


class CheckpointError(ValueError):
    """The file is no checkpoint of this training: it is missing, damaged, or of another training."""


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
        modules: their parameters and buffers are saved.
        optimisers: their tensors (Adam: exp_avg, exp_avg_sq, step) are saved in the order of the parameters, with the
            current learning rates. Their other settings must be the same on loading.
        generators: their states are saved.
        identity: which training this is (settings, data hash), JSON-able. `load_checkpoint` requires the same.
        state: anything JSON-able (step, history, run id). Its numbers are restored exactly; tuples become lists, and
            keys that are numbers become strings.
    """
    tensors = _fixed_tensors(modules, generators) | _optimiser_tensors(optimisers)
    document = {
        "identity": dict(identity),
        "settings": _settings(optimisers),
        "rates": {
            name: [float(group["lr"]) for group in optimiser.param_groups] for name, optimiser in optimisers.items()
        },
        "state": dict(state),
    }
    tensorfile.write(path, "checkpoint", tensors, document)


def load_checkpoint(
    path: StrPath,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
    generators: Mapping[str, torch.Generator],
    identity: Mapping[str, Any],
) -> dict[str, Any]:
    """Restores modules, optimisers and generators in place, on their own devices, and returns the state.

    Everything is checked before anything is changed, so that an error leaves all objects as they were. A file with a
    valid checksum is not trusted either: anybody can write one. Names, types and shapes of its tensors must be those
    of the objects given.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint, or of another training: it has another identity,
            or other modules, optimisers or generators.
    """
    try:
        tensors, document = tensorfile.read(path, "checkpoint")
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    parts: list[Any] = [document.get(part) for part in ("identity", "settings", "rates", "state")]
    if not all(isinstance(part, dict) for part in parts):
        raise CheckpointError(f"{path}: no checkpoint of this version")
    stored, settings, rates, state = parts
    wanted = _as_json(identity)
    if different := sorted(key for key in wanted if key not in stored or stored[key] != wanted[key]):
        differ = "differs" if len(different) == 1 else "differ"
        raise CheckpointError(f"{path}: a checkpoint of another training: its {' and '.join(different)} {differ}")
    begun = {key.rpartition("/")[0] for key in tensors}  # a parameter without gradients has no state
    ahead = {key: v for key, v in _after_a_step(optimisers).items() if key.rpartition("/")[0] in begun}
    if (
        stored.keys() != wanted.keys()
        or settings != _as_json(_settings(optimisers))
        or _layout(tensors) != _layout(_fixed_tensors(modules, generators) | ahead)
        or not _fits(rates, optimisers)
        or not all(_accepts(generator, tensors[f"generators/{name}"]) for name, generator in generators.items())
    ):
        raise CheckpointError(f"{path}: a checkpoint of other modules, optimisers or generators than these")

    for name, module in modules.items():
        module.load_state_dict({key: tensors[f"modules/{name}/{key}"] for key in module.state_dict()})
    for name, optimiser in optimisers.items():
        optimiser.load_state_dict(_optimiser_state(name, optimiser, tensors, rates[name]))
    for name, generator in generators.items():
        generator.set_state(tensors[f"generators/{name}"])
    return state


def load_history(
    path: StrPath,
    state: Mapping[str, Any],
    steps: Sequence[int],
    names: Set[str],
    later: Set[str] = frozenset(),
) -> dict[int, dict[str, float]]:
    """Returns the metrics of all validations before a checkpoint, by step, from its ``state["history"]``.

    Args:
        path: of the checkpoint, for the error message.
        state: as :func:`load_checkpoint` returned it.
        steps: at which this training validates; the checkpoint has the first one or more of them.
        names: of the metrics of every validation.
        later: names of the metrics that every validation but the first has, too.

    Raises:
        CheckpointError: this training cannot have written such a history.
    """
    found = state.get("history")
    if isinstance(found, dict) and 0 < len(found) <= len(steps):
        past = list(steps[: len(found)])
        metrics: list[Any] = [found.get(str(step)) for step in past]
        expected = [names if position == 0 else names | later for position in range(len(past))]
        if all(
            isinstance(those, dict) and those.keys() == known and all(type(value) is float for value in those.values())
            for those, known in zip(metrics, expected, strict=True)
        ):
            return dict(zip(past, metrics, strict=True))
    raise CheckpointError(f"{path}: its history is not that of such a training")


def _as_json(value: Any) -> Any:
    """The value as it is after writing it to JSON and reading it again."""
    return json.loads(json.dumps(value))


def _layout(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {key: (value.dtype, value.shape) for key, value in tensors.items()}


def _fixed_tensors(modules: Mapping[str, nn.Module], generators: Mapping[str, torch.Generator]) -> dict[str, Tensor]:
    """The tensors that exist from the start; those of an optimiser exist from its first step on."""
    tensors = {f"modules/{name}/{key}": v for name, m in modules.items() for key, v in m.state_dict().items()}
    return tensors | {f"generators/{name}": generator.get_state() for name, generator in generators.items()}


def _optimiser_tensors(optimisers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    return {
        f"optimisers/{name}/{index}/{field}": value
        for name, optimiser in optimisers.items()
        for index, fields in optimiser.state_dict()["state"].items()
        for field, value in fields.items()
    }


def _after_a_step(optimisers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    """Tensors with the names, types and shapes that the optimisers' tensors have after a step."""
    copies = copy.deepcopy(dict(optimisers))  # with copies of their parameters
    for optimiser in copies.values():
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimiser.step()
    return _optimiser_tensors(copies)


def _settings(optimisers: Mapping[str, Optimizer]) -> dict[str, list[dict[str, Any]]]:
    """All settings of the parameter groups except the learning rate, which decays during training."""
    return {
        name: [
            {key: value for key, value in group.items() if key != "lr"}
            for group in optimiser.state_dict()["param_groups"]
        ]
        for name, optimiser in optimisers.items()
    }


def _fits(rates: dict[str, Any], optimisers: Mapping[str, Optimizer]) -> bool:
    """Whether `rates` are valid learning rates for the optimisers' parameter groups."""
    return rates.keys() == optimisers.keys() and all(
        isinstance(rates[name], list)
        and len(rates[name]) == len(optimiser.param_groups)
        and all(type(rate) is float and 0 <= rate < math.inf for rate in rates[name])
        for name, optimiser in optimisers.items()
    )


def _accepts(generator: torch.Generator, state: Tensor) -> bool:
    try:
        torch.Generator(generator.device).set_state(state)
    except RuntimeError:
        return False
    return True


def _optimiser_state(
    name: str, optimiser: Optimizer, tensors: Mapping[str, Tensor], rates: list[float]
) -> dict[str, Any]:
    """The state dictionary that `optimiser.load_state_dict` takes."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if not key.startswith(f"optimisers/{name}/"):
            continue
        index, field = key.removeprefix(f"optimisers/{name}/").split("/")
        if value.ndim:  # in the parameter's memory layout; in another, the next step may round differently
            value = torch.empty_like(parameters[int(index)], dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[field] = value
    groups = optimiser.state_dict()["param_groups"]
    return {
        "state": state,
        "param_groups": [{**group, "lr": rate} for group, rate in zip(groups, rates, strict=True)],
    }
