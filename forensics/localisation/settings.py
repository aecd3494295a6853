"""What localisation is tried on: regions, their content, and the encoders that photographs go through."""

from dataclasses import dataclass

from channel.codecs import Encoder
from forensics.localisation.composites import SHAPES
from forensics.trial import _require


@dataclass(frozen=True)
class Localisation:
    """How the experiment is made. It decides no training, and is no part of a trial's key.

    Attributes:
        codecs: real encoders that every whole photograph goes through, as :func:`channel.encode` takes them.
        sizes: of the altered regions, as shares of the picture.
        shapes: of which one is drawn for every region.
        photographs: the first so many of the validation and of the test images; None: all.
        megapixels: of every photograph, only the middle of at most so many million RGB pixels; None: all of it.
        fingerprint: PRNU is tried where there are at least so many training photographs; of all there are, three
            quarters make the fingerprint, and one quarter the predictor.
        window: of PRNU's correlations, in pixels of the received photograph; odd.
        seed: draws regions, shapes, foreign photographs, and the strengths and the noise of random manipulations.
    """

    codecs: tuple[str, ...] = ("jpeg:70",)
    sizes: tuple[float, ...] = (1 / 16,)
    shapes: tuple[str, ...] = tuple(SHAPES)
    photographs: int | None = None
    megapixels: float | None = 1.0
    fingerprint: int = 30
    window: int = 129
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "codecs", tuple(str(Encoder.parse(codec)) for codec in self.codecs))
        object.__setattr__(self, "sizes", tuple(float(size) for size in self.sizes))
        object.__setattr__(self, "shapes", tuple(self.shapes))
        distinct = 0 < len(self.codecs) == len(set(self.codecs))
        _require(distinct, "localisation.codecs", list(self.codecs), "name at least one encoder, and each once")
        shares = 0 < len(self.sizes) == len(set(self.sizes)) and all(0 < size <= 0.5 for size in self.sizes)
        _require(shares, "localisation.sizes", list(self.sizes), "use shares of the picture, above 0 to 0.5, each once")
        known = 0 < len(self.shapes) == len(set(self.shapes)) and set(self.shapes) <= set(SHAPES)
        _require(known, "localisation.shapes", list(self.shapes), f"choose of {', '.join(SHAPES)}, each once")
        few = self.photographs is None or self.photographs >= 1
        _require(few, "localisation.photographs", self.photographs, "use 1 or more, or null for all")
        small = self.megapixels is None or self.megapixels > 0
        _require(small, "localisation.megapixels", self.megapixels, "use a positive number, or null for all")
        _require(self.fingerprint >= 4, "localisation.fingerprint", self.fingerprint, "use 4 or more photographs")
        odd = self.window >= 9 and self.window % 2 == 1
        _require(odd, "localisation.window", self.window, "use an odd number of pixels, 9 or more")

    def count(self, images: int) -> int:
        """How many of so many images are taken."""
        return min(images, self.photographs or images)
