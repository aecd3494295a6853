"""What a codec with weights is: it learns, and it writes real bytes."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class LearningCodec(nn.Module, ABC):
    """A codec that learns to spend few bits, and, in a joint training, to keep what the forensic network needs.

    The loss that it adds to a training is :meth:`aux_loss`, of its newest forward pass. Passes without gradients, and
    those in evaluation mode, of a codec that stays as it is, do not count.

    Args:
        settings: the arguments that build it again, JSON-able.

    Attributes:
        name: under which `CODECS` knows it.
        settings: as given.
        rate_weight: β of :meth:`aux_loss`. It belongs to the training, not to the codec.
    """

    name: str

    @property
    def quality(self) -> int:
        """Returns what stands behind its name in the text of a channel."""
        return int(self.settings["quality"])

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings
        self.rate_weight = 0.0
        self._distortion: Tensor | None = None
        self._rate: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Copies know of no forward pass: its graph belongs to this codec."""
        return self.__dict__ | {"_distortion": None, "_rate": None}

    def note(self, images: Tensor, decoded: Tensor, bits_per_pixel: Tensor) -> None:
        """Notes a forward pass: what entered and what left, in [0, 1], and the estimated rate, a scalar."""
        self._distortion = 255**2 * (decoded - images).square().mean()
        self._rate = bits_per_pixel

    def rate(self) -> Tensor:
        """Returns the estimated bits per pixel of the newest forward pass that counts, a scalar with a gradient.

        Raises:
            ValueError: there was none.
        """
        if self._rate is None:
            raise ValueError(f"the codec {self.name} has compressed nothing yet: call it first")
        return self._rate

    def aux_loss(self) -> Tensor:
        """Returns L_codec = 255² · mean(Δ²) + β · bits per pixel of the newest forward pass, a scalar.

        Distortion and weighted rate are the objective of Theis et al. 2017, eq. 2; Δ is what compression changes.

        Raises:
            ValueError: there was no forward pass.
        """
        rate = self.rate()
        assert self._distortion is not None
        return self._distortion + self.rate_weight * rate

    @abstractmethod
    def compress(self, pixels: Tensor) -> bytes:
        """Compresses a picture (3, H, W) uint8 into the bytes of a file."""

    @abstractmethod
    def decompress(self, data: bytes) -> Tensor:
        """Returns the picture (3, H, W) uint8 of bytes that :meth:`compress` made.

        Raises:
            ValueError: the bytes are damaged, or were made by another codec or with other weights.
        """

    @torch.no_grad()
    def through_files(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compresses pictures (N, 3, H, W) uint8, and decodes them, as :func:`channel.codecs.through_files`."""
        files = [self.compress(picture) for picture in pixels.cpu()]
        bits = torch.tensor([8 * len(file) for file in files], dtype=torch.float64)
        return torch.stack([self.decompress(file) for file in files]), bits / (pixels.shape[-2] * pixels.shape[-1])
