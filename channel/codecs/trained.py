"""Codecs in a training: a differentiable version, or a real encoder that borrows the gradient of dJPEG."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from channel import quantization
from channel.codecs import CODECS, Encoder, encode
from channel.codecs.jpeg import SUBSAMPLINGS, DifferentiableJPEG
from channel.filters import to_device
from channel.precision import full_precision

LIBJPEG = "libjpeg"  # the real encoder of JPEG, since "jpeg" is dJPEG in a training


def names() -> list[str]:
    """Returns the names of all codecs that can be trained through."""
    return ["jpeg", LIBJPEG, *(name for name in CODECS if name != "jpeg")]


def learns(name: str) -> bool:
    """Whether the codec has weights, which may learn."""
    return name in CODECS and CODECS[name].learning is not None


def is_real(name: str) -> bool:
    """Whether the codec is a real encoder in a training."""
    return name == LIBJPEG or (CODECS[name].differentiable is None and not learns(name))


def encoder_name(name: str) -> str:
    """Returns the name of the codec in `CODECS`, as :func:`channel.encode` knows it."""
    return "jpeg" if name == LIBJPEG else name


def build(name: str, quality: int, subsampling: str, rounding: str, device: torch.device) -> nn.Module:
    """Builds the module (N, 3, H, W) in [0, 1] → same of a codec without weights, with its constants on a device.

    Args:
        name: one of :func:`names`, none that learns.
        quality: 1 to 100.
        subsampling: that the codec takes.
        rounding: of dJPEG (:class:`channel.DifferentiableJPEG`), also where it only lends its gradient.

    Raises:
        ValueError: a setting that the codec does not take.
    """
    differentiable: Callable[[int, str, str], nn.Module] | None = None if is_real(name) else CODECS[name].differentiable
    with torch.inference_mode(False):  # the module will be used again, also in training
        if differentiable:
            module = differentiable(quality, rounding, subsampling)
        else:
            module = RealEncoder(Encoder(encoder_name(name), quality, subsampling), rounding)
        return module._apply(partial(to_device, device=device))


class RealEncoder(nn.Module):
    """The value of a real encoder with the gradient of dJPEG, passed straight through.

    Args:
        encoder: its name, quality and subsampling.
        rounding: of dJPEG, whose quality is :meth:`Codec.jpeg_quality`, and whose subsampling is 4:2:0 unless the
            encoder's is 4:4:4.

    Encoders run on the CPU: on a GPU, the host waits until the images are there. On the meta device, where tensors have
    no values, nothing is encoded.
    """

    def __init__(self, encoder: Encoder, rounding: str) -> None:
        super().__init__()
        self.encoder = encoder
        quality = CODECS[encoder.name].jpeg_quality(encoder.quality)
        subsampling = encoder.subsampling if encoder.subsampling in SUBSAMPLINGS else "4:2:0"
        self.surrogate = DifferentiableJPEG(quality, rounding, subsampling)

    @full_precision
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Stores RGB (N, 3, H, W) in [0, 1] as 8 bits, compresses and decompresses them -> same, of 8 bits."""
        if not (images.requires_grad and torch.is_grad_enabled()):
            return self.encode(images)
        return quantization.replace(self.surrogate(images), lambda _: self.encode(images.detach()))

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        if images.is_meta:
            return torch.empty_like(images)
        decoded = encode(quantization.to_levels(images).byte(), str(self.encoder))
        return to_device(decoded, images.device).to(images.dtype) / 255

    def extra_repr(self) -> str:
        return str(self.encoder)
