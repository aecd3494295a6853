"""What a manipulation is: an operator on images and the strengths that it takes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Operator:
    """A manipulation; its name is that of the file which defines it.

    Attributes:
        apply: images (N, 3, H, W) in [0, 1] and a strength → manipulated images of the same shape in [0, 1], with a
            gradient. If `random`, it takes a generator as its third argument. None: `build` is given instead.
        default: strength where a study names none.
        low, high: smallest and largest strength.
        step: between possible strengths; 0: any number from `low` to `high`.
        random: whether it draws random numbers.
        build: builds a module of one strength, for an operator with constants on the device of the images. It needs a
            `step`, since a module is built for every possible strength.
        version: raise it when a change of the operator changes results: keys of finished work that used it then no
            longer match.
    """

    apply: Callable[..., torch.Tensor] | None
    default: float
    low: float
    high: float
    step: float = 0
    random: bool = False
    build: Callable[[float], nn.Module] | None = None
    version: int = 1
