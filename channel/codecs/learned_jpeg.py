"""JPEG whose quantization tables learn; what it writes is a baseline JPEG file that any reader opens.

Cb and Cr share a table, as libjpeg has it. Training sees the tables that a file will hold, of whole numbers.
"""

import math
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn

from cameras.photographs import PhotographError, read
from channel.codecs import jpeg
from channel.codecs.codec import Codec, to_file
from channel.codecs.jpeg_rate import bits
from channel.codecs.learning import LearningCodec
from channel.precision import full_precision

# Adam moves a parameter by about its learning rate, 1e-4 for a network. The parameters here are log-steps divided by
# SPEED, so that a quantization step changes by 0.3 % then.
SPEED = 30


class LearnedJPEG(LearningCodec):
    """dJPEG (:class:`channel.DifferentiableJPEG`) whose two quantization tables are parameters.

    Args:
        quality: 1 to 100, of the tables of libjpeg that it starts from; it then equals dJPEG.
        rounding, subsampling: as in dJPEG.

    Raises:
        ValueError: any other setting.
    """

    name = "learned_jpeg"
    DD: Tensor

    def __init__(self, quality: int = 50, rounding: str = "sin", subsampling: str = "4:4:4") -> None:
        super().__init__(quality=quality, rounding=rounding, subsampling=subsampling)
        self.jpeg = jpeg.DifferentiableJPEG(quality, rounding, subsampling)
        self.register_buffer("DD", jpeg.dct_of_blocks(), persistent=False)
        self.log_steps = nn.Parameter(jpeg.quantization_tables(quality).float().log() / SPEED)

    def tables(self) -> Tensor:
        """Returns the steps for luminance and chrominance (2, 8, 8), whole numbers from 1 to 255, with a gradient."""
        return _Steps.apply(SPEED * self.log_steps)

    @full_precision
    def forward(self, images: Tensor) -> Tensor:
        """Compresses RGB (N, 3, H, W) in [0, 1], any H and W -> same; in training it notes distortion and rate."""
        encode, decode = jpeg.matrices(self.tables()[[0, 1, 1]], self.DD)
        noted = self.training and torch.is_grad_enabled()
        spent: list[Tensor] = []

        def quantize(planes: Tensor, first: int) -> Tensor:
            tables = slice(first, first + planes.shape[1])
            coefficients = jpeg.dct(planes, encode[tables])
            if noted:
                spent.append(bits(coefficients))
            return jpeg.crop(jpeg.inverse_dct(self.jpeg.rho(coefficients), decode[tables]), *planes.shape[-2:])

        decoded = self.jpeg.through(images, quantize)
        if noted:
            N, _, H, W = images.shape
            self.note(images, decoded, torch.stack(spent).sum() / (N * H * W))
        return decoded

    def compress(self, pixels: Tensor) -> bytes:
        """Compresses a picture (3, H, W) uint8 into a baseline JPEG file with these tables."""
        tables = self.tables().detach().cpu().flatten(1).int().tolist()  # in natural order, not in that of the zigzag
        picture = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
        options: dict[str, Any] = {"format": "JPEG", "qtables": tables, "subsampling": self.jpeg.subsampling}
        try:
            return to_file(picture, **options, optimize=True)
        except OSError:  # noise at quality 100 exceeds the two bytes per pixel that Pillow reserves to optimize codes
            return to_file(picture, **options)

    def decompress(self, data: bytes) -> Tensor:
        """Returns the picture (3, H, W) uint8 of a JPEG file in RGB, with any tables: a file brings its own.

        Raises:
            ValueError: it is no JPEG file, or it is cut off. JPEG has no checksum: pixels may be wrong without notice.
        """
        if not data.startswith(b"\xff\xd8"):
            raise ValueError("these bytes are no JPEG file")
        try:
            return read(BytesIO(data))[0]
        except PhotographError as error:
            raise ValueError(f"a damaged JPEG file: it {error}") from None


class _Steps(torch.autograd.Function):
    """Whole steps, 1 to 255, of log-steps. The gradient is that of exp, but zero where it leads out of range."""

    @staticmethod
    def forward(ctx: Any, logs: Tensor) -> Tensor:
        ctx.save_for_backward(logs)
        return logs.exp().round().clamp(1, 255)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (logs,) = ctx.saved_tensors
        outwards = ((logs <= 0) & (gradient > 0)) | (
            (logs >= math.log(255)) & (gradient < 0)
        )  # descent goes against it
        return torch.where(outwards, 0, gradient * logs.exp())


def for_cjpeg(tables: Tensor) -> str:
    """Tables (2, 8, 8) as text for ``cjpeg -qtables FILE``: luminance, then chrominance, in natural order."""
    names = ("luminance", "chrominance")
    return "\n".join(
        f"# {name}\n" + "".join(" ".join(f"{step:3d}" for step in row) + "\n" for row in table)
        for name, table in zip(names, tables.detach().int().tolist(), strict=True)
    )


# It computes with dJPEG, so its version rises with that one's: 1 when that was 2. Add one for a change of its own.
CODEC = Codec(learning=LearnedJPEG, subsamplings=jpeg.SUBSAMPLINGS, version=jpeg.CODEC.version - 1)
