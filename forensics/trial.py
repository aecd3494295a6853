"""The settings of a trial: everything that decides its result, and nothing else (section 5.2).

Every class checks its values: a ValueError names the setting, its value and the remedy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import inf
from typing import Literal

from torch import Tensor

from cameras.pairs import held_out, split
from channel import Channel, Manipulations
from channel.codecs import CODECS, trained
from channel.distribution import RATE_WEIGHT
from channel.downsampling import Factors
from channel.mixture import Mixture, Term
from models.fidelity import LOSSES, Loss

PRECISIONS = ("float32", "bfloat16")


def _require(condition: bool, setting: str, value: object, remedy: str) -> None:
    if not condition:
        raise ValueError(f"{setting} = {value} is impossible: {remedy}")


@cache  # a study has 1,320 trials with the same manipulations, and each check would build all their tables
def _check_manipulations(names: tuple[str, ...]) -> None:
    Manipulations(names)


@dataclass(frozen=True)
class Split:
    """Numbers of images for training, validation and test, drawn by a seed (paper: 120, 30 and none).

    Validation stops the pre-training and chooses among trials. Test images choose nothing: they are for results.
    """

    train: int = 120
    validation: int = 30
    test: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.train >= 1, "split.train", self.train, "at least one image is needed")
        _require(self.validation >= 1, "split.validation", self.validation, "at least one image is needed")
        _require(self.test >= 0, "split.test", self.test, "use 0 for none, or more")

    def images(self, names: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Indices into ``names`` of the images for training, validation and test; see `cameras.pairs.split`.

        Raises:
            ValueError: there are fewer images than requested.
        """
        train, validation = split(names, self.train, self.validation, self.seed)
        return train, validation, held_out(names, self.train, self.validation, self.test, self.seed)


