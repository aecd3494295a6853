"""Forensics: the FAN, the joint objective, its training loop and its validation (sections 4 and 5).

What a study found is used by three calls: :func:`load_package`, :func:`develop` a RAW file, and :func:`analyse` a
photograph.
"""

from functools import cache

from channel.manipulations import Manipulation
from forensics import fan, training
from forensics.analysis.analyse import Analysis, analyse
from forensics.development import develop_raw as develop
from forensics.fan import FAN
from forensics.joint import JointModel
from forensics.package import Package, load_package
from forensics.training import Outcome, train
from forensics.trial import Distribution, Trial

VERSIONS = {"FAN": fan.VERSION, "training": training.VERSION, "draws": training.DRAWS_VERSION}


def versions(trial: Trial) -> dict[str, int]:
    """Returns the versions of the parts that a trial uses: keys contain them. Draws are for what is random."""
    random = any(Manipulation.parse(spec).random for spec in trial.manipulations) or _draws(trial.channel)
    return {part: version for part, version in VERSIONS.items() if part != "draws" or random}


@cache  # a study has 1,320 trials with the same channel
def _draws(channel: Distribution) -> bool:
    return channel.build().random
