"""What all neural imaging pipelines (NIPs) share: their camera, their output range, their statistics."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from models.bayer import selection

Matrix = Sequence[Sequence[float]]


class NIP(nn.Module):
    """Develops Bayer stacks (N,4,h,w) in [0,1] into RGB (N,3,2h,2w), float32 in [0,1].

    A NIP belongs to one camera. All architectures are therefore built from the same two facts about it,
    whether they start from them (INet, ClassicISP) or learn them (UNet).

    Args:
        cfa: colour filter array of the stacks, e.g. "RGGB".
        cam2srgb: 3×3, white-balanced camera RGB to linear sRGB, rows summing to 1; None is the identity.
        settings: what else a subclass is built from, JSON-able.

    Attributes:
        name: under which `models.build` knows it.
        settings: the arguments, JSON-able, that build it again.
        reads: the field of `cameras.patches.Patches` that it takes as input.

    Raises:
        ValueError: no Bayer pattern, or no 3×3 matrix.
    """

    reads: ClassVar[str] = "bayer"

    def __init__(self, cfa: str = "RGGB", cam2srgb: Matrix | None = None, **settings: Any) -> None:
        super().__init__()
        selection(cfa)  # refuses what is no Bayer pattern
        matrix = torch.eye(3) if cam2srgb is None else torch.as_tensor(cam2srgb, dtype=torch.float32)
        if matrix.shape != (3, 3) or not matrix.isfinite().all():
            raise ValueError(f"cam2srgb must be a 3×3 matrix of finite numbers, not {cam2srgb!r}")
        self.cam2srgb: list[list[float]] = matrix.tolist()
        self.settings: dict[str, Any] = {"cfa": cfa, "cam2srgb": self.cam2srgb, **settings}

    @property
    def name(self) -> str:
        return type(self).__name__

    def initialise(self, generator: torch.Generator) -> None:
        """Sets the starting weights; what is random in them comes from `generator`, on the CPU."""

    def freeze_statistics(self, frozen: bool = True) -> Self:
        """Whether batch normalisation, where there is any, keeps to its running statistics.

        Frozen, as every NIP is built and loaded, a photograph never depends on the others in its batch, not
        even after `.train()`. Only pre-training thaws it, to use and gather statistics of batches.
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
    """y clipped to [0,1], float32 or float64; its gradient passes straight through: clipped pixels learn."""
    return _Clip.apply(y.to(torch.promote_types(y.dtype, torch.float32)))


def develop(nip: NIP, bayer: Tensor, precision: str) -> Tensor:
    """RGB (N,3,2h,2w) float32 from Bayer stacks (N,4,h,w), or whatever else the NIP reads, the way training does it.

    Args:
        nip: on the device of `bayer`, best in the layout that `layout` names.
        bayer: is brought into that layout.
        precision: of the convolutions, "float32" or "bfloat16"; the last one, which makes the pixels, and the
            weights are float32 in any case.
    """
    with autocast(bayer, precision):
        return nip(bayer.contiguous(memory_format=layout(bayer.device, precision)))


def autocast(tensor: Tensor, precision: str) -> torch.autocast:
    """A context in which convolutions on the device of `tensor` compute in `precision`, "float32" or "bfloat16".

    "bfloat16" is a permission: where PyTorch would only imitate it, several times slower, they compute in float32.
    """
    return torch.autocast(tensor.device.type, dtype=torch.bfloat16, enabled=in_bfloat16(tensor.device, precision))


def in_bfloat16(device: torch.device, precision: str) -> bool:
    """Whether convolutions are computed in bfloat16: where it is asked for, and the device has fast ones."""
    if precision != "bfloat16":
        return False
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    # oneDNN has them for AVX-512 and for Arm's like of it: PyTorch has no public name for the question.
    has_onednn = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def layout(device: torch.device, precision: str) -> torch.memory_format:
    """The memory layout in which convolutions of this precision train fastest: see NOTES.md."""
    fast = device.type == "cuda" or in_bfloat16(device, precision)
    return torch.channels_last if fast else torch.contiguous_format


def move(module: nn.Module, device: torch.device | str, precision: str) -> None:
    """Moves a network to a device, its weights in the `layout` to train in."""
    module.to(device, memory_format=layout(torch.device(device), precision))  # type: ignore[call-overload]


def no_autocast(tensor: Tensor) -> torch.autocast:
    """A context in which operations on `tensor` keep to float32 although a caller has chosen bfloat16."""
    return autocast(tensor, "float32")
