"""The base class of all neural imaging pipelines (NIPs), and how they develop: memory layout and movement."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from models.bayer import selection
from models.precision import autocast, in_bfloat16

Matrix = Sequence[Sequence[float]]


class NIP(nn.Module):
    """Develops Bayer stacks (N,4,h,w) in [0,1] into RGB (N,3,2h,2w), float32 in [0,1].

    A NIP belongs to one camera. Every architecture is therefore built from the same two facts about the camera: some
    start from them (INet, ClassicISP), others learn them (UNet, DNet).

    Args:
        cfa: colour filter array of the stacks, e.g. "RGGB".
        cam2srgb: 3×3, white-balanced camera RGB to linear sRGB, rows summing to 1; None is the identity.
        settings: further arguments of a subclass, JSON-able.

    Attributes:
        name: of its class, under which `models.build` finds it.
        settings: the arguments that build it again, JSON-able.
        version: raise it when a change of the class changes results: keys of finished work that used it then no longer
            match.
        tolerance: relative change of the validation loss below which its pre-training has converged.
        starts_as_standard: whether it is the standard pipeline by its nature, and cannot start otherwise. Other NIPs
            learn to develop; the PRNU experiments examine those.
        period: what becomes of a cell depends on its place in the photograph modulo so many cells, borders apart. 16
            suits whatever pools up to four times.
        base: name of another NIP whose pre-trained weights it starts from; None: it is pre-trained itself.

    Raises:
        ValueError: no Bayer pattern, or no 3×3 matrix.
    """

    version: ClassVar[int] = 1
    tolerance: ClassVar[float] = 1e-4
    period: int = 16
    starts_as_standard: ClassVar[bool] = False
    base: ClassVar[str | None] = None

    def __init__(self, cfa: str = "RGGB", cam2srgb: Matrix | None = None, **settings: Any) -> None:
        super().__init__()
        selection(cfa)  # raises ValueError for an unknown pattern
        matrix = torch.eye(3) if cam2srgb is None else torch.as_tensor(cam2srgb, dtype=torch.float32)
        if matrix.shape != (3, 3) or not matrix.isfinite().all():
            raise ValueError(f"cam2srgb must be a 3×3 matrix of finite numbers, not {cam2srgb!r}")
        self.cam2srgb: list[list[float]] = matrix.tolist()
        self.settings: dict[str, Any] = {"cfa": cfa, "cam2srgb": self.cam2srgb, **settings}

    @property
    def name(self) -> str:
        return type(self).__name__

    def initialise(self, generator: torch.Generator) -> None:
        """Sets the starting weights; random ones are drawn from `generator`, on the CPU."""

    def start_as_standard(self) -> None:
        """Changes some of the starting weights, so that it develops nearly as the standard pipeline does.

        Demosaicing is bilinear. What `starts_as_standard` stays as it is.

        Raises:
            ValueError: this NIP has no such start.
        """
        if not self.starts_as_standard:
            raise ValueError(f"{self.name} cannot start as the standard pipeline: use pretraining: {{start: random}}")

    @classmethod
    def starting_from(cls, pretrained: "NIP", **training: Any) -> "NIP":
        """Returns the NIP that a trial starts from.

        Args:
            pretrained: of this class, or of the class that `base` names.
            training: the settings of the trial's training, of which a subclass may use some.
        """
        return pretrained

    def learning(self) -> list[nn.Parameter]:
        """Returns the parameters that learn in a joint trial: all, unless a subclass keeps some as they are."""
        return list(self.parameters())

    def freeze_statistics(self, frozen: bool = True) -> Self:
        """Freezes or thaws the statistics of batch normalisation, where there is any.

        Every NIP is built and loaded frozen: it uses its running statistics even after `.train()`, so that a
        photograph never depends on the others in its batch. Only pre-training thaws it, to use and gather the
        statistics of batches.
        """
        return self


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        return y.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def clip(y: Tensor) -> Tensor:
    """Clips y to [0,1], as float32 or float64. The gradient passes straight through, so that clipped pixels learn."""
    return _Clip.apply(y.to(torch.promote_types(y.dtype, torch.float32)))


def develop(nip: NIP, bayer: Tensor, precision: str) -> Tensor:
    """Develops Bayer stacks (N,4,h,w) into RGB (N,3,2h,2w) float32, as training does.

    Args:
        nip: on the device of `bayer`, best in the memory layout that `layout` returns.
        bayer: is copied into that layout where it has another.
        precision: of the convolutions, "float32" or "bfloat16". The weights, and the last convolution, which makes
            the pixels, are always float32.
    """
    with autocast(bayer, precision):
        return nip(bayer.contiguous(memory_format=layout(bayer.device, precision)))


def layout(device: torch.device, precision: str) -> torch.memory_format:
    """Returns the memory layout in which convolutions of this precision train fastest; NOTES.md has the times."""
    fast = device.type != "cpu" or in_bfloat16(device, precision)
    return torch.channels_last if fast else torch.contiguous_format


def move(module: nn.Module, device: torch.device | str, precision: str) -> None:
    """Moves a network to a device, with its weights in the memory layout that `layout` returns."""
    module.to(device, memory_format=layout(torch.device(device), precision))  # type: ignore[call-overload]
