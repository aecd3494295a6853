"""Real encoders, for what leaves the model: JPEG, WebP, AVIF and JPEG 2000 through Pillow."""

import io
from typing import Any

import numpy as np
import torch

# What each codec can do with chroma; the first is its default here. Pillow's WebP knows no other than 4:2:0.
SUBSAMPLINGS = {
    "jpeg": ("4:4:4", "4:2:2", "4:2:0"),
    "webp": ("4:2:0",),
    "avif": ("4:2:0", "4:2:2", "4:4:4"),
    "jpeg2000": ("4:4:4",),
}


def save_options(codec: str) -> dict[str, Any]:
    """Pillow's options for ``name:quality`` or ``name:quality:subsampling``, e.g. ``jpeg:50:4:2:0``.

    Raises ValueError for anything else.
    """
    name, _, rest = codec.partition(":")
    text, _, subsampling = rest.partition(":")
    if name not in SUBSAMPLINGS or not text.isdecimal() or not 1 <= int(text) <= 100:
        names = ", ".join(SUBSAMPLINGS)
        raise ValueError(f"unknown codec {codec!r}: write NAME:1 to NAME:100, NAME one of {names}")
    if subsampling not in ("", *SUBSAMPLINGS[name]):
        raise ValueError(f"codec {codec!r}: subsampling of {name} is {' or '.join(SUBSAMPLINGS[name])}")
    quality, subsampling = int(text), subsampling or SUBSAMPLINGS[name][0]
    if name == "webp":
        return {"format": "WEBP", "quality": quality}
    if name == "jpeg2000":
        return {"format": "JPEG2000", "irreversible": True, "quality_mode": "dB", "quality_layers": [quality]}
    return {"format": name.upper(), "quality": quality, "subsampling": subsampling}


def encode(images: torch.Tensor | np.ndarray, codec: str = "jpeg:50") -> torch.Tensor:
    """Compresses and decompresses images with a real codec.

    Args:
        images: (N, 3, H, W) uint8 RGB, torch or numpy.
        codec: ``name:quality`` or ``name:quality:subsampling``, names jpeg, webp, avif, jpeg2000. Quality is
            1 to 100 as the codec takes it; for jpeg2000, the PSNR in dB that it aims at. Without subsampling,
            JPEG is 4:4:4 like dJPEG, AVIF 4:2:0.

    Returns:
        (N, 3, H, W) uint8 on the CPU.

    Raises ValueError for any other codec, shape or dtype.
    """
    from PIL import Image  # here, so that training needs no Pillow

    options = save_options(codec)
    pixels = torch.as_tensor(images).cpu()
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(f"encode needs uint8 images (N, 3, H, W), not {pixels.dtype} {tuple(pixels.shape)}")
    decoded = torch.empty_like(pixels)
    for image, result in zip(pixels, decoded, strict=True):
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file, **options)
        with Image.open(file) as opened:
            result.copy_(torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1))
    return decoded
