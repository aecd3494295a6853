"""Photographs of known history, as the FAN sees them: what a calibration is made of and checked with.

Bayer stack ─ NIP ─ every class ─ shrunk ─ a real encoder of the panel, drawn for each photograph ─ FAN
                                                    └─ crops of it at drawn places, where they may begin at odd pixels
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

import models
from channel import encode
from channel.codecs import Encoder
from channel.manipulations import Manipulation
from forensics.analysis.evidence import examine
from forensics.fan import FAN
from forensics.panel import made, shrunk_to_8_bits, to_8_bits, window_side
from forensics.trial import Trial
from forensics.whole import develop_whole

UNKNOWN = "unknown"  # kind of a file that does not say how it was compressed
CROPS = (1.0, 1 / 4, 1 / 16)  # shares of a photograph's area
WINDOWS = 16  # of every photograph, to calibrate single places with


@dataclass(frozen=True)
class Sample:
    """A received photograph, or a crop of one, and what the FAN finds in it.

    Attributes:
        photograph: its number. label: its class, 0 for native. kind: of its file, see `kind_of`.
        scale: 0 for whole photographs, 1 and further for ever smaller crops. pixels: height · width.
        logits, statistics, texture: see :class:`forensics.analysis.evidence.Evidence`.
        windows: (n,classes) logits of some windows.
        places: logits of all windows (h,w,classes), of whole native photographs alone.
    """

    photograph: int
    label: int
    kind: str
    scale: int
    pixels: int
    logits: Tensor
    statistics: Tensor
    texture: float
    windows: Tensor
    places: Tensor | None = None


def kind_of(codec: str) -> str:
    """What a file says of its codec: of JPEG quality and subsampling, of others the name alone."""
    encoder = Encoder.parse(codec)
    return str(encoder) if encoder.name == "jpeg" else encoder.name


@torch.no_grad()
def samples(
    trial: Trial,
    nip: models.NIP,
    fan: FAN,
    stacks: Iterable[Tensor],
    codecs: Sequence[str],
    seed: int = 0,
    crops: Sequence[float] = CROPS,
    on_photograph: Callable[[int], None] = lambda done: None,
) -> Iterator[Sample]:
    """Make samples of photographs: every class of each, behind one encoder.

    Args:
        trial: its manipulations, channel and precision count.
        nip, fan: on the CPU or a GPU.
        stacks: Bayer stacks (1,4,h,w) in [0,1].
        codecs: as :func:`channel.encode` takes them; one is drawn for each photograph.
        seed: draws codecs, places of crops and windows, and what random manipulations need.
        crops: shares of a photograph's area; those that the FAN can judge are made.
        on_photograph: called with the number of finished photographs.
    """
    generator = torch.Generator().manual_seed(seed)
    operations = [Manipulation.parse(spec) for spec in trial.manipulations]
    device = next(nip.parameters()).device
    side = window_side(trial)
    for number, bayer in enumerate(stacks):
        native = to_8_bits(develop_whole(nip, bayer, trial.training.precision).to(device))
        shrunk = torch.cat([shrunk_to_8_bits(each, trial.channel) for each in made(native, operations, generator)])
        codec = codecs[int(torch.randint(len(codecs), (), generator=generator))]
        received = encode(shrunk, codec)
        for scale, share in enumerate(crops):
            h, w = (round(extent * sqrt(share)) for extent in received.shape[2:])
            if min(h, w) < least(side):
                break
            top, left = (
                int(torch.randint(extent - size + 1, (), generator=generator))
                for extent, size in zip(received.shape[2:], (h, w), strict=True)
            )
            for label, picture in enumerate(received.split(1)):
                found = examine(fan, picture[..., top : top + h, left : left + w], side, trial.training.precision)
                windows = found.places.flatten(0, 1)
                drawn = torch.randint(len(windows), (WINDOWS,), generator=generator)
                yield Sample(
                    number,
                    label,
                    kind_of(codec),
                    scale,
                    h * w,
                    found.logits,
                    found.statistics,
                    found.texture,
                    windows[drawn],
                    found.places if label == scale == 0 else None,
                )
        on_photograph(number + 1)


def least(window: int) -> int:
    """Height and width in pixels that a photograph must have to be judged: two windows."""
    return 2 * window