@dataclass(frozen=True)
class Training:
    """How a trial is trained.

    Attributes:
        iterations: number of optimiser steps.
        batch: patches per iteration.
        patch: side of a RAW patch in Bayer cells; the photograph is twice as wide.
        window: side in pixels of what the FAN gets of every received photograph, at a place drawn for every batch, as
            it is in whole photographs; None: all of it.
        nip_loss: L_nip, one of `models.fidelity.LOSSES`. λ weighs what it measures, on its scale: with another loss,
            the same λ is another compromise.
        learning_rate: of Adam, multiplied by ``decay`` every ``decay_every`` iterations.
        nip_learning_rate: of the NIP's weights, which decays likewise; None: the same.
        nip_warm_up: iterations over which the NIP's rate rises from zero, while the FAN learns to see.
        codec_lambda: weight λ_c of the loss that a channel's codec adds (:meth:`channel.Channel.aux_loss`): the codec
            learns with both networks; None: it stays as it is.
        codec_learning_rate: of the codec's weights, which decays likewise; None: the same.
        average: what is validated and kept are not the newest weights but their mean over about this share of all
            iterations so far (:mod:`forensics.averaging`); None: the newest.
        pattern: side of the tile that the NIP Pattern learns, in pixels of the photograph. Other NIPs ignore it.
        textured: whether training patches must pass the paper's variance filter, too.
        precision: of the convolutions.
    """

    iterations: int = 6000
    batch: int = 20
    patch: int = 128
    window: int | None = None
    nip_loss: Loss = "L2"
    learning_rate: float = 1e-4
    nip_learning_rate: float | None = None
    nip_warm_up: int = 0
    codec_lambda: float | None = None
    codec_learning_rate: float | None = None
    average: float | None = None
    decay: float = 0.85
    decay_every: int = 600
    textured: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    pattern: int = 16

    def __post_init__(self) -> None:
        _require(self.iterations >= 1, "training.iterations", self.iterations, "use 1 or more")
        _require(self.batch >= 1, "training.batch", self.batch, "use 1 or more")
        _require(self.patch >= 16, "training.patch", self.patch, "UNet halves a patch four times: use 16 or more")
        _require(self.nip_loss in LOSSES, "training.nip_loss", self.nip_loss, f"use {' or '.join(LOSSES)}")
        _require(0 < self.learning_rate < inf, "training.learning_rate", self.learning_rate, "use a positive number")
        if self.nip_learning_rate is not None:
            possible = 0 < self.nip_learning_rate < inf
            _require(possible, "training.nip_learning_rate", self.nip_learning_rate, "use a positive number or null")
        _require(self.nip_warm_up >= 0, "training.nip_warm_up", self.nip_warm_up, "use 0 or more iterations")
        if self.codec_lambda is not None:
            possible = 0 <= self.codec_lambda < inf
            _require(possible, "training.codec_lambda", self.codec_lambda, "use a number ≥ 0, or null")
        if self.codec_learning_rate is not None:
            possible = 0 < self.codec_learning_rate < inf
            _require(
                possible, "training.codec_learning_rate", self.codec_learning_rate, "use a positive number or null"
            )
        if self.average is not None:
            _require(0 < self.average <= 1, "training.average", self.average, "use a share in (0, 1] or null")
        _require(self.pattern >= 1, "training.pattern", self.pattern, "use 1 pixel or more")
        _require(0 < self.decay <= 1, "training.decay", self.decay, "use a factor in (0, 1]")
        _require(self.decay_every >= 1, "training.decay_every", self.decay_every, "use 1 or more")
        _require(self.precision in PRECISIONS, "training.precision", self.precision, f"use {' or '.join(PRECISIONS)}")

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate of the iteration after ``step`` finished ones."""
        return self.learning_rate * self._decayed(step)

    def nip_learning_rate_at(self, step: int) -> float:
        """Returns the NIP's learning rate there."""
        rate = self.learning_rate if self.nip_learning_rate is None else self.nip_learning_rate
        return rate * self._decayed(step) * min(1, (step + 1) / max(self.nip_warm_up, 1))

    def codec_learning_rate_at(self, step: int) -> float:
        """Returns the codec's learning rate there."""
        rate = self.learning_rate if self.codec_learning_rate is None else self.codec_learning_rate
        return rate * self._decayed(step)

    @property
    def copies(self) -> int:
        """How many copies of all weights there are while it runs: the newest, and their means if it averages them."""
        return 1 if self.average is None else 2

    @property
    def nip_has_own_rate(self) -> bool:
        """Whether the NIP's rate ever differs from that of all else."""
        return self.nip_learning_rate is not None or self.nip_warm_up > 0

    def _decayed(self, step: int) -> float:
        return self.decay ** (step // self.decay_every)


@dataclass(frozen=True)
class Validation:
    """The fixed validation set, and how often it is evaluated.

    Attributes:
        every: iterations between validations.
        accuracy_patches: patches of every validation image for accuracy and confusion (paper: 100).
        fidelity_patches: further patches of every validation image for PSNR and SSIM (paper: 2).
        textured: whether the patches must pass the paper's variance filter.
        seed: decides which patches are drawn.
    """

    every: int = 300
    accuracy_patches: int = 100
    fidelity_patches: int = 2
    textured: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.every >= 1, "validation.every", self.every, "use 1 or more iterations")
        _require(self.accuracy_patches >= 1, "validation.accuracy_patches", self.accuracy_patches, "use 1 or more")
        _require(self.fidelity_patches >= 1, "validation.fidelity_patches", self.fidelity_patches, "use 1 or more")


