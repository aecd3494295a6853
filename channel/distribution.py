"""The distribution channel: what a photo sharing service does to a photograph (paper, section 4.1).

    developed ─ (8 bits) ─ manipulations ─ (8 bits) ─ down-sampling ─ (8 bits) ─ codec ─ (8 bits) ─ received

What a photograph meets may be drawn anew for every batch: the factor of the down-sampling, the codec, its quality and
its chroma subsampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import torch
from torch import nn

from channel import quantization
from channel.codecs import CODECS, Encoder, through_files, trained
from channel.codecs.learning import LearningCodec
from channel.downsampling import MEAN, Factors, shrink
from channel.manipulations import Manipulation
from channel.mixture import NONE, Mixture, has_one, pick
from channel.precision import full_precision

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 2
STORAGES = ("float", "8-bit")
SCHEDULES = ("fixed", "worst-of-recent")
RATE_WEIGHT = 100.0  # squared error on the 8-bit scale that a bit per pixel may cost: about where it buys 4 dB at 30 dB
NEWEST = 0.1  # weight of a term's newest loss in its recent one: a mean over about ten of its batches


@dataclass(frozen=True)
class Drawn:
    """What one batch meets.

    Attributes:
        factor: of the down-sampling.
        codec: its name in the mixture, or ``none``.
        quality, subsampling: of the codec; None where there is none.
        term: the place of the codec in the mixture.
    """

    factor: float
    codec: str
    quality: int | None = None
    subsampling: str | None = None
    term: int = 0


class Channel(nn.Module):
    """Down-sampling, then a codec.

    Args:
        downsample: shrinks 1:k; 1 keeps the size. The paper's 2 equals bilinear interpolation at 1:2. A range such as
            ``2-4`` is drawn from: whole numbers of means, any numbers of the other kernels.
        codec: one line of text (:class:`channel.mixture.Mixture`), e.g. ``jpeg:50`` or
            ``0.7 jpeg:30-95 + 0.2 webp:50-80 + 0.1 none``. ``jpeg`` is dJPEG; ``libjpeg``, ``webp``, ``avif`` and
            ``jpeg2000`` are the real encoders, with the gradient of dJPEG passed straight through. One term may be a
            codec that learns: ``learned_jpeg:50`` starts from the tables of quality 50, ``learned:32`` is an
            autoencoder of 32 features, which :meth:`use` has to provide.
        rounding: of dJPEG (:class:`channel.DifferentiableJPEG`).
        subsampling: of JPEG, where ``codec`` names none.
        kernel: of the down-sampling (:func:`channel.shrink`).
        storage: ``float``, or ``8-bit``: what enters the channel, what is down-sampled, and what is decoded is stored
            with 8 bits, and the gradient passes straight through.
        schedule: ``fixed`` draws terms of ``codec`` by their weights. ``worst-of-recent`` does so for every second
            batch on average, and gives the others to the term with the largest recent loss (see :meth:`report`); this
            in training alone: in ``eval()`` mode, or under ``torch.no_grad()``, the weights decide.
        rate_weight: β of the loss of a codec that learns (:meth:`LearningCodec.aux_loss`); other codecs ignore it.

    Raises:
        ValueError: any other setting.
    """

    recent: torch.Tensor

    def __init__(
        self,
        downsample: int | float | str = 2,
        codec: str = "jpeg:50",
        rounding: str = "sin",
        subsampling: str = "4:4:4",
        kernel: str = MEAN,
        storage: str = "float",
        schedule: str = "fixed",
        rate_weight: float = RATE_WEIGHT,
    ) -> None:
        super().__init__()
        self.factors = Factors.parse(downsample, kernel)
        self.mixture = Mixture.parse(codec)
        self.rounding, self.subsampling = rounding, subsampling
        for setting, value, known in (("storage", storage, STORAGES), ("schedule", schedule, SCHEDULES)):
            if value not in known:
                raise ValueError(f"unknown {setting} {value!r}: choose one of {', '.join(known)}")
        if schedule != "fixed" and len(self.mixture.terms) == 1:
            raise ValueError(f"the schedule {schedule} has nothing to choose from in codec {codec!r}: name two or more")
        if not 0 <= rate_weight < inf:
            raise ValueError(f"rate_weight must be a number from 0 on, not {rate_weight}")
        self.storage, self.schedule, self.rate_weight = storage, schedule, rate_weight
        self._codecs: dict[tuple[str, int, str, torch.device], nn.Module] = {}  # built when they are first drawn
        self.learned: LearningCodec | None = None
        learning = [term for term in self.mixture.terms if trained.learns(term.name)]
        if len(learning) > 1:
            raise ValueError(f"codec {codec!r}: only one codec of a channel can learn")
        for term in learning:
            starting = CODECS[term.name]
            if starting.learning and not starting.pretrained:
                self.use(starting.learning(term.qualities[0], rounding, term.possible(subsampling)[0]))
        for term in self.mixture.terms:
            for possible in term.possible(subsampling) if term not in learning else ():
                self._codec(term.name, term.qualities[0], possible, torch.device("cpu"))  # refuses what is impossible
        if schedule != "fixed":
            # Losses by term; infinite before the first, so that every term is met soon.
            self.register_buffer("recent", torch.full((len(self.mixture.terms),), inf))
        drawn_from = [(term.qualities, term.possible(subsampling)) for term in self.mixture.terms]
        #: Whether anything is drawn.
        self.random = (
            self.factors.low < self.factors.high
            or len(drawn_from) > 1
            or any(len(values) > 1 for values in drawn_from[0])
        )
        self._term = 0  # of the last batch

    @property
    def codec(self) -> str:
        """The shortest text of the mixture."""
        return str(self.mixture)

    def forward(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, ⌊H/k⌋, ⌊W/k⌋) in [0, 1].

        Args:
            images: of one batch: all meet the same.
            generator: draws what they meet; not used where nothing is drawn. It is on the CPU whatever the device of
                the images.

        Raises:
            ValueError: images smaller than k×k, or no generator where one is needed.
        """
        drawn = self.draw(generator)
        self._term = drawn.term
        return self.distribute(images, drawn)

    def draw(self, generator: torch.Generator | None = None) -> Drawn:
        """Draws what one batch meets.

        Every call takes four numbers from the generator, and none where nothing is drawn. With the schedule
        ``worst-of-recent``, in training, the host reads losses: it waits for that of the batch before.

        Raises:
            ValueError: no generator where one is needed.
        """
        uniform = [0.0] * 4
        if self.random:
            if generator is None:
                raise ValueError(
                    f"the channel {self.factors.value} {self.codec!r} draws random numbers: pass a generator"
                )
            uniform = torch.rand(4, dtype=torch.float64, generator=generator, device=generator.device).tolist()
        number, rest = 0, uniform[1]
        for share in self._shares()[:-1]:
            if rest < share:
                break
            number, rest = number + 1, rest - share
        term = self.mixture.terms[number]
        factor = self.factors.pick(uniform[0])
        if term.name == NONE:
            return Drawn(factor, NONE, term=number)
        quality, subsampling = pick(term.qualities, uniform[2]), pick(term.possible(self.subsampling), uniform[3])
        return Drawn(factor, term.name, quality, subsampling, number)

    def _shares(self) -> list[float]:
        """Of the terms, 0 to 1."""
        shares = [float(term.share) for term in self.mixture.terms]
        if self.schedule == "fixed" or not (self.training and torch.is_grad_enabled()):
            return shares
        recent = self.recent.nan_to_num(nan=inf, posinf=inf).tolist()
        worst = [share if loss == max(recent) else 0 for share, loss in zip(shares, recent, strict=True)]
        return [(share + bad / sum(worst)) / 2 for share, bad in zip(shares, worst, strict=True)]

    @full_precision
    def distribute(self, images: torch.Tensor, drawn: Drawn) -> torch.Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, ⌊H/k⌋, ⌊W/k⌋) in [0, 1] by what was drawn; nothing here is random."""
        if self.storage == "8-bit":
            levels = shrink(quantization.to_levels(images), drawn.factor, self.factors.kernel)
            images = quantization.from_levels(levels)
        else:
            images = shrink(images, drawn.factor, self.factors.kernel)
            if self.factors.kernel in ("bicubic", "lanczos"):
                images = quantization.clip(images)
        if drawn.quality is None or drawn.subsampling is None:
            return images
        images = self._codec(drawn.codec, drawn.quality, drawn.subsampling, images.device)(images)
        return quantization.store(images) if self.storage == "8-bit" else images

    def use(self, codec: LearningCodec) -> None:
        """Puts a codec with its weights into the place that the mixture has for it.

        Raises:
            ValueError: the mixture has none for it.
        """
        if (codec.name, (codec.quality,)) not in [(term.name, term.qualities) for term in self.mixture.terms]:
            raise ValueError(f"the channel {self.codec!r} has no place for the codec {codec.name}:{codec.quality}")
        codec.rate_weight = self.rate_weight
        self.learned = codec

    def aux_loss(self) -> torch.Tensor:
        """Returns the loss L_codec of the batch that passed last, a scalar; 0 where its codec does not learn."""
        if self.learned is None or not trained.learns(self.mixture.terms[self._term].name):
            return torch.zeros(())
        return self.learned.aux_loss()

    def through_files(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compresses pictures into the bytes of files by the channel's own codec, and decodes those.

        JPEG is libjpeg; a codec that learns writes its own bytes with the weights that it has.

        Args:
            pixels: (N, 3, H, W) uint8.

        Returns:
            The decoded pictures, (N, 3, H, W) uint8 on the CPU, and their bits per pixel, (N,) float64.

        Raises:
            ValueError: the channel draws its codec, or has none.
        """
        if not has_one(self.codec):
            raise ValueError(f"the channel {self.codec!r} has no codec of its own: name one codec and one quality")
        term = self.mixture.terms[0]
        if trained.learns(term.name):
            return self._learned().through_files(pixels)
        name, subsampling = trained.encoder_name(term.name), term.possible(self.subsampling)[0]
        return through_files(pixels, str(Encoder(name, term.qualities[0], subsampling)))

    def store(self, developed: torch.Tensor) -> torch.Tensor:
        """What a camera writes to its card: developed photographs in [0, 1], with 8 bits if the storage has."""
        return quantization.store(developed.float()) if self.storage == "8-bit" else developed

    def report(self, loss: torch.Tensor) -> None:
        """Notes the FAN's loss, a scalar on any device, of the batch that passed last; only a schedule needs it.

        Nothing waits for it. What is noted belongs to the module's state, and so to a checkpoint.
        """
        if self.schedule != "fixed":
            recent, newest = self.recent[self._term], loss.detach().to(self.recent)
            recent.copy_(torch.where(recent.isinf(), newest, recent.lerp(newest, NEWEST)))

    def _learned(self) -> LearningCodec:
        if self.learned is None:
            raise ValueError(f"the channel {self.codec!r} needs the weights of its codec: pre-train it, and call use()")
        return self.learned

    def _codec(self, name: str, quality: int, subsampling: str, device: torch.device) -> nn.Module:
        if trained.learns(name):
            return self._learned()
        key = name, quality, subsampling, device
        if key not in self._codecs:
            self._codecs[key] = trained.build(name, quality, subsampling, self.rounding, device)
        return self._codecs[key]

    def extra_repr(self) -> str:
        return (
            f"downsample={self.factors.value}, kernel={self.factors.kernel!r}, codec={self.codec!r}, "
            f"rounding={self.rounding!r}, storage={self.storage!r}, schedule={self.schedule!r}"
        )


