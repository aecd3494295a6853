"""How tests forge files: altered documents, little memory, and what hypothesis draws."""

import copy
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from cameras.pairs import append
from models.checkpoint import load_checkpoint, save_checkpoint

KEY, SHA256 = "0123456789abcdef" * 2, "0" * 64

quick = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def fill(storage: Path) -> None:
    """Write a camera of four photographs where a storage keeps it."""
    for number in range(4):
        bayer, target = np.random.default_rng(number), np.random.default_rng(9 + number)
        append(
            storage / "cameras" / "camera",
            f"{number}.dng",
            bayer.random((48, 64, 4), dtype=np.float32),
            target.random((96, 128, 3), dtype=np.float32),
            cfa="GBRG",
            cam2srgb=np.eye(3),
            camera="Camera",
        )


class Small:
    """A small module with its optimiser and generator, as a training checkpoints them."""

    def __init__(self, seed: int) -> None:
        self.generators = {"patches": torch.Generator().manual_seed(seed)}
        self.module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
        for parameter in self.module.parameters():
            torch.nn.init.uniform_(parameter, generator=self.generators["patches"])
        self.adam = torch.optim.Adam(self.module.parameters(), lr=1e-3, fused=True)
        self.step()

    def step(self) -> None:
        self.adam.zero_grad()
        self.module(torch.rand(2, 2, 3, 3, generator=self.generators["patches"])).square().mean().backward()
        self.adam.step()

    def parts(self) -> tuple[Any, ...]:
        return {"nip": self.module}, {"adam": self.adam}, self.generators, {"trial": {"lam": 0.1, "seed": 1}}

    def save(self, path: Path) -> None:
        save_checkpoint(path, *self.parts(), {"history": {2: {"accuracy": 0.5}}})

    def load(self, path: Path) -> dict[str, Any]:
        return load_checkpoint(path, *self.parts())

    def bits(self) -> list[Any]:
        tensors = [*self.module.state_dict().values(), self.generators["patches"].get_state()]
        tensors += [value for fields in self.adam.state_dict()["state"].values() for value in fields.values()]
        return [*(tensor.numpy().tobytes() for tensor in tensors), self.adam.state_dict()["param_groups"]]


@contextmanager
def little_memory(more: int = 256 * 2**20) -> Iterator[None]:
    """In the block, the process gets at most so many bytes more: else a MemoryError or a RuntimeError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in nested JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(deeper for key, part in inner for deeper in places(part, (*place, key)))]


def altered(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The document with another value at one path."""
    if not place:
        return value
    document = copy.deepcopy(document)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return document
