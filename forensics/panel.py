"""A finished trial judged as the world sees it: whole photographs, 8 bits, and a panel of real encoders.

    Bayer stack ─ NIP ─ manipulations ─ shrunk as in training ─┬─ encoder, decoder ─ 100 windows ─ FAN
       (whole)        8               8                      8 ├─ encoder, decoder ─ 100 windows ─ FAN
                    bits            bits                  bits └─ …

The class called jpeg is made by libjpeg itself. The windows are as large as what the FAN was trained on. They lie
anywhere, also across the encoders' blocks, and are the same for all classes and all members of the panel.

The member ``own`` is the codec of the trial's channel, by real files: libjpeg for dJPEG, and a codec that learns with
the weights that the trial has given it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import models
from cameras.pairs import Pairs
from cameras.pairs.reading import bayer_to_float
from channel import CODECS, could_draw, encode, shrink
from channel.codecs import Encoder, through_files
from channel.codecs.learning import LearningCodec
from channel.downsampling import Factors
from channel.manipulations import Manipulation
from channel.quantization import to_levels
from forensics.fan import FAN
from forensics.joint import joint_model
from forensics.trial import Distribution, Trial, _require
from forensics.validation import confusion_counts
from forensics.whole import Box, develop_whole
from models.determinism import computing
from models.fidelity import psnr
from models.nip import move

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 1
CODECS_OF_THE_WORLD = ("jpeg:30", "jpeg:50", "jpeg:70", "jpeg:90", "jpeg:50:4:2:0", "webp:50", "webp:80", "avif:50")
OWN = "own"  # the codec of the trial's channel, among the members of a panel
AT_ONCE = 2**18  # pixels that the FAN gets at a time: 16 windows of 128×128


@dataclass(frozen=True)
class Panel:
    """What trials are judged by. It decides no training, and is no part of a trial's key.

    Attributes:
        codecs: its members, real encoders as :func:`channel.encode` takes them, or ``own``.
        photographs: the first so many of the validation and of the test images; None: all.
        megapixels: of every photograph, only the middle of at most so many million RGB pixels; None: all of it.
        windows: of every photograph, class and member.
        seed: draws the windows, and the strengths and the noise of random manipulations.
    """

    codecs: tuple[str, ...] = CODECS_OF_THE_WORLD
    photographs: int | None = None
    megapixels: float | None = None
    windows: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "codecs", tuple(_shortest(codec) for codec in self.codecs))
        distinct = 0 < len(self.codecs) == len(set(self.codecs))
        _require(distinct, "evaluation.codecs", list(self.codecs), "name at least one encoder, and each once")
        few = self.photographs is None or self.photographs >= 1
        _require(few, "evaluation.photographs", self.photographs, "use 1 or more, or null for all")
        small = self.megapixels is None or self.megapixels > 0
        _require(small, "evaluation.megapixels", self.megapixels, "use a positive number, or null for all")
        _require(self.windows >= 1, "evaluation.windows", self.windows, "use 1 or more")

    def images(self, trial: Trial, names: Sequence[str], on_test: bool) -> list[int]:
        """The photographs by which a trial is judged, as indices into ``names``."""
        _, validation, test = trial.split.images(names)
        return (test if on_test else validation)[: self.photographs].tolist()

    @property
    def encoders(self) -> tuple[str, ...]:
        """Its members but ``own``."""
        return tuple(codec for codec in self.codecs if codec != OWN)

    def count(self, images: int) -> int:
        """How many of so many images are judged."""
        return min(images, self.photographs or images)


@dataclass(frozen=True)
class Verdict:
    """How often the FAN decided for which class.

    Attributes:
        classes: their names, native first.
        counts: by member of the panel (classes, classes) float64: a row per true class.
        bits, psnr: by member, bits per pixel of the files of native photographs, and PSNR in dB of what is decoded to
            what was compressed, means over photographs.
        photographs, windows: that were judged; windows of every photograph, class and member.
    """

    classes: tuple[str, ...]
    counts: dict[str, Tensor]
    bits: dict[str, float]
    psnr: dict[str, float]
    photographs: int
    windows: int

    def confusion(self, codec: str | None = None) -> Tensor:
        """Confusion matrix (classes, classes) of a member, or of all: rows are true classes and sum to 1."""
        counts = sum(self.counts.values(), start=torch.zeros(())) if codec is None else self.counts[codec]
        return counts / counts.sum(dim=1, keepdim=True)

    def accuracy(self, codec: str | None = None) -> float:
        """Accuracy of a member, or the mean of all, 0 to 1; all classes have equal weight."""
        return self.confusion(codec).diagonal().mean().item()

    @property
    def worst(self) -> str:
        """The member with the lowest accuracy."""
        return min(self.counts, key=self.accuracy)


@torch.no_grad()
def judge(
    trial: Trial,
    pairs: Pairs,
    nip: models.NIP,
    fan: FAN,
    panel: Panel,
    device: str | torch.device = "cpu",
    on_test: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
    deterministic: bool = True,
    codec: LearningCodec | None = None,
) -> Verdict:
    """Judges a finished trial.

    Args:
        trial: its split, manipulations, down-sampling, patch size and precision count.
        pairs: the camera's pairs, on the host.
        nip, fan: the trained networks; they are moved to ``device``.
        device: where to develop, manipulate and decide. Encoders run on the CPU.
        on_test: judge by test images instead of validation images.
        on_progress: called with the number of finished photographs, each counted once for every member.
        deterministic: as in :func:`forensics.train`.
        codec: of the trial's channel, if it has weights.

    Raises:
        ValueError: a photograph is smaller than a window, or the panel names ``own`` and the channel has no codec, or
            draws it.
    """
    device = torch.device(device)
    operations = tuple(Manipulation.parse(spec) for spec in trial.manipulations)
    model = joint_model(trial, nip.eval(), fan, codec and codec.eval())
    move(model, device, model.precision)
    classes = model.manipulations.classes
    side = window_side(trial)
    places, draws = (torch.Generator().manual_seed(panel.seed) for _ in range(2))
    counts = {member: torch.zeros(len(classes), len(classes), dtype=torch.float64) for member in panel.codecs}
    bits, decibels = (dict.fromkeys(panel.codecs, 0.0) for _ in range(2))
    images = panel.images(trial, pairs.names, on_test)
    done = 0
    with computing(device, deterministic):
        for i in images:
            bayer = stack(pairs, i)
            box = middle(bayer.shape[-2], bayer.shape[-1], panel.megapixels, trial.training.patch)
            native = to_8_bits(develop_whole(model.nip, bayer, model.precision, box).to(device))
            shrunk = torch.cat([shrunk_to_8_bits(each, trial.channel) for each in made(native, operations, draws)])
            windows = draw_windows(shrunk.shape[-2], shrunk.shape[-1], side, panel.windows, places)
            for member in panel.codecs:
                through = model.channel.through_files(shrunk) if member == OWN else through_files(shrunk, member)
                decoded, bits_per_pixel = through
                bits[member] += bits_per_pixel[0].item() / len(images)
                decibels[member] += psnr(decoded[:1].double() / 255, shrunk[:1] / 255).item() / len(images)
                received = cut(decoded, windows, side)
                logits = [model.classify(part.to(device) / 255) for part in received.split(max(1, AT_ONCE // side**2))]
                counts[member] += confusion_counts(torch.cat(logits)).cpu()
                done += 1
                on_progress(done)
    return Verdict(classes, counts, bits, decibels, len(images), panel.windows)


def _shortest(codec: str) -> str:
    return codec if codec == OWN else str(Encoder.parse(codec))


def made(native: Tensor, operations: Sequence[Manipulation], draws: torch.Generator) -> Iterator[Tensor]:
    """Every class of a photograph (1,3,H,W) uint8, native first, each as uint8."""
    yield native
    for operation in operations:
        strength = operation.draw(draws)
        operator = operation.operator
        if operation.name in CODECS:
            yield encode(native, f"{operation.name}:{strength:g}").to(native.device)
        elif operator.apply is None:
            assert operator.build is not None
            yield to_8_bits(operator.build(strength).to(native.device)(native / 255))
        elif operator.random:
            yield to_8_bits(operator.apply(native / 255, strength, draws))
        else:
            yield to_8_bits(operator.apply(native / 255, strength))


def to_8_bits(images: Tensor) -> Tensor:
    """Stores images in [0,1] with 8 bits (halves to even)."""
    return to_levels(images).to(torch.uint8)


def shrunk_to_8_bits(pixels: Tensor, distribution: Distribution) -> Tensor:
    """Down-samples uint8 pixels (1,3,H,W) as the trial's channel does, and stores them with 8 bits, on the CPU."""
    smaller = shrink(pixels.float(), factor(distribution), distribution.kernel)
    return smaller.round().clamp_(0, 255).to(torch.uint8).cpu()


