"""Codecs: the registry of all, how they are written as text, and compression by their real encoders."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch

from channel.codecs.codec import Codec
from channel.codecs.learning import LearningCodec

# To add a codec, define CODEC in a new file of channel/codecs/, and add one line here: the name of the file.
NAMES = (
    "jpeg",
    "webp",
    "avif",
    "jpeg2000",
    "learned",
    "learned_jpeg",
)

CODECS: dict[str, Codec] = {name: import_module(f"channel.codecs.{name}").CODEC for name in NAMES}


@dataclass(frozen=True)
class Encoder:
    """A real encoder at a quality (1 to 100) and a chroma subsampling."""

    name: str
    quality: int
    subsampling: str

    @classmethod
    def parse(cls, text: str) -> "Encoder":
        """``name:quality`` or ``name:quality:subsampling``, e.g. ``jpeg:50:4:2:0``.

        Raises:
            ValueError: anything else.
        """
        name, _, rest = text.partition(":")
        quality, _, subsampling = rest.partition(":")
        real = [known for known, codec in CODECS.items() if codec.encode]
        if name not in real or not quality.isdecimal() or int(quality) not in CODECS[name].qualities:
            raise ValueError(f"unknown codec {text!r}: write NAME:1 to NAME:100, NAME one of {', '.join(real)}")
        possible = CODECS[name].subsamplings
        if subsampling not in ("", *possible):
            raise ValueError(f"codec {text!r}: subsampling of {name} is {' or '.join(possible)}")
        return cls(name, int(quality), subsampling or possible[0])

    def __str__(self) -> str:
        """The shortest text that `parse` reads as the same: it leaves out the default subsampling."""
        default = self.subsampling == CODECS[self.name].subsamplings[0]
        return f"{self.name}:{self.quality}" if default else f"{self.name}:{self.quality}:{self.subsampling}"


def build(name: str, **settings: Any) -> LearningCodec:
    """Builds a codec that learns from its name and its settings: for ``models.load(path, build=channel.codecs.build)``.

    Raises:
        ValueError: there is no such codec, or it has no weights.
    """
    learning = CODECS[name].learning if name in CODECS else None
    if learning is None:
        raise ValueError(f"{name} is no codec that learns: {', '.join(n for n, c in CODECS.items() if c.learning)} are")
    return learning(**settings)


def compress(image: torch.Tensor, codec: str = "jpeg:50") -> bytes:
    """Compresses a picture (3, H, W) uint8 with a real encoder into the bytes of a file; codecs as in :func:`encode`.

    Raises:
        ValueError: any other codec, shape or dtype.
    """
    chosen = Encoder.parse(codec)
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"compress needs a uint8 image (3, H, W), not {image.dtype} {tuple(image.shape)}")
    encoder = CODECS[chosen.name].encode
    assert encoder is not None
    return encoder(image.cpu().permute(1, 2, 0).contiguous().numpy(), chosen.quality, chosen.subsampling)


def decompress(data: bytes, codec: str = "jpeg:50") -> torch.Tensor:
    """Returns the picture (3, H, W) uint8 of bytes that :func:`compress` made."""
    return torch.from_numpy(CODECS[Encoder.parse(codec).name].decode(data)).permute(2, 0, 1)


def encode(images: torch.Tensor | np.ndarray, codec: str = "jpeg:50") -> torch.Tensor:
    """Compresses and decompresses images with a real encoder, on the CPU, in as many threads as PyTorch uses.

    Args:
        images: (N, 3, H, W) uint8 RGB, torch or numpy.
        codec: ``name:quality`` or ``name:quality:subsampling``, names jpeg, webp, avif, jpeg2000. Quality is
            1 to 100 as the encoder takes it; for jpeg2000, the PSNR in dB that it aims at. Without a subsampling,
            JPEG is 4:4:4 like dJPEG, AVIF 4:2:0.

    Returns:
        (N, 3, H, W) uint8 on the CPU.

    Raises:
        ValueError: any other codec, shape or dtype.
    """
    return through_files(images, codec)[0]


def through_files(images: torch.Tensor | np.ndarray, codec: str) -> tuple[torch.Tensor, torch.Tensor]:
    """As :func:`encode`; returns the decoded pictures, and the bits per pixel of their files, (N,) float64."""
    Encoder.parse(codec)
    pixels = torch.as_tensor(images).cpu()
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(f"encode needs uint8 images (N, 3, H, W), not {pixels.dtype} {tuple(pixels.shape)}")

    def through(image: torch.Tensor) -> tuple[torch.Tensor, int]:
        data = compress(image, codec)
        return decompress(data, codec), 8 * len(data)

    decoded = torch.empty_like(pixels)
    bits = torch.empty(len(pixels), dtype=torch.float64)
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # the encoders let other threads run
        for i, (picture, size) in enumerate(threads.map(through, pixels)):
            decoded[i], bits[i] = picture, size
    return decoded, bits / (pixels.shape[-2] * pixels.shape[-1])
