"""A camera's fingerprint in a file, and which photographs can be compared with it."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from prnu.commands.output import pixels
from prnu.commands.reading import cropped, device
from prnu.fingerprint import load
from prnu.photographs import Size


@dataclass(frozen=True, eq=False)
class Enrolled:
    """A camera's fingerprint from a file.

    K: (H,W). sigma: σ₀ of the denoiser. frame: height and width of the photographs that it was estimated from.
    crop: side of their central square, if they were cropped. own: SHA-256 of their files.
    """

    path: Path
    camera: str
    K: Tensor
    sigma: float
    frame: Size
    crop: int | None
    own: frozenset[str]

    @classmethod
    def open(cls, path: Path) -> "Enrolled":
        """Read the file. Raises ValueError if it is missing, damaged, or no fingerprint."""
        K, provenance = load(path)
        height, width = provenance.get("frame", K.shape)
        return cls(
            path=path,
            camera=provenance["camera"],
            K=K.to(device()),
            sigma=provenance["sigma"],
            frame=(height, width),
            crop=provenance.get("crop"),
            own=frozenset(provenance.get("photographs", ())),
        )

    def check_unknown(self, sha256: str) -> None:
        """Raise ValueError if the fingerprint was estimated from this file: the same noise always matches itself."""
        if sha256 in self.own:
            raise ValueError(f"is one of the photographs that {self.path.name} was estimated from, and proves nothing")

    def part(self, photograph: Tensor) -> Tensor:
        """The part of a photograph (1,3,H,W) to compare with K: the crop of a whole one, all of a smaller one.

        Raises:
            ValueError: the photograph is neither whole nor smaller than K.
        """
        height, width = photograph.shape[-2:]
        if (height, width) == self.frame:
            return cropped(photograph, self.crop)
        if height > self.K.shape[0] or width > self.K.shape[1]:
            cut = f", cropped to {pixels(self.K.shape)}" if self.crop else ""
            turned = "; it has been turned" if (width, height) == self.frame else ""
            raise ValueError(
                f"is {pixels((height, width))}, but {self.path.name} is of photographs of {pixels(self.frame)}"
                f"{cut}{turned}"
            )
        return photograph