def factor(distribution: Distribution) -> float:
    """The factor 1:f of a down-sampling; of one that is drawn from a range, the range's middle."""
    factors = Factors.parse(distribution.downsample, distribution.kernel)
    middle = (factors.low + factors.high) / 2
    return int(middle) if distribution.kernel == "mean" else middle


def lowest_factor(distribution: Distribution) -> float:
    """The smallest factor by which a channel shrinks photographs."""
    return Factors.parse(distribution.downsample, distribution.kernel).low


def window_side(trial: Trial) -> int:
    """Side in pixels of what the FAN was trained on, at this factor."""
    return trial.training.window or int(2 * trial.training.patch / factor(trial.channel) + 1e-9)


def unseen(trial: Trial, panel: Panel) -> list[str]:
    """The members of a panel that the trial's training could not have drawn."""
    return [codec for codec in panel.codecs if codec != OWN and not could_draw(trial.channel, Encoder.parse(codec))]


def draw_windows(h: int, w: int, side: int, windows: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """Corners (top, left) of windows anywhere in a photograph of h×w pixels; all their rows are drawn first.

    Raises:
        ValueError: the photograph is smaller than a window.
    """
    if min(h, w) < side:
        raise ValueError(f"a photograph of {h}×{w} px is smaller than the {side} px that the FAN was trained on")
    tops = torch.randint(h - side + 1, (windows,), generator=generator).tolist()
    lefts = torch.randint(w - side + 1, (windows,), generator=generator).tolist()
    return list(zip(tops, lefts, strict=True))


def cut(images: Tensor, windows: Sequence[tuple[int, int]], side: int) -> Tensor:
    """Cuts windows out of images (N,3,h,w) → (N·windows,3,side,side), all of the first image first."""
    parts = [images[:, :, top : top + side, left : left + side] for top, left in windows]
    return torch.stack(parts, dim=1).flatten(0, 1)


def stack(pairs: Pairs, i: int) -> Tensor:
    """The Bayer stack (1,4,h,w) of image i; its target is not read."""
    offset, h, w = (int(extent[i]) for extent in (pairs.offset, pairs.height, pairs.width))
    return bayer_to_float(pairs.bayer[offset : offset + h * w].view(1, h, w, 4))


def middle(h: int, w: int, megapixels: float | None, least: int) -> Box:
    """The middle of a stack of h×w cells that gives at most so many million pixels, but ``least`` cells on a side."""
    scale = 1.0 if megapixels is None else min(1.0, (megapixels * 1e6 / (4 * h * w)) ** 0.5)
    height, width = (min(size, max(int(scale * size), least)) for size in (h, w))
    return Box((h - height) // 2, (w - width) // 2, height, width)