class Described(Protocol):
    """Settings of a channel, or the channel itself."""

    @property
    def codec(self) -> str: ...

    @property
    def subsampling(self) -> str: ...


def could_draw(distribution: Described, encoder: Encoder) -> bool:
    """Whether a training behind this channel may have met a real encoder at its quality and subsampling.

    dJPEG counts as libjpeg of the same quality and subsampling.
    """
    return any(
        trained.encoder_name(term.name) == encoder.name
        and encoder.quality in term.qualities
        and encoder.subsampling in term.possible(distribution.subsampling)
        for term in Mixture.parse(distribution.codec).terms
    )


def versions(manipulations: Sequence[str], codec: str, in_training: bool = False) -> dict[str, int]:
    """Returns the versions of the channel, of these manipulations and of these codecs, by part: keys contain them.

    Args:
        manipulations: as :class:`channel.Manipulations` takes them.
        codec: as :class:`Channel` or :func:`channel.encode` takes it; ``none`` has no version.
        in_training: whether gradients pass, for which real encoders borrow dJPEG.
    """
    parts = [Manipulation.parse(spec) for spec in manipulations]
    terms = [term.split()[-1] for term in codec.split("+")]  # without weights
    names = [term.partition(":")[0] for term in terms]
    if in_training and any(name in trained.names() and trained.is_real(name) for name in names):
        names.append("jpeg")
    names = [trained.encoder_name(name) for name in names]
    return {
        "channel": VERSION,
        **{f"manipulation {part.name}": part.operator.version for part in parts},
        **{f"codec {name}": CODECS[name].version for name in names if name in CODECS},
    }
