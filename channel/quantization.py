"""Rounding and clipping with useful gradients (paper, section 4.2).

The true gradient of rounding is zero everywhere, that of a clip is zero outside its range: a network before them would
learn nothing. ρ is a rounding function, as in the paper. Gradients are written by hand where that takes fewer passes
over the images, and less memory, than what autograd derives.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

Rounding = Callable[[torch.Tensor], torch.Tensor]


def sinusoidal(x: torch.Tensor) -> torch.Tensor:
    """ρ(x) = x − sin(2πx)/2π (paper, eq. 3): keeps whole numbers, and moves others towards the nearest one."""
    return _Sinusoidal.apply(x, _equation_3)


def soft(x: torch.Tensor) -> torch.Tensor:
    """Rounds in the forward pass, with the gradient of :func:`sinusoidal` (the authors' toolbox)."""
    return _Sinusoidal.apply(x, torch.round)


def _equation_3(x: torch.Tensor) -> torch.Tensor:
    return torch.sub(x, (x * (2 * math.pi)).sin_(), alpha=1 / (2 * math.pi))


class _Sinusoidal(torch.autograd.Function):
    """Any rounding function forward; backward the slope of eq. 3, 1 − cos(2πx)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, rounding: Rounding) -> torch.Tensor:
        ctx.save_for_backward(x)
        return rounding(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        cosine = (x * (2 * math.pi)).cos_()
        return torch.addcmul(gradient, gradient, cosine, value=-1), None


def straight_through(x: torch.Tensor) -> torch.Tensor:
    """Rounds in the forward pass; the gradient passes unchanged (Bengio et al. 2013)."""
    return replace(x, torch.round)


def replace(x: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Computes ``function(x)``, of the same shape, without a graph; the gradient passes unchanged."""
    return _Replace.apply(x, function)


class _Replace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return function(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


def harmonic(x: torch.Tensor, terms: int) -> torch.Tensor:
    """x minus the first terms of the Fourier series of the sawtooth x − round(x) (paper, section 4.2)."""
    rounded = x
    for k in range(1, terms + 1):
        rounded = torch.add(rounded, torch.sin(x * (2 * math.pi * k)), alpha=(-1) ** k / (math.pi * k))
    return rounded


def rounding(name: str, harmonics: int = 5) -> Rounding:
    """Returns a rounding function: round (gradient zero), sin, soft, harmonic with ``harmonics`` terms, or
    straight-through.

    Raises:
        ValueError: any other name, or less than one term.
    """
    if harmonics < 1:
        raise ValueError(f"harmonics must be at least 1, not {harmonics}")
    known: dict[str, Rounding] = {
        "round": torch.round,
        "sin": sinusoidal,
        "soft": soft,
        "harmonic": functools.partial(harmonic, terms=harmonics),
        "straight-through": straight_through,
    }
    if name not in known:
        raise ValueError(f"unknown rounding {name!r}: choose one of {', '.join(known)}")
    return known[name]


def clip(x: torch.Tensor) -> torch.Tensor:
    """Clips to [0, 1]; the gradient passes as if nothing had been clipped (straight-through).

    With the clip's own gradient a pixel that reached black or white could never return. The NIPs end in a clip with the
    same gradient, `models.nip.clip`; neither package imports the other.
    """
    return _Clip.apply(x)


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def quantize(x: torch.Tensor) -> torch.Tensor:
    """Rounds [0, 1] to 8 bits, multiples of 1/255, and clips, with the gradients of :func:`soft` and :func:`clip`."""
    return clip(soft(255 * x) / 255)


def store(images: torch.Tensor) -> torch.Tensor:
    """Stores [0, 1] as 8 bits: the nearest of k/255, halves to even; the gradient passes unchanged."""
    return _Store.apply(images, 255.0, 255.0)


def to_levels(images: torch.Tensor) -> torch.Tensor:
    """Stores [0, 1] as 8 bits, and returns the levels: whole numbers from 0 to 255."""
    return _Store.apply(images, 255.0, 1.0)


def from_levels(levels: torch.Tensor) -> torch.Tensor:
    """Stores numbers from 0 to 255 as 8 bits, halves to even, and returns them in [0, 1].

    Means of levels lie halfway between two levels often. Of means of k/255 float32 would round those to either side.
    """
    return _Store.apply(levels, 1.0, 255.0)


class _Store(torch.autograd.Function):
    """Multiplies by ``before``, rounds, clips to 0…255 and divides by ``after``. Backward, nothing was rounded."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, before: float, after: float) -> torch.Tensor:
        ctx.scale = before / after
        stored = (x * before).round_() if before != 1 else x.round()
        stored.clamp_(0, 255)
        return stored.div_(after) if after != 1 else stored

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradient * ctx.scale if ctx.scale != 1 else gradient, None, None
