"""Precision: every operator of the channel computes in float32 (float64 for float64), also under autocast.

A DCT coefficient divided by its quantization step reaches several hundred before it is rounded. With the eight bits of
bfloat16 many would be rounded to another integer, and the traces that the FAN looks for are as small as that.

TF32 has ten bits instead of float32's 23, and PyTorch's own switches decide about it. For products of matrices, which
compute the DCT and colours here, it is off by default and has to stay off; `models.determinism.computing`, in which
training and evaluation run, turns it off for them and for convolutions.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch


def full_precision(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Decorates ``forward(self, images, ...)``: turns autocast off and converts half precision to float32.

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
        if images.device.type == "meta":  # on which steps are counted; it knows no autocast
            return forward(self, images, *args, **kwargs)
        with torch.autocast(images.device.type, enabled=False):
            return forward(self, images, *args, **kwargs)

    return wrapped
