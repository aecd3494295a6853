"""Where was a photograph altered? A trial's FAN, and other detectors, on composites that went through the channel.

Bayer stack ─ NIP ─ native ─┬─ all of it manipulated, or other content ─┐
                            └───────────────────────────────────────────┴─ composite ─ shrunk ─ encoder ─ detectors
                                                                             8 bits     8 bits   whole      │
validation photographs: threshold of each detector ─┐                                         scores (H,W) ─┘
test photographs: AUC, F1, IoU, false alarms ───────┘
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

import models
from cameras.pairs import Pairs
from channel import encode, shrink
from channel.manipulations import Manipulation
from forensics.fan import FAN
from forensics.localisation.composites import FOREIGN, PRISTINE, STANDARD, composites
from forensics.localisation.maps import fan_scores
from forensics.localisation.metrics import Rule, auc, choose, judged
from forensics.localisation.settings import Localisation
from forensics.panel import factor, made, middle, shrunk_to_8_bits, to_8_bits, window_side
from forensics.trial import Distribution, Trial
from forensics.whole import develop_whole
from models.nip import move

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 1
FAN_DETECTOR = "fan"
PLAIN_F1 = "f1_plain"  # of a row: F1 by the rule that does not subtract the photograph's median

Detector = Callable[[Tensor, str], Tensor]  # received (1,3,H,W) uint8, codec -> scores (H,W): the higher, the more so


@dataclass(frozen=True, eq=False)
class Photograph:
    """What a composite is made of.

    bayer: (1,4,h,w) in [0,1]. target: the same by the standard pipeline, (1,3,2h,2w) uint8. foreign: a photograph of
    another camera that is at least as large, (1,3,H,W) uint8; None where there is none.
    """

    name: str
    bayer: Tensor
    target: Tensor
    foreign: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """A composite as it is received, with its scores by detector.

    kind, shape, size: see :class:`forensics.localisation.composites.Composite`.
    received: (1,3,H,W) uint8. truth: (H,W) bool. scores: (H,W) float32 each.
    """

    photograph: str
    kind: str
    shape: str
    size: float
    codec: str
    received: Tensor
    truth: Tensor
    scores: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Result:
    """What was found.

    Attributes:
        rules: by detector, and ``plain``: those that subtract no median.
        validation, test: a row for each detector, photograph, kind, size and codec: ``detector``, ``photograph``,
            ``kind``, ``shape``, ``size``, ``codec``, ``auc`` (None where nothing was altered), all of
            :class:`forensics.localisation.metrics.Found`, and ``f1_plain``.
        examples: cases of the first reported photograph.
    """

    rules: Mapping[str, Rule]
    plain: Mapping[str, Rule]
    validation: list[dict[str, Any]]
    test: list[dict[str, Any]]
    examples: list[Case]


def localise(
    trial: Trial,
    nip: models.NIP,
    chosen: Iterable[Photograph],
    reported: Iterable[Photograph],
    settings: Localisation,
    detectors: Mapping[str, Detector],
    on_progress: Callable[[int], None] = lambda done: None,
) -> Result:
    """Try detectors on composites.

    Args:
        nip: of the trial, set to evaluation, where it develops.
        chosen: photographs that choose the threshold of each detector, and whether medians are subtracted.
        reported: photographs that choose nothing; there may be none.
        on_progress: called with the number of photographs received and scored so far.

    Raises:
        ValueError: nothing to choose by, or a photograph is smaller than a window.
    """
    done = 0

    def counted(photographs: Iterable[Photograph]) -> Iterator[Case]:
        nonlocal done
        for case in cases(trial, nip, photographs, settings, detectors):
            yield case
            done += 1
            on_progress(done)

    seen = list(counted(chosen))
    if not seen:
        raise ValueError("localisation needs validation photographs to choose a threshold")
    rules, plain = {}, {}
    for name in detectors:
        maps = [(case.scores[name], case.truth) for case in seen if case.kind != PRISTINE]
        (plain[name], without), (centred, within) = (choose(maps, each) for each in (False, True))
        rules[name] = centred if within > without else plain[name]
    test: list[dict[str, Any]] = []
    examples: list[Case] = []
    for case in counted(reported):
        test += _rows(case, rules, plain)
        if case.photograph == (examples[0].photograph if examples else case.photograph):
            examples.append(case)
    examples = examples or [case for case in seen if case.photograph == seen[0].photograph]
    return Result(rules, plain, [row for case in seen for row in _rows(case, rules, plain)], test, examples)


@torch.no_grad()
def cases(
    trial: Trial,
    nip: models.NIP,
    photographs: Iterable[Photograph],
    settings: Localisation,
    detectors: Mapping[str, Detector],
) -> Iterator[Case]:
    """Composites of photographs behind every codec, scored by every detector."""
    device = next(nip.parameters()).device
    regions, strengths = (torch.Generator().manual_seed(settings.seed) for _ in range(2))
    for photograph in photographs:
        native, altered = content(trial, nip, photograph, settings, strengths)
        altered = {kind: pixels.to(device) for kind, pixels in altered.items()}
        for composite in composites(native, altered, settings.sizes, settings.shapes, regions):
            shrunk = shrunk_to_8_bits(composite.pixels, trial.channel)
            truth = _shrunk_truth(composite.truth, trial.channel)
            for codec in settings.codecs:
                received = encode(shrunk, codec)
                scores = {name: detect(received, codec) for name, detect in detectors.items()}
                what = (composite.kind, composite.shape, composite.size)
                yield Case(photograph.name, *what, codec, received, truth, scores)


def content(
    trial: Trial, nip: models.NIP, photograph: Photograph, settings: Localisation, draws: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Develop a photograph: native (1,3,H,W) uint8, and by kind what may take its place in a region."""
    native, box = developed(trial, nip, photograph.bayer, settings)
    height, width = native.shape[-2:]
    operations = tuple(Manipulation.parse(spec) for spec in trial.manipulations)
    _, *manipulated = made(native, operations, draws)
    altered = dict(zip(map(str, trial.manipulations), manipulated, strict=True))
    top, left = 2 * box.top, 2 * box.left
    altered[STANDARD] = photograph.target[..., top : top + height, left : left + width]
    if photograph.foreign is not None:
        above, before = (
            (have - need) // 2 for have, need in zip(photograph.foreign.shape[-2:], (height, width), strict=True)
        )
        altered[FOREIGN] = photograph.foreign[..., above : above + height, before : before + width]
    return native, altered


