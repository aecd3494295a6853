"""Is a photograph a copy of a known one? The same pixels, or a picture that looks the same.

A photograph always matches a fingerprint that was estimated from it, because its own noise is in there. The same
pixels are recognised by their hash, whatever the format of the file and its metadata. Copies that were saved again with
losses, resized or cropped are recognised by small pictures: the copy, reduced to several sizes, is moved over the known
picture, and the largest normalised correlation of brightness decides. A photograph of another scene rarely comes that
close (NOTES.md); another photograph of the same scene does.
"""

import base64
import hashlib
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from prnu.residual import grey

SIDE = 48  # pixels of a thumbnail's longer side
STEP = 0.96  # from one size to the next
SMALLEST = 0.48  # of the known picture's side: smaller crops are not recognised
FAINT = 4.0  # levels of 255: pictures with a smaller standard deviation are too plain to be recognised
NEAR = 0.94  # correlation from which on a picture counts as a copy


def pixel_hash(photograph: Tensor) -> str:
    """SHA-256 of the 8-bit pixels and the size of a photograph (1,3,H,W) in [0,1], in hexadecimal digits."""
    pixels = (photograph[0] * 255).round().to(torch.uint8).cpu()
    return hashlib.sha256(f"{tuple(pixels.shape)}".encode() + pixels.contiguous().numpy().tobytes()).hexdigest()


def thumbnail(photograph: Tensor) -> str:
    """A small picture of a photograph (1,3,H,W): height×width:base64 of its grey levels."""
    small = _scaled(grey(photograph)[0].cpu() * 255, SIDE / max(photograph.shape[-2:])).round().to(torch.uint8)
    return f"{small.shape[0]}×{small.shape[1]}:{base64.b64encode(small.numpy().tobytes()).decode()}"


def nearest(photograph: Tensor, frame: tuple[int, int], thumbnails: Sequence[str]) -> float:
    """How much a photograph (1,3,h,w) resembles the most similar of known ones, or a part of it: correlation, −1 to 1.

    frame: height and width of the known photographs. thumbnails: of these, by `thumbnail`; −1 if there are none.
    """
    if not thumbnails:
        return -1.0
    known = torch.stack([_picture(one) for one in thumbnails])[:, None]  # (N,1,H,W)
    picture = grey(photograph)[0].cpu() * 255
    picture = _scaled(picture, min(1.0, 4 * SIDE / max(picture.shape)))
    whole = min(known.shape[-2] / picture.shape[0], known.shape[-1] / picture.shape[1])
    steps = math.ceil(math.log(SMALLEST) / math.log(STEP))
    shares = [STEP**step for step in range(steps)]
    unscaled = max(photograph.shape[-2] / frame[0], photograph.shape[-1] / frame[1])  # a crop's share of the frame
    if SMALLEST < unscaled < 1:
        shares.append(unscaled)
    return max(_best(_scaled(picture, whole * share, known.shape[-2:]), known) for share in shares)


def _best(part: Tensor, known: Tensor) -> float:
    """The largest normalised correlation of a picture (h,w) with those in (N,1,H,W), at all positions."""
    n = part.numel()
    part = part - part.mean()
    if part.norm() < FAINT * n**0.5:
        return -1.0
    ones = torch.ones_like(part)[None, None]
    mean = F.conv2d(known, ones) / n
    energy = (F.conv2d(known.square(), ones) - n * mean.square()).clamp(min=n * FAINT**2)
    return (F.conv2d(known, part[None, None]) / (part.norm() * energy.sqrt())).max().item()


def _scaled(picture: Tensor, factor: float, most: Sequence[int] = (2**31, 2**31)) -> Tensor:
    """A picture (H,W) at another size, with sides of at least one pixel."""
    size = [max(1, min(limit, round(side * factor))) for side, limit in zip(picture.shape, most, strict=True)]
    return F.interpolate(picture[None, None], size=size, mode="bilinear", antialias=True)[0, 0]


def _picture(text: str) -> Tensor:
    size, _, levels = text.partition(":")
    height, width = map(int, size.split("×"))
    return torch.frombuffer(bytearray(base64.b64decode(levels)), dtype=torch.uint8).view(height, width).float()
