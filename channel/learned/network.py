"""The autoencoder of the learned codec (after Theis et al. 2017, as Korus & Memon 2020 adapted it).

image (N,3,H,W)
  └ 5×5 conv, stride 2 ── width/2, leaky ReLU                                            encoder
      └ 5×5 conv, stride 2 ── width, leaky ReLU
          └ [3×3 conv, leaky ReLU, 3×3 conv, + input] × 3
              └ 5×5 conv, stride 2 ── features (16, 32 or 64)
                  └ × learned scale, nearest of 32 centres                               channel.learned.codebook
              ┌ 3×3 conv, 2×2 sub-pixels ── width                                        decoder
          ┌ [3×3 conv, leaky ReLU, 3×3 conv, + input] × 3
      ┌ 3×3 conv, leaky ReLU, 2×2 sub-pixels ── width/2
  ┌ 3×3 conv, 2×2 sub-pixels ── RGB
clip to [0, 1]
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cameras.padding import pad
from channel import quantization
from channel.codecs.learning import LearningCodec
from channel.learned import bitstream, codebook
from channel.learned.bitstream import CELL

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 1
FEATURES = (16, 32, 64)
SLOPE = 0.2  # of the leaky ReLU, as in the NIPs
MOMENTUM = 0.02  # share of the newest batch in the running mean of histograms


class Residual(nn.Module):
    """Adds to its input what two 3×3 convolutions make of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(x), SLOPE))


class Encoder(nn.Module):
    """(N,3,H,W) in [0,1] -> (N,C,H/8,W/8), H and W multiples of 8."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.to_half = nn.Conv2d(3, width // 2, 5, stride=2, padding=2)
        self.to_quarter = nn.Conv2d(width // 2, width, 5, stride=2, padding=2)
        self.residuals = nn.Sequential(*(Residual(width) for _ in range(3)))
        self.to_eighth = nn.Conv2d(width, features, 5, stride=2, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        x = F.leaky_relu(self.to_half(2 * images - 1), SLOPE)
        x = F.leaky_relu(self.to_quarter(x), SLOPE)
        return self.to_eighth(self.residuals(x))


class Decoder(nn.Module):
    """(N,C,h,w) -> (N,3,8h,8w), not yet clipped. A pixel depends on values up to REACH away from its own."""

    REACH = 5

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.to_quarter = nn.Conv2d(features, 4 * width, 3, padding=1)
        self.residuals = nn.Sequential(*(Residual(width) for _ in range(3)))
        self.to_half = nn.Conv2d(width, 4 * (width // 2), 3, padding=1)
        self.to_full = nn.Conv2d(width // 2, 4 * 3, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        x = self.residuals(F.pixel_shuffle(self.to_quarter(values), 2))
        x = F.pixel_shuffle(F.leaky_relu(self.to_half(x), SLOPE), 2)
        with _no_autocast(x):  # bfloat16 has fewer than the eight bits of a pixel
            x = F.pixel_shuffle(self.to_full(_at_least_float32(x)), 2)
        return (x + 1) / 2


class Autoencoder(LearningCodec):
    """The learned codec.

    Its convolutions may compute in bfloat16, under a caller's autocast; quantisation, entropy and pixels are float32.
    In training mode, each forward pass with gradients adds the histograms of its features to their running mean, from
    which the tables of the entropy coder are made.

    Args:
        features: C, 16, 32 or 64: numbers per 8×8 pixels.
        width: feature maps at a quarter of the resolution, even (the toolbox of Korus & Memon: 128).
        generator: draws the starting weights; they depend on its state alone.

    ``forward`` takes images (N,3,H,W) in [0,1] of any size; to multiples of 8, they are padded by replication.

    Raises:
        ValueError: other features, or an odd width.
    """

    name = "learned"
    histogram: Tensor

    def __init__(self, features: int = 32, width: int = 128, generator: torch.Generator | None = None) -> None:
        if features not in FEATURES:
            raise ValueError(f"features must be one of {', '.join(map(str, FEATURES))}, not {features}")
        if width < 2 or width % 2:
            raise ValueError(f"width must be an even number of at least 2, not {width}")
        super().__init__(features=features, width=width)
        self.encoder = Encoder(features, width)
        self.scale = nn.Parameter(torch.ones(()))
        self.decoder = Decoder(features, width)
        self.register_buffer("histogram", torch.full((features, codebook.CENTRES), 1 / codebook.CENTRES))
        self.reset(generator if generator is not None else torch.Generator().manual_seed(0))

    @property
    def quality(self) -> int:
        """Returns the number of features: ``learned:32`` in the text of a channel."""
        return int(self.settings["features"])

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draws MSRA starting weights (He et al. 2015), small where they add to what passes by or make pixels.

        Residual blocks start as the identity. With full starting weights there, 200 iterations reach 14 dB instead
        of 22.
        """
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=SLOPE, generator=generator)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        for block in (*self.encoder.residuals, *self.decoder.residuals):
            nn.init.zeros_(block.second.weight)
        self.decoder.to_full.weight.mul_(0.1)

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"the learned codec needs images (N, 3, H, W), not {tuple(images.shape)}")
        values = self.encode(images)
        if not torch.is_grad_enabled():
            return self.decode(codebook.nearest(values), *images.shape[-2:])
        weights = codebook.assign(values)
        decoded = self.decode(codebook.quantise(values, weights), *images.shape[-2:])
        if self.training:
            histogram = codebook.histograms(weights)
            self.histogram.lerp_(histogram.detach().to(self.histogram.dtype), MOMENTUM)
            cells, pixels = values[0, 0].numel(), images[0, 0].numel()
            self.note(images, decoded, codebook.entropy(histogram).sum() * cells / pixels)
        return decoded

    def encode(self, images: Tensor) -> Tensor:
        """Computes the values (N,C,⌈H/8⌉,⌈W/8⌉) of images (N,3,H,W), not yet quantised."""
        height, width = images.shape[-2:]
        padded = pad(images, 0, -width % CELL, 0, -height % CELL, "replicate")
        return _at_least_float32(self.encoder(padded)) * self.scale

    def decode(self, values: Tensor, height: int, width: int) -> Tensor:
        """Computes the images (N,3,H,W) in [0,1] of quantised values."""
        return quantization.clip(self.decoder(values)[..., :height, :width])

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """Returns the codes (N,C,⌈H/8⌉,⌈W/8⌉) int64, 0 to 31, of images (N,3,H,W)."""
        return codebook.to_codes(self.encode(images))

    def tables(self) -> Tensor:
        """Returns the probabilities (C,32) by which the codes of every feature are written, float64 on the CPU."""
        return codebook.tables(self.histogram)

    def bits(self, codes: Tensor) -> Tensor:
        """Estimates the bits of the payload of every picture, (N,C,h,w) -> (N,): cross-entropy under the tables."""
        return codebook.bits(codes, self.tables())

    @torch.no_grad()
    def compress(self, pixels: Tensor) -> bytes:
        bitstream.require_pixels(*pixels.shape[-2:])
        device = self.scale.device
        images = pixels[None].to(device).float() / 255
        with _no_autocast(images):
            codes = self.codes(images)
        return bitstream.write(self, codes[0].cpu(), *pixels.shape[-2:])

    def decompress(self, data: bytes) -> Tensor:
        return bitstream.decode(self.decoder, *bitstream.read(self, data))


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _no_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Returns a context in which nothing is computed in bfloat16; the meta device knows no autocast."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
