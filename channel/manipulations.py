"""Photo manipulations: the classes that the forensic network tells apart (paper, section 4.3).

Every operator takes images (N, 3, H, W) in [0, 1] and a strength, and returns images of the same shape in
[0, 1], with a gradient. Filters mirror images at their borders without repeating the border pixel, and raise
ValueError for images no larger than their radius. Clips pass the gradient straight through.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from channel.filters import blur
from channel.jpeg import DifferentiableJPEG
from channel.precision import full_precision
from channel.quantization import clip, quantize


def sharpen(images: torch.Tensor, strength: float) -> torch.Tensor:
    """Unsharp mask of the value V in HSV; with strength 1 by the kernel of the paper's eq. 4,

        (−1 −4 −1 / −4 26 −4 / −1 −4 −1) / 6,    that is V + 6 (V − V blurred by (1 4 1)/6 both ways).

    V is max(R, G, B): scaling the three alike changes V, and neither hue nor saturation.
    """
    V = images.amax(dim=1, keepdim=True)
    sharpened = clip(V + 6 * strength * (V - blur(V, (1 / 6, 4 / 6, 1 / 6))))
    return images * (sharpened / V.clamp_min(1e-6))  # a black pixel stays black: no neighbour is darker


def gaussian(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur with standard deviation ``sigma`` in pixels, cut at 2.4 σ: 5×5 at the paper's 0.83."""
    radius = math.ceil(2.4 * sigma)
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    return blur(images, [weight / sum(weights) for weight in weights])


def resample(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Bilinear interpolation to 1/factor of the size and back: half-pixel centres, no anti-aliasing."""
    H, W = images.shape[-2:]
    size = (max(1, round(H / factor)), max(1, round(W / factor)))
    reduced = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    return F.interpolate(reduced, size=(H, W), mode="bilinear", align_corners=False)


def median(images: torch.Tensor, size: float) -> torch.Tensor:
    """Median of size×size pixels in each channel; the gradient goes to the pixel that was picked."""
    H, W = images.shape[-2:]
    k = int(size)
    if k // 2 >= min(H, W):
        raise ValueError(f"images of {H}×{W} pixels are too small for a filter of radius {k // 2}")
    windows = F.pad(images, (k // 2,) * 4, mode="reflect").unfold(2, k, 1).unfold(3, k, 1)
    return windows.flatten(-2).median(dim=-1).values  # (N, 3, H, W, k·k) -> (N, 3, H, W)


def gamma(images: torch.Tensor, exponent: float) -> torch.Tensor:
    """Gamma correction stored as 8 bits and undone: x^γ, 256 levels, x^(1/γ). Dark tones lose levels."""
    stored = quantize(images**exponent)
    # At black the root has no finite slope. Only black lies below the clamp, and where() takes it out.
    return torch.where(stored > 0.5 / 255, stored.clamp_min(0.5 / 255) ** (1 / exponent), 0)


def awgn(images: torch.Tensor, sigma: float, generator: torch.Generator) -> torch.Tensor:
    """White Gaussian noise with standard deviation ``sigma`` in 8-bit levels, stored as 8 bits."""
    noise = torch.randn(images.shape, generator=generator, device=generator.device, dtype=images.dtype)
    return quantize(images + sigma / 255 * noise.to(images.device, non_blocking=images.is_cuda))


@dataclass(frozen=True)
class Operator:
    """A manipulation, its default strength, and which strengths it takes."""

    apply: Callable[..., torch.Tensor] | None  # None: dJPEG, whose tables live in a module
    default: float
    low: float
    high: float
    step: float = 0  # between admissible strengths; 0: any number from low to high
    random: bool = False  # takes a generator


OPERATORS = {
    "sharpen": Operator(sharpen, default=1, low=0.01, high=10),
    "gaussian": Operator(gaussian, default=0.83, low=0.1, high=10),
    "jpeg": Operator(None, default=80, low=1, high=100, step=1),
    "resample": Operator(resample, default=2, low=1, high=16),
    "awgn": Operator(awgn, default=5.1, low=0.01, high=255, random=True),
    "gamma": Operator(gamma, default=3, low=1, high=10),
    "median": Operator(median, default=3, low=3, high=15, step=2),
}


@dataclass(frozen=True)
class Manipulation:
    """An operator and the range of its strength; ``low`` = ``high`` for a fixed one."""

    name: str
    low: float
    high: float

    @classmethod
    def parse(cls, spec: str) -> "Manipulation":
        """``name``, ``name:strength`` or ``name:low-high``. Raises ValueError for anything else."""
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
        """All strengths in the range of an operator with steps."""
        count = round((self.high - self.low) / self.operator.step) + 1
        return [self.low + i * self.operator.step for i in range(count)]

    def draw(self, generator: torch.Generator | None) -> float:
        """A strength, uniform over the range. Drawn from a generator on the CPU, it waits for no device."""
        if self.low == self.high:
            return self.low
        assert generator is not None
        uniform = float(torch.rand((), generator=generator, device=generator.device))
        if self.operator.step:
            return self.grid[int(uniform * len(self.grid))]
        return self.low + uniform * (self.high - self.low)


class Manipulations(nn.Module):
    """Every manipulation of every image.

    Args:
        names: the manipulations in the order of their classes, each ``name``, ``name:strength`` or, for
            augmentation, ``name:low-high``: a strength drawn at every call for the whole batch.

            ========  ==============================  ===================
            name      strength                        default
            ========  ==============================  ===================
            sharpen   1 is the paper's kernel         1
            gaussian  σ in pixels                     0.83
            jpeg      quality of dJPEG                80
            resample  k of 1:k, then k:1              2
            awgn      σ in 8-bit levels               5.1
            gamma     exponent                        3
            median    side of the window, odd         3
            ========  ==============================  ===================

    Attributes:
        classes: ``native``, then the names; where one occurs twice, with its strength.

    Raises ValueError for unknown names, strengths out of range, and repetitions.
    """

    def __init__(self, names: Sequence[str] = ("sharpen", "gaussian", "jpeg:80", "resample")) -> None:
        super().__init__()
        self.operations = tuple(Manipulation.parse(spec) for spec in names)
        if len(set(self.operations)) < len(self.operations):
            raise ValueError(f"the same manipulation twice: {', '.join(names)}")
        short = [operation.name for operation in self.operations]
        labels = (name if short.count(name) == 1 else spec for name, spec in zip(short, names, strict=True))
        self.classes: tuple[str, ...] = ("native", *labels)
        jpegs = [operation for operation in self.operations if operation.name == "jpeg"]
        qualities = sorted({int(quality) for jpeg in jpegs for quality in jpeg.grid})
        self.jpeg = nn.ModuleDict({str(quality): DifferentiableJPEG(quality) for quality in qualities})

    @full_precision
    def forward(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """(N, 3, H, W) in [0, 1] -> (classes·N, 3, H, W), class after class, the native images first.

        ``generator``, on the CPU whatever the device of the images, serves awgn and ranges: with it the same is drawn
        for images on any device. ValueError if needed and missing.
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
            return self.jpeg[f"{strength:g}"](images)
        if operator.random:
            return operator.apply(images, strength, generator)
        return operator.apply(images, strength)

    def extra_repr(self) -> str:
        return ", ".join(self.classes)
