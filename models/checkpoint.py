"""Checkpoints of a training in progress: all it takes to continue bit-identically, in one file."""

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
        optimisers: their tensors (Adam: exp_avg, exp_avg_sq, step) are kept by parameter order, and their current
            learning rates; their other settings must be the same when it is loaded.
        generators: their states are kept.
        identity: which training this is (settings, fingerprint of the data), JSON-able: `load_checkpoint` asks for
            the same.
        state: anything JSON-able (step, history, run id). Its numbers come back exactly; tuples come back as lists,
            and keys that are numbers as strings.
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

    Everything is checked before anything is changed: after an error they are as they were. A checksum keeps nobody
    from writing a file of his own: names, types and shapes are those of these very objects, or it is refused.

    Raises:
        CheckpointError: when the file is missing, damaged, no checkpoint, or one of another training: of another
            identity, or of other modules, optimisers or generators.
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
    """The figures of all validations before a checkpoint, by step, from its ``state["history"]``.

    Args:
        path: of the checkpoint, for the message.
        state: as :func:`load_checkpoint` returned it.
        steps: at which such a training validates; the checkpoint has the first one or more of them.
        names: of the figures of a validation.
        later: names of those that come with the second validation.

    Raises:
        CheckpointError: no training of this kind leaves such a history.
    """
    found = state.get("history")
    if isinstance(found, dict) and 0 < len(found) <= len(steps):
        past = list(steps[: len(found)])
        figures: list[Any] = [found.get(str(step)) for step in past]
        expected = [names if position == 0 else names | later for position in range(len(past))]
        if all(
            isinstance(those, dict) and those.keys() == known and all(type(value) is float for value in those.values())
            for those, known in zip(figures, expected, strict=True)
        ):
            return dict(zip(past, figures, strict=True))
    raise CheckpointError(f"{path}: its history is not that of such a training")


def _as_json(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


def _layout(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {key: (value.dtype, value.shape) for key, value in tensors.items()}


def _fixed_tensors(modules: Mapping[str, nn.Module], generators: Mapping[str, torch.Generator]) -> dict[str, Tensor]:
    """The tensors that are there from the start; an optimiser's appear with its first step."""
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
    """Tensors named, typed and shaped as those that the optimisers have once they have made a step."""
    copies = copy.deepcopy(dict(optimisers))  # and of their parameters
    for optimiser in copies.values():
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimiser.step()
    return _optimiser_tensors(copies)


def _settings(optimisers: Mapping[str, Optimizer]) -> dict[str, list[dict[str, Any]]]:
    """All settings of the parameter groups but the learning rate, which falls as training goes on."""
    return {
        name: [
            {key: value for key, value in group.items() if key != "lr"}
            for group in optimiser.state_dict()["param_groups"]
        ]
        for name, optimiser in optimisers.items()
    }


def _fits(rates: dict[str, Any], optimisers: Mapping[str, Optimizer]) -> bool:
    """Whether these are learning rates for the parameter groups."""
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
    """What `optimiser.load_state_dict` takes."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if not key.startswith(f"optimisers/{name}/"):
            continue
        index, field = key.removeprefix(f"optimisers/{name}/").split("/")
        if value.ndim:  # in the parameter's memory layout: in another, the next step may round differently
            value = torch.empty_like(parameters[int(index)], dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[field] = value
    groups = optimiser.state_dict()["param_groups"]
    return {
        "state": state,
        "param_groups": [{**group, "lr": rate} for group, rate in zip(groups, rates, strict=True)],
    }
