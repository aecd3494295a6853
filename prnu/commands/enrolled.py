"""A camera's fingerprint in a file, and which photographs can be compared with it."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cameras.errors import printable
from cameras.output import pixels
from cameras.photographs import sha256
from prnu.commands.reading import Size, cropped, device
from prnu.copies import NEAR, nearest, pixel_hash
from prnu.fingerprint import load


@dataclass(frozen=True, eq=False)
class Enrolled:
    """A camera's fingerprint from a file.

    K: (H,W). sigma: σ₀ of the denoiser. frame: height and width of the photographs that it was estimated from.
    crop: side of their central square, if they were cropped. own: SHA-256 of their files, and of their pixels.
    thumbnails: small pictures of them, to recognise near copies; none in files of earlier versions.
    """

    path: Path
    camera: str
    K: Tensor
    sigma: float
    frame: Size
    crop: int | None
    own: frozenset[str]
    thumbnails: tuple[str, ...]

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
            own=frozenset((*provenance.get("photographs", ()), *provenance.get("pixels", ()))),
            thumbnails=tuple(provenance.get("thumbnails", ())),
        )

    def check_unknown(self, path: Path, photograph: Tensor) -> None:
        """Raise ValueError if the fingerprint was estimated from this file, or from the same pixels in another file.

        The same noise always matches itself. photograph: (1,3,H,W), the whole file.
        """
        if pixel_hash(photograph) in self.own or sha256(path) in self.own:
            name = printable(self.path.name)
            raise ValueError(f"is one of the photographs that {name} was estimated from, and proves nothing")

    def near_copy(self, photograph: Tensor) -> bool | None:
        """Whether a photograph looks like one that the fingerprint was estimated from; None if that is not known."""
        return nearest(photograph, self.frame, self.thumbnails) > NEAR if self.thumbnails else None

    @property
    def remark(self) -> str | None:
        """What people should know about a fingerprint without thumbnails."""
        if self.thumbnails:
            return None
        return (
            f"{printable(self.path.name)} is of an earlier version: copies of its own photographs that were saved "
            "again, resized or cropped cannot be recognised, and match without proving anything"
        )

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
                f"is {pixels((height, width))}, but {printable(self.path.name)} is of photographs of "
                f"{pixels(self.frame)}{cut}{turned}"
            )
        return photograph
