"""The precision of convolutions: float32, or bfloat16 where the device is fast at it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


def autocast(tensor: Tensor, precision: str) -> AbstractContextManager[Any]:
    """Returns a context in which convolutions on the device of `tensor` compute in `precision`.

    "float32" is an order, "bfloat16" a permission: where PyTorch would only emulate it, several times slower, they
    compute in float32.
    """
    enabled = in_bfloat16(tensor.device, precision)
    if tensor.device.type == "meta":
        return _MetaAutocast(enabled)
    return torch.autocast(tensor.device.type, dtype=torch.bfloat16, enabled=enabled)


def no_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """Returns a context in which operations on `tensor` stay in float32 although a caller has chosen bfloat16."""
    return autocast(tensor, "float32")


def in_bfloat16(device: torch.device, precision: str) -> bool:
    """Whether convolutions compute in bfloat16: if `precision` permits it and the device is fast at it.

    The meta device, on which the memory and the operators of a step are counted, stands for a GPU.
    """
    if precision != "bfloat16":
        return False
    if device.type == "cuda":
        return _gpu_has_bfloat16(device)
    if device.type == "meta":
        return True
    # oneDNN supports it on AVX-512 and on Arm's counterpart. PyTorch has no public function that tells.
    has_onednn = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@cache
def _gpu_has_bfloat16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


class _MetaAutocast(TorchFunctionMode):
    """What autocast does to our networks, on the meta device, which `torch.autocast` does not know."""

    LOWERED: ClassVar[frozenset[Callable[..., Any]]] = frozenset(
        {F.conv2d, F.conv_transpose2d, F.linear, torch.conv2d, torch.conv_transpose2d, torch.matmul}
    )
    entered: ClassVar[list["_MetaAutocast"]] = []

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.enabled = enabled

    def __enter__(self) -> Self:
        self.entered.append(self)
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self.entered.remove(self)
        super().__exit__(*error)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.enabled and self.entered[-1] is self and function in self.LOWERED:
            args = tuple(_lowered(arg) for arg in args)
            kwargs = {name: _lowered(arg) for name, arg in (kwargs or {}).items()}
        return function(*args, **(kwargs or {}))


def _lowered(argument: Any) -> Any:
    is_float32 = isinstance(argument, Tensor) and argument.dtype == torch.float32
    return argument.to(torch.bfloat16) if is_float32 else argument
