"""Photographs in which one region was altered: by a manipulation, or with content of another pipeline.

native ───────────────┐
altered, all of it ───┴─ where(region) ── composite, at the native resolution, 8 bits
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PRISTINE, STANDARD, FOREIGN = "pristine", "standard pipeline", "other camera"  # kinds beside the manipulations


@dataclass(frozen=True, eq=False)
class Composite:
    """A photograph and what was altered in it.

    Attributes:
        kind: the manipulation as the trial names it, or one of the names above.
        shape: of the region, and ``size``: its share of the picture as it was asked for; "" and 0 of a pristine one.
        pixels: (1,3,H,W) uint8.
        truth: (H,W) bool, true where it was altered.
    """

    kind: str
    shape: str
    size: float
    pixels: Tensor
    truth: Tensor


def composites(
    native: Tensor, altered: Mapping[str, Tensor], sizes: Sequence[float], shapes: Sequence[str], draws: torch.Generator
) -> Iterator[Composite]:
    """The pristine photograph, then for every size and kind one composite with a region of its own.

    Args:
        native: (1,3,H,W) uint8.
        altered: by kind all of the photograph altered, or other content, of the same shape.
        draws: place and shape of the regions; they depend on nothing else but the size of the photograph.
    """
    height, width = native.shape[-2:]
    yield Composite(PRISTINE, "", 0.0, native, torch.zeros(height, width, dtype=torch.bool))
    for size in sizes:
        for kind, content in altered.items():
            shape = shapes[int(torch.randint(len(shapes), (), generator=draws))]
            truth = region(shape, height, width, size, draws)
            yield Composite(kind, shape, size, torch.where(truth.to(native.device), content, native), truth)


def region(shape: str, height: int, width: int, size: float, draws: torch.Generator) -> Tensor:
    """Draw a connected region (height,width) bool of a shape, at a place where most or all of it fits.

    Its area is ``size`` of the picture, exactly but for pixels that are equally far from its centre.
    """
    area = max(round(size * height * width), 1)
    lines = []
    for extent in (height, width):
        margin = min(math.sqrt(area), extent) / 2
        centre = margin + (extent - 2 * margin) * torch.rand((), generator=draws)
        lines.append(torch.arange(extent) + 0.5 - centre)
    distance = SHAPES[shape](lines[0][:, None], lines[1][None, :], draws)
    return distance <= distance.flatten().kthvalue(area).values


def _square(down: Tensor, across: Tensor, draws: torch.Generator) -> Tensor:
    return torch.maximum(down.abs(), across.abs())


def _ellipse(down: Tensor, across: Tensor, draws: torch.Generator) -> Tensor:
    """Axis-parallel, up to twice as long as wide."""
    ratio = 2 ** (torch.rand((), generator=draws) - 0.5)
    return (ratio * down) ** 2 + (across / ratio) ** 2


def _free(down: Tensor, across: Tensor, draws: torch.Generator) -> Tensor:
    """Drawn by hand, as it were: the radius is a random smooth function of the angle."""
    angle = torch.atan2(down, across)
    radius = torch.ones_like(angle)
    for waves in (1, 2, 3, 4, 5):
        strength, phase = torch.rand(2, generator=draws).tolist()
        radius += 0.5 * strength / (1 + waves) * torch.cos(waves * angle + 2 * math.pi * phase)
    return torch.hypot(down, across) / radius


# By name: the distance of every pixel from a region's centre, of offsets (H,1) and (1,W).
SHAPES: dict[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    "square": _square,
    "ellipse": _ellipse,
    "free": _free,
}