def developed(trial: Trial, nip: models.NIP, bayer: Tensor, settings: Localisation) -> tuple[Tensor, Any]:
    """The middle of a photograph as the trial develops it, (1,3,H,W) uint8 where the NIP is, and which box it is."""
    box = middle(bayer.shape[-2], bayer.shape[-1], settings.megapixels, trial.training.patch)
    pixels = develop_whole(nip, bayer, trial.training.precision, box)
    return to_8_bits(pixels.to(next(nip.parameters()).device)), box


def of_pairs(pairs: Pairs, images: Sequence[int], other: Pairs | None = None, seed: int = 0) -> Iterator[Photograph]:
    """Photographs of a camera's pairs; to each one of another camera is drawn that is at least as large."""
    draws = torch.Generator().manual_seed(seed)
    for i in images:
        bayer, target = pairs.image(i)
        foreign = None
        if other is not None:
            fit = (other.height >= bayer.shape[-2]) & (other.width >= bayer.shape[-1])
            if len(large := fit.nonzero().flatten()):
                pick = int(large[torch.randint(len(large), (), generator=draws)])
                foreign = to_8_bits(other.image(pick)[1])
        yield Photograph(pairs.names[i], bayer, to_8_bits(target), foreign)


def fan_detector(trial: Trial, fan: FAN, device: str | torch.device = "cpu") -> Detector:
    """The FAN of a trial as a detector; it is set to evaluation and moved to ``device``."""
    precision = trial.training.precision
    move(fan.eval(), device, precision)
    return lambda received, codec: fan_scores(fan, received, window_side(trial), precision)


def kinds(trial: Trial, foreign: bool) -> list[str]:
    """Of all composites of a photograph, the pristine one first."""
    return [PRISTINE, *map(str, trial.manipulations), STANDARD, *([FOREIGN] if foreign else [])]


def _shrunk_truth(truth: Tensor, distribution: Distribution) -> Tensor:
    """Which pixels of the received photograph are altered: those of which at least a half is."""
    return shrink(truth[None, None].float(), factor(distribution), distribution.kernel)[0, 0] >= 0.5


def _rows(case: Case, rules: Mapping[str, Rule], plain: Mapping[str, Rule]) -> list[dict[str, Any]]:
    names = ("photograph", "kind", "shape", "size", "codec")
    what = {name: getattr(case, name) for name in names}
    return [
        {"detector": name, **what}
        | {"auc": auc(scores, case.truth) if case.kind != PRISTINE else None}
        | asdict(judged(rules[name].flags(scores), case.truth))
        | {PLAIN_F1: judged(plain[name].flags(scores), case.truth).f1}
        for name, scores in case.scores.items()
    ]