@dataclass(frozen=True)
class Distribution:
    """The distribution channel (section 4.1): the arguments of :class:`channel.Channel`.

    Texts are kept in their shortest form, so that channels that are the same have the same key.
    """

    downsample: int | float | str = 2
    codec: str = "jpeg:50"
    rounding: Literal["round", "sin", "soft", "harmonic", "straight-through"] = "sin"
    subsampling: Literal["4:4:4", "4:2:0"] = "4:4:4"
    kernel: Literal["mean", "bilinear", "bicubic", "lanczos"] = "mean"
    storage: Literal["float", "8-bit"] = "float"
    schedule: Literal["fixed", "worst-of-recent"] = "fixed"
    rate_weight: float = RATE_WEIGHT

    def __post_init__(self) -> None:
        channel = self.build()
        object.__setattr__(self, "downsample", channel.factors.value)
        object.__setattr__(self, "codec", channel.codec)

    def build(self) -> Channel:
        return Channel(**vars(self))

    @property
    def learning_codec(self) -> Term | None:
        """The codec that has weights, if there is one."""
        return next((term for term in Mixture.parse(self.codec).terms if trained.learns(term.name)), None)

    @property
    def largest_factor(self) -> float:
        """Of those by which photographs may be shrunk."""
        return Factors.parse(self.downsample, self.kernel).high

    def averaged(self) -> int:
        """Returns k of a channel that always shrinks by means of k×k pixels.

        Raises:
            ValueError: it does otherwise.
        """
        if self.kernel != "mean" or not isinstance(self.downsample, int):
            raise ValueError(
                f"fingerprints need a whole number as channel.downsample, not {self.downsample}, and the kernel mean, "
                f"not {self.kernel}: name them in the study file"
            )
        return self.downsample


@dataclass(frozen=True)
class Trial:
    """A trial: camera × NIP × λ × seed under a protocol.

    Attributes:
        camera: its name.
        isp: the name of a NIP.
        lam: weight λ of fidelity in eq. 2a (mode *joint*, F+N), or ``"fixed"`` (mode *fixed*, F: the NIP stays as
            pre-trained).
        seed: decides the starting weights of the FAN and the order of the patches.
        manipulations: as :class:`channel.Manipulations` takes them.
        split, training, validation, channel: the protocol.
    """

    camera: str
    isp: str
    lam: float | Literal["fixed"]
    seed: int = 0
    manipulations: tuple[str, ...] = ("sharpen", "gaussian", "jpeg:80", "resample")
    split: Split = field(default_factory=Split)
    training: Training = field(default_factory=Training)
    validation: Validation = field(default_factory=Validation)
    channel: Distribution = field(default_factory=Distribution)

    def __post_init__(self) -> None:
        is_number = isinstance(self.lam, int | float) and not isinstance(self.lam, bool)
        possible = 0 <= self.lam < inf if is_number else self.lam == "fixed"  # type: ignore[operator]
        _require(possible, "lambda", repr(self.lam), "use a number ≥ 0 or 'fixed'")
        _require(len(self.manipulations) >= 1, "manipulations", "[]", "name at least one")
        _check_manipulations(tuple(self.manipulations))
        side, window = self.received, self.training.window
        _require(
            side >= 16, "training.patch", self.training.patch, f"the FAN would receive {side} px, it needs 16 or more"
        )
        possible = window is None or 16 <= window <= side
        learns = not self.codec_learns or self.channel.learning_codec is not None
        remedy = f"the channel's codec {self.channel.codec} has no weights; use null, or learned_jpeg:50, learned:32"
        _require(learns, "training.codec_lambda", self.training.codec_lambda, remedy)
        _require(possible, "training.window", window, f"use 16 to {side} px, of which the FAN gets a window, or null")

    @property
    def received(self) -> int:
        """Side in pixels of a patch as the channel leaves it, at its largest factor."""
        return int(2 * self.training.patch / self.channel.largest_factor)

    @property
    def codec_learns(self) -> bool:
        """Whether the channel's codec learns, too."""
        return self.training.codec_lambda is not None

    @property
    def needs_codec(self) -> bool:
        """Whether the channel's codec starts from weights that were pre-trained."""
        term = self.channel.learning_codec
        return term is not None and CODECS[term.name].pretrained

    @property
    def joint(self) -> bool:
        """Whether the NIP learns, too (mode *joint*, F+N)."""
        return not isinstance(self.lam, str)
