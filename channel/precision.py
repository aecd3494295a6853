"""Every operator of the channel computes in float32 (in float64 when given float64), also under autocast.

A DCT coefficient divided by its quantization step reaches several hundred before it is rounded: with the
eight bits of bfloat16 many become another integer, and the traces that the FAN looks for are that small.
TF32, ten bits instead of float32's 23, is a matter of PyTorch's own switches. For ``matmul``, by which the DCT is
computed here, it is off by default, and has to stay off. For cuDNN's convolutions on CUDA, those of NIP and FAN, it is
on by default: whoever wants float32 there sets ``torch.backends.cudnn.allow_tf32 = False``.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch


def full_precision(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Decorates ``forward(self, images, ...)``: autocast off, half precision made float32.

    The decorated method raises ValueError unless ``images`` is (N, 3, H, W) and floating-point.
    """

    @functools.wraps(forward)
    def wrapped(self: Any, images: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"{type(self).__name__} needs floating-point images (N, 3, H, W) in [0, 1], "
                f"not {images.dtype} {tuple(images.shape)}"
            )
        if images.dtype != torch.float64:
            images = images.float()
        with torch.autocast(images.device.type, enabled=False):
            return forward(self, images, *args, **kwargs)

    return wrapped
