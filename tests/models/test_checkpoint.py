"""Checkpoints: a training that stopped and resumed is bit for bit one that did not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, Optimizer

import models
from models.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

OPTIMISERS = {
    "adam": lambda parameters: Adam(parameters, lr=1e-3),
    "fused adam": lambda parameters: Adam(parameters, lr=1e-3, fused=True),
    "sgd": lambda parameters: SGD(parameters, lr=1e-3, momentum=0.9),
}

IDENTITY = {"batch": 2, "betas": (0.9, 0.999), "by step": {80: 1, 160: 2}}  # with what JSON has no word for


class Training:
    """Two networks, an optimiser each, falling learning rates, batches drawn from a generator."""

    def __init__(self, seed: int, optimiser: str = "adam", bfloat16: bool = False) -> None:
        seeded = torch.Generator().manual_seed(seed)
        self.modules = {name: models.build(name, seeded) for name in ("DNet", "ClassicISP")}
        for nip in self.modules.values():
            nip.to(memory_format=torch.channels_last).freeze_statistics(False)  # type: ignore[call-overload]
        self.optimisers: dict[str, Optimizer] = {
            name: OPTIMISERS[optimiser](nip.parameters()) for name, nip in self.modules.items()
        }
        self.generators = {"batches": seeded}
        self.losses: list[float] = []
        self.bfloat16 = bfloat16

    def parts(self) -> tuple[Any, Any, Any, Any]:
        return self.modules, self.optimisers, self.generators, IDENTITY

    def step(self) -> None:
        bayer = torch.rand(2, 4, 8, 8, generator=self.generators["batches"])
        for name, nip in self.modules.items():
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
                loss = (nip(bayer.to(memory_format=torch.channels_last)) - 0.3).square().mean()
            self.optimisers[name].zero_grad()
            loss.backward()
            self.optimisers[name].step()
            self.optimisers[name].param_groups[0]["lr"] *= 0.85
            self.losses.append(loss.item())

    def bits(self) -> list[Any]:
        state = [nip.state_dict() for nip in self.modules.values()]
        state += [o.state_dict()["state"] for o in self.optimisers.values()]
        groups = [o.state_dict()["param_groups"] for o in self.optimisers.values()]
        return [repr_tensors(state), groups, self.generators["batches"].get_state().tolist(), self.losses]


def repr_tensors(value: Any) -> Any:
    """Nested tensors as comparable bytes."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: repr_tensors(v) for key, v in value.items()}
    return [repr_tensors(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_resumed_training_is_bit_identical(optimiser: str, bfloat16: bool, tmp_path: Path) -> None:
    straight = Training(0, optimiser, bfloat16)
    for _ in range(6):
        straight.step()
    first = Training(0, optimiser, bfloat16)
    for _ in range(3):
        first.step()
    state = {"step": 3, "losses": first.losses, "history": {80: 0.5, 160: 0.25}}
    save_checkpoint(tmp_path / "checkpoint", *first.parts(), state)
    second = Training(99, optimiser, bfloat16)
    state = load_checkpoint(tmp_path / "checkpoint", *second.parts())
    assert (state["step"], state["history"]) == (3, {"80": 0.5, "160": 0.25})
    second.losses = state["losses"]
    assert second.bits() == first.bits()
    for _ in range(3):
        second.step()
    assert second.bits() == straight.bits()


def test_a_checkpoint_before_the_first_step(tmp_path: Path) -> None:
    first, second = Training(0), Training(1)
    save_checkpoint(tmp_path / "checkpoint", *first.parts(), {})
    load_checkpoint(tmp_path / "checkpoint", *second.parts())
    first.step()
    second.step()
    assert first.bits() == second.bits()


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 4
    path.write_bytes(content)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def foreign(path: Path) -> None:
    models.save(path, models.build("DNet"))


def missing(path: Path) -> None:
    path.unlink()


def other_module(path: Path) -> None:
    other = Training(0)
    other.modules["DNet"] = models.build("INet")
    save_checkpoint(path, *other.parts(), {})


def other_generators(path: Path) -> None:
    modules, optimisers, _, identity = Training(0).parts()
    save_checkpoint(path, modules, optimisers, {}, identity, {})


def other_identity(path: Path) -> None:
    """The same modules with other settings."""
    *parts, identity = Training(0).parts()
    save_checkpoint(path, *parts, identity | {"batch": 3}, {})


def other_parameters(path: Path) -> None:
    other = Training(0)
    other.step()
    other.optimisers["DNet"] = Adam(list(other.modules["DNet"].parameters())[1:])
    save_checkpoint(path, *other.parts(), {})


def other_order(path: Path) -> None:
    """As many parameters, of other shapes."""
    other = Training(0)
    other.optimisers["DNet"] = Adam(reversed(list(other.modules["DNet"].parameters())))
    other.step()
    save_checkpoint(path, *other.parts(), {})


@pytest.mark.parametrize(
    "spoil",
    [
        damaged,
        truncated,
        foreign,
        missing,
        other_identity,
        other_module,
        other_generators,
        other_parameters,
        other_order,
    ],
)
def test_an_unfit_file_is_refused_and_changes_nothing(spoil: Any, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    first = Training(0)
    first.step()
    save_checkpoint(path, *first.parts(), {})
    spoil(path)
    second = Training(1)
    second.step()
    before = second.bits()
    with pytest.raises(CheckpointError, match=r"^[^\n]*checkpoint: [^\n]+$"):
        load_checkpoint(path, *second.parts())
    assert second.bits() == before


def test_the_refusal_says_what_differs(tmp_path: Path) -> None:
    *parts, identity = Training(0).parts()
    save_checkpoint(tmp_path / "checkpoint", *parts, identity, {})
    with pytest.raises(CheckpointError, match="another training: its batch and pairs differ"):
        load_checkpoint(tmp_path / "checkpoint", *parts, identity | {"batch": 3, "pairs": "0a"})


def test_a_module_may_be_called_optimisers(tmp_path: Path) -> None:
    """Names of ours may occur within names of modules and parameters."""
    modules = {"a": torch.nn.ModuleDict({"optimisers/x": torch.nn.Linear(2, 2)})}
    save_checkpoint(tmp_path / "checkpoint", modules, {}, {}, {}, {})
    other = {"a": torch.nn.ModuleDict({"optimisers/x": torch.nn.Linear(2, 2)})}
    load_checkpoint(tmp_path / "checkpoint", other, {}, {}, {})
    assert torch.equal(*(next(m["a"].parameters()) for m in (modules, other)))
