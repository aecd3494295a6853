"""Decide about a photograph by what the FAN found in it: altered, native, or neither and why."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from forensics.analysis.calibration import STRANGE, Scale, log_likelihoods, share_above, threshold
from forensics.localisation.maps import evidence as likelihood_ratio


@dataclass(frozen=True)
class Decision:
    """What the evidence says of a photograph as a whole.

    Attributes:
        result: ``flat`` and ``unfamiliar`` photographs are not judged. ``unsure``: the evidence favours altering, but
            too many native photographs look like that.
        probabilities: (classes,), all equally likely beforehand.
        score: of altered against native; it is above the threshold of the false-alarm rate or not, ``above``.
        ratio, limit: its likelihood ratio (natural logarithm), and what that must exceed.
        as_high: share of native photographs with such a ratio. as_strange: share of all that look as unfamiliar.
    """

    result: Literal["altered", "native", "unsure", "unfamiliar", "flat"]
    probabilities: Tensor
    score: float
    above: bool
    ratio: float
    limit: float
    as_high: float
    as_strange: float

    @property
    def history(self) -> int:
        """The number of the most probable manipulation."""
        return 1 + int(self.probabilities[1:].argmax())


def decide(
    scale: Scale, kind: int, logits: Tensor, statistics: Tensor, texture: float, false_alarms: float
) -> Decision:
    """Decide about a photograph.

    Args:
        scale: the calibration for its size.
        kind: the number of its kind of file, 0 for unknown.
        logits, statistics, texture: see :class:`forensics.analysis.evidence.Evidence`.
        false_alarms: share of native photographs that may be called altered.

    Raises:
        CalibrationError: the calibration has too few photographs for this rate.
    """
    likelihoods = log_likelihoods(scale.maps, kind, logits)
    score = likelihood_ratio(likelihoods).item()
    reference = scale.reference(kind)
    allowed = threshold(reference.native, false_alarms)
    ratio, as_strange = (
        reference.ratio(score),
        share_above(reference.strange, scale.familiarity.strangeness(statistics[None], kind).item()),
    )
    result: Literal["altered", "native", "unsure", "unfamiliar", "flat"] = "native"
    if texture < scale.texture.item():
        result = "flat"
    elif as_strange <= STRANGE:
        result = "unfamiliar"
    elif ratio > 0:
        result = "altered" if score > allowed else "unsure"
    return Decision(
        result,
        likelihoods.softmax(dim=0),
        score,
        score > allowed,
        ratio,
        max(reference.ratio(allowed), 0.0),
        share_above(reference.native, score),
        as_strange,
    )
