"""What happened to a photograph, and where? The answer, with figures, or "cannot tell" and why not.

A photograph is *altered* where its log-likelihood ratio lies above the threshold of the false-alarm rate, and above 0:
what speaks against altering is never called altered, however rare it is among native photographs. A *region* is
altered likewise, at the same rate for all regions of a photograph together. Nothing is said of a photograph that the
calibration does not cover.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

import torch
from torch import Tensor

from cameras.photographs import Header, header, read
from forensics.analysis.calibration import Calibration, log_likelihoods, region_limit, smoothed, threshold
from forensics.analysis.decision import decide
from forensics.analysis.evidence import STATISTICS, Evidence, examine
from forensics.analysis.samples import UNKNOWN, least
from forensics.fan import CELL
from forensics.localisation.maps import evidence as likelihood_ratio
from forensics.package import Package, PackageError
from forensics.panel import lowest_factor, window_side

FALSE_ALARMS = 0.01
SLACK = 2  # pixels by which a photograph may be larger than expected: other programs round sizes otherwise
QUALITY_SLACK = 5  # by which a JPEG quality may lie below the lowest that was calibrated

Result = Literal["native", "altered", "altered in part", "cannot tell"]


@dataclass(frozen=True)
class Region:
    """A part of a photograph that looks altered: a box in pixels, its share of the picture, and what was done."""

    top: int
    left: int
    height: int
    width: int
    share: float
    history: str


@dataclass(frozen=True)
class Map:
    """Probabilities (h,w,classes) of windows; that of (i,j) is centred at pixel ``first`` + ``stride`` · (i,j)."""

    probabilities: Tensor
    first: float
    stride: int = CELL


@dataclass(frozen=True)
class Analysis:
    """What is known of a photograph. Likelihood ratios are of *altered* against *native*, as decimal logarithms.

    Attributes:
        result: see the module. reason: a sentence for people.
        height, width: of the photograph. kind: of its file, ``unknown`` if it does not say how it was compressed.
        false_alarms: share of native photographs of this pipeline that may be called altered, by choice of the user.
        history: the most probable manipulation, where the photograph is altered.
        probabilities: of each class, all equally likely beforehand; empty where the photograph was not looked at.
        log10_lr: the likelihood ratio. log10_threshold: above which the photograph is altered.
        as_high: share of native photographs of this pipeline whose ratio is as high.
        as_strange: share of this pipeline's photographs that look as unfamiliar.
        regions: that look altered. map: see there.
    """

    result: Result
    reason: str
    height: int
    width: int
    kind: str
    false_alarms: float
    history: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    log10_lr: float | None = None
    log10_threshold: float | None = None
    as_high: float | None = None
    as_strange: float | None = None
    regions: tuple[Region, ...] = ()
    map: Map | None = None


def analyse(
    package: Package, photograph: str | Path | BinaryIO | Tensor, false_alarms: float = FALSE_ALARMS
) -> Analysis:
    """Say what happened to a photograph, as far as a package can tell.

    Args:
        package: with a calibration.
        photograph: a file, or pixels (1,3,H,W) uint8 as they are stored.
        false_alarms: share of native photographs that may be called altered, in (0, 1).

    Raises:
        PackageError: the package has no calibration.
        CalibrationError: it was calibrated with too few photographs for this rate.
        PhotographError: the file is no photograph that can be read.
    """
    calibration = calibrated(package)
    if not 0 < false_alarms < 1:
        raise ValueError(f"a false-alarm rate of {false_alarms:g} is impossible: give a share between 0 and 1")
    threshold(calibration.scales[0].known.native, false_alarms)
    photograph = Path(photograph) if isinstance(photograph, str) else photograph
    if isinstance(photograph, Tensor):
        said, (height, width), kind = None, photograph.shape[2:], UNKNOWN
    else:
        said = header(photograph)
        height, width, kind = said.height, said.width, kind_in(said, calibration)
    unknown = Analysis("cannot tell", "", int(height), int(width), kind, false_alarms)
    if reason := _out_of_range(package, calibration, unknown, said):
        return replace(unknown, reason=reason)
    received = photograph if isinstance(photograph, Tensor) else read(photograph)
    return _judged(package, calibration, _examined(package, calibration, received, kind), unknown)


def _examined(package: Package, calibration: Calibration, received: Tensor, kind: str) -> Evidence:
    """What the FAN finds in a photograph; in one that was turned, as the sensor took it.

    The traces of a NIP lie as the sensor does. A photograph that is higher than wide, where the package's are not, is
    turned back both ways, and the way counts in which it looks more familiar.
    """
    height, width = received.shape[2:]
    ways = (1, 3) if (height > width) != (package.size[0] > package.size[1]) and height != width else (0,)
    scale = calibration.scale(height * width)
    assert scale is not None  # it is not too small
    looks = []
    for turns in ways:
        turned = received.rot90(turns, (2, 3)).contiguous()
        found = examine(package.fan, turned, window_side(package.trial), package.trial.training.precision)
        strangeness = scale.familiarity.strangeness(found.statistics[None], calibration.number(kind)).item()
        looks.append((strangeness, replace(found, places=found.places.rot90(-turns, (0, 1)))))
    return min(looks, key=lambda look: look[0])[1]


def calibrated(package: Package) -> Calibration:
    """The calibration of a package.

    Raises:
        PackageError: it has none, or one that does not fit its FAN.
    """
    if not isinstance(package.calibration, Calibration):
        raise PackageError("the package has no calibration: export it with --photographs, or from a study with more")
    statistics = {scale.familiarity.mean.numel() for scale in package.calibration.scales}
    if package.calibration.classes != package.classes or statistics != {STATISTICS}:
        raise PackageError("the package's calibration is that of another FAN: export it again")
    return package.calibration


def kind_in(said: Header, calibration: Calibration) -> str:
    """The calibrated kind that is nearest to what a file says of its codec; ``unknown`` where none is like it."""
    name = said.format.lower()
    if name != "jpeg":
        return name if name in calibration.kinds else UNKNOWN
    if said.jpeg_quality is None:
        return UNKNOWN
    known = [(kind, *_jpeg(kind)) for kind in calibration.kinds if kind.startswith("jpeg:")]
    alike = [one for one in known if one[2] == (said.subsampling or "4:4:4")] or known
    nearest = min(alike, key=lambda one: abs(one[1] - said.jpeg_quality), default=None)  # type: ignore[operator]
    return UNKNOWN if nearest is None else nearest[0]


def _jpeg(kind: str) -> tuple[int, str]:
    """``jpeg:50:4:2:0`` → quality and subsampling"""
    _, quality, *subsampling = kind.split(":", 2)
    return int(quality), subsampling[0] if subsampling else "4:4:4"


def _out_of_range(package: Package, calibration: Calibration, about: Analysis, said: Header | None) -> str:
    """Why a photograph cannot be judged, known before its pixels are read; empty if it can."""
    height, width = about.height, about.width
    small = least(window_side(package.trial))
    if calibration.scale(height * width) is None or min(height, width) < small:
        side = max(math.ceil(calibration.scales[-1].pixels.item() ** 0.5), small)
        return f"{height}×{width} px are too small: some {side}×{side} are needed"
    largest = tuple(int(side / lowest_factor(package.trial.channel)) for side in package.size)
    if any(have > most + SLACK for have, most in zip(sorted((height, width)), sorted(largest), strict=True)):
        return (
            f"{height}×{width} px are larger than photographs of this pipeline as they are received, "
            f"{largest[0]}×{largest[1]}: it was not shrunk as the package expects, or is not from this pipeline"
        )
    lowest = min((_jpeg(kind)[0] for kind in calibration.kinds if kind.startswith("jpeg:")), default=0)
    if said is not None and said.jpeg_quality is not None and said.jpeg_quality < lowest - QUALITY_SLACK:
        return f"too strongly compressed: JPEG of quality {said.jpeg_quality}, calibrated from {lowest} on"
    return ""


def _judged(package: Package, calibration: Calibration, found: Evidence, unknown: Analysis) -> Analysis:
    """Judge a photograph by its evidence; ``unknown`` says the rest of it."""
    number, rate = calibration.number(unknown.kind), unknown.false_alarms
    scale = calibration.scale(unknown.height * unknown.width)
    assert scale is not None  # it is not too small
    decision = decide(scale, number, found.logits, found.statistics, found.texture, rate)
    places = log_likelihoods(calibration.places, number, found.places)
    judged = replace(
        unknown,
        probabilities=dict(zip(calibration.classes, decision.probabilities.tolist(), strict=True)),
        log10_lr=decision.ratio / math.log(10),
        log10_threshold=decision.limit / math.log(10),
        as_high=decision.as_high,
        as_strange=decision.as_strange,
        map=Map(places.softmax(dim=-1).float(), _first(package)),
    )
    if decision.result == "flat":
        return replace(judged, reason="too flat: what the FAN looks for needs texture")
    regions = tuple(_regions(places, calibration, rate, package))
    if decision.result == "unfamiliar":
        # Its regions are shown, since a strong alteration of a part makes a whole unfamiliar. But of another pipeline
        # any part may stand out, so that they decide nothing.
        parts = f". {_parts(regions)}" if 0 < sum(region.share for region in regions) < 0.5 else ""
        reason = (
            f"it looks like none of this pipeline's photographs, {100 * decision.as_strange:.1f} % or fewer of which "
            "are as unfamiliar: it is from another pipeline, only a part of it was altered, or something was done to "
            f"it that the FAN never learned{parts}"
        )
        return replace(judged, reason=reason, regions=regions if parts else ())
    if decision.result == "altered":
        history = calibration.classes[decision.history]
        share = decision.probabilities[decision.history] / decision.probabilities[1:].sum()
        reason = (
            f"the evidence is {_times(decision.ratio)} more likely if the photograph was altered; if by something that "
            f"the FAN knows, then by {history} at {100 * share:.0f} %"
        )
        return replace(judged, result="altered", reason=reason, history=history, regions=regions)
    if regions:
        reason = f"as a whole it is not told from native, but {_parts(regions)}"
        return replace(judged, result="altered in part", reason=reason, history=_largest(regions), regions=regions)
    if decision.result == "unsure":
        reason = (
            f"the evidence is {_times(decision.ratio)} more likely if it was altered, but "
            f"{100 * decision.as_high:.1f} % of native photographs of this pipeline look like that, and only "
            f"{100 * rate:g} % may be called altered"
        )
        return replace(judged, reason=reason)
    reason = f"the evidence is {_times(-decision.ratio)} more likely if the photograph is native"
    return replace(judged, result="native", reason=reason)


def _parts(regions: Sequence[Region]) -> str:
    number = "one part of it looks" if len(regions) == 1 else f"{len(regions)} parts of it look"
    return f"{number} altered ({_largest(regions)})"


def _largest(regions: Sequence[Region]) -> str:
    """What was done to the largest region."""
    return max(regions, key=lambda region: region.share).history


def _times(log_ratio: float) -> str:
    times = math.exp(min(log_ratio, 50))
    return f"{times:.1f} times" if times < 10 else f"{min(times, 1e6):,.0f} times" + (" or more" if times > 1e6 else "")


def _first(package: Package) -> float:
    """Where the first place is centred: in the middle of its windows on both lattices."""
    return CELL * max(window_side(package.trial) // CELL, 1) / 2 + CELL / 4


def _regions(places: Tensor, calibration: Calibration, rate: float, package: Package) -> Iterator[Region]:
    """Connected places whose smoothed ratio is higher than that of any place in nearly all native photographs."""
    ratios = smoothed(likelihood_ratio(places))
    inside = ratios > region_limit(calibration, rate)
    labels = _components(inside)
    for label in labels[inside].unique().tolist():
        here = labels == label
        rows, columns = here.any(dim=1).nonzero().flatten(), here.any(dim=0).nonzero().flatten()
        middle = _first(package) - CELL / 2
        top, left = (int(middle + CELL * line[0].item()) for line in (rows, columns))
        height, width = (CELL * int(line[-1] - line[0] + 1) for line in (rows, columns))
        kind = places[here].mean(dim=0)[1:].argmax().item()
        yield Region(top, left, height, width, here.double().mean().item(), calibration.classes[1 + int(kind)])


def _components(inside: Tensor) -> Tensor:
    """Number connected places (h,w) bool, diagonals included: equal numbers are connected, 0 is outside."""
    labels = torch.arange(1, inside.numel() + 1, dtype=torch.float64).view(inside.shape) * inside
    while True:
        spread = torch.nn.functional.max_pool2d(labels[None, None], 3, stride=1, padding=1)[0, 0] * inside
        if torch.equal(spread, labels):
            return labels
        labels = spread
