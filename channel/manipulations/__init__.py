"""Photo manipulations: the registry of all, their strengths, and the module that applies them (paper, section 4.3).

They are the classes that the forensic network tells apart. Filters mirror images at their borders without repeating
the border pixel, and raise ValueError for images no larger than their radius. Clips pass the gradient straight through.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import nn

from channel.manipulations.operator import Operator
from channel.precision import full_precision

# To add a manipulation, define OPERATOR in a new file of channel/manipulations/, and add one line here: the name of
# the file.
NAMES = (
    "sharpen",
    "gaussian",
    "jpeg",
    "resample",
    "awgn",
    "gamma",
    "median",
)

OPERATORS: dict[str, Operator] = {name: import_module(f"channel.manipulations.{name}").OPERATOR for name in NAMES}


@dataclass(frozen=True)
class Manipulation:
    """An operator and the range of its strength; ``low`` = ``high`` for a fixed strength."""

    name: str
    low: float
    high: float

    @classmethod
    def parse(cls, spec: str) -> "Manipulation":
        """``name``, ``name:strength`` or ``name:low-high``.

        Raises:
            ValueError: anything else, or a strength that the operator does not take.
        """
        name, colon, text = spec.partition(":")
        if name not in OPERATORS:
            raise ValueError(f"unknown manipulation {spec!r}: choose from {', '.join(OPERATORS)}")
        operator = OPERATORS[name]
        if not colon:
            return cls(name, operator.default, operator.default)
        number = r"(\d+\.?\d*|\.\d+)"
        match = re.fullmatch(f"{number}(?:-{number})?", text)
        if not match:
            raise ValueError(f"manipulation {spec!r}: write {name}:STRENGTH or {name}:LOW-HIGH")
        low, high = float(match[1]), float(match[2] or match[1])
        on_grid = not operator.step or all((x - operator.low) % operator.step == 0 for x in (low, high))
        if not (operator.low <= low <= high <= operator.high and on_grid):
            grid = f" in steps of {operator.step:g}" if operator.step else ""
            raise ValueError(f"manipulation {spec!r}: strength is {operator.low:g}-{operator.high:g}{grid}")
        return cls(name, low, high)

    @property
    def operator(self) -> Operator:
        return OPERATORS[self.name]

    @property
    def random(self) -> bool:
        return self.operator.random or self.low < self.high

    @property
    def grid(self) -> list[float]:
        """All strengths in the range, for an operator with steps."""
        count = round((self.high - self.low) / self.operator.step) + 1
        return [self.low + i * self.operator.step for i in range(count)]

    def draw(self, generator: torch.Generator | None) -> float:
        """Draws a strength, uniform over the range. With a generator on the CPU, the host waits for no device."""
        if self.low == self.high:
            return self.low
        assert generator is not None
        uniform = float(torch.rand((), generator=generator, device=generator.device))
        if self.operator.step:
            return self.grid[int(uniform * len(self.grid))]
        return self.low + uniform * (self.high - self.low)


class Manipulations(nn.Module):
    """Applies every manipulation to every image.

    Args:
        names: the manipulations in the order of their classes, each ``name``, ``name:strength`` or, for augmentation,
            ``name:low-high``: at every call, one strength is drawn for the whole batch. The file of a manipulation
            says what its strength means, and which ones it takes.

    Attributes:
        classes: ``native``, then the names; where a name occurs twice, with its strength.

    Raises:
        ValueError: an unknown name, a strength out of range, or the same manipulation twice.
    """

    def __init__(self, names: Sequence[str] = ("sharpen", "gaussian", "jpeg:80", "resample")) -> None:
        super().__init__()
        self.operations = tuple(Manipulation.parse(spec) for spec in names)
        if len(set(self.operations)) < len(self.operations):
            raise ValueError(f"the same manipulation twice: {', '.join(names)}")
        short = [operation.name for operation in self.operations]
        labels = (name if short.count(name) == 1 else spec for name, spec in zip(short, names, strict=True))
        self.classes: tuple[str, ...] = ("native", *labels)
        self.built = nn.ModuleDict(
            {
                _built_name(operation.name, strength): operation.operator.build(strength)
                for operation in self.operations
                if operation.operator.build
                for strength in operation.grid
            }
        )

    @full_precision
    def forward(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """(N, 3, H, W) in [0, 1] -> (classes·N, 3, H, W), class after class, the native images first.

        ``generator`` draws strengths and noise. It is on the CPU whatever the device of the images, so that the same
        numbers are drawn for all devices.

        Raises:
            ValueError: a manipulation draws random numbers, and there is no generator.
        """
        manipulated = [self._manipulate(images, operation, generator) for operation in self.operations]
        return torch.cat([images, *manipulated])

    def _manipulate(
        self, images: torch.Tensor, operation: Manipulation, generator: torch.Generator | None
    ) -> torch.Tensor:
        if operation.random and generator is None:
            raise ValueError(f"manipulation {operation.name!r} draws random numbers: pass a generator")
        strength = operation.draw(generator)
        operator = operation.operator
        if operator.apply is None:
            return self.built[_built_name(operation.name, strength)](images)
        if operator.random:
            return operator.apply(images, strength, generator)
        return operator.apply(images, strength)

    def extra_repr(self) -> str:
        return ", ".join(self.classes)


def _built_name(name: str, strength: float) -> str:
    return f"{name} {strength:g}".replace(".", ",")  # the name of a torch module has no dot
