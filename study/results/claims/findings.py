"""What a study found, as far as the paper's claims are concerned: what the answers to them are computed from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import pandas as pd

from study.results.claims import protocol
from study.results.runs_table import NIP_HASH, PRNU_METRICS, TEST, axes


class Undecided(ValueError):  # noqa: N818, a verdict rather than a fault
    """The study has data about a claim, but they do not answer it; the message says why."""


@dataclass(frozen=True)
class Findings:
    """The tables of a study, and which of its cameras are simulated.

    ``trials`` of the present plan, from :func:`study.results.trials`, ``pretrained`` from
    :func:`study.results.pretrained`, those that the trials start from, ``fingerprints`` from
    :func:`study.results.fingerprints`. A camera counts as real only where ``simulated`` maps its name to False.
    ``on_test``: answers are read off the test photographs; what they choose, validation chooses in any case.
    """

    trials: pd.DataFrame
    pretrained: pd.DataFrame
    simulated: Mapping[str, bool] = field(default_factory=dict)
    fingerprints: pd.DataFrame = field(default_factory=partial(pd.DataFrame, columns=["camera", *PRNU_METRICS]))
    on_test: bool = False

    def named(self, metric: str) -> str:
        """The column with this metric on the photographs that answer."""
        return TEST + metric if self.on_test else metric

    def of_real_cameras(self) -> "Findings":
        real = [camera for camera, simulated in self.simulated.items() if not simulated]
        return replace(
            self,
            trials=self.trials[self.trials["camera"].isin(real)],
            pretrained=self.pretrained[self.pretrained["camera"].isin(real)],
            fingerprints=self.fingerprints[self.fingerprints["camera"].isin(real)],
        )

    def under_the_papers_protocol(self) -> "Findings":
        """What was trained and examined as in the paper: pre-training, then training."""
        pretrained = protocol.having(self.pretrained, protocol.PRETRAINING)
        trials = protocol.trained_alike(self.trials)
        trials = trials[trials[NIP_HASH].isin(pretrained[NIP_HASH])]
        # Low light has no photographs for the estimation of a fingerprint apart from its scenes.
        low_light = self.fingerprints[self.fingerprints["correlation"].isna()]
        pixels = {name: value for name, value in protocol.FINGERPRINTS.items() if name == "prnu.pixels"}
        examined = self.fingerprints.drop(low_light.index)
        parts = [protocol.having(examined, protocol.FINGERPRINTS), protocol.having(low_light, pixels)]
        return replace(self, trials=trials, pretrained=pretrained, fingerprints=pd.concat(parts))


def one_setting(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as they are, if no setting varies among them.

    Raises:
        Undecided: a setting does, and a mean over it would mean nothing.
    """
    if varied := axes(rows):
        raise Undecided(f"the study varies {', '.join(varied)}")
    return rows


def mean_over_cameras(values: pd.Series, cameras: pd.Series) -> float:
    """Mean over cameras of the means of each camera."""
    return float(values.groupby(cameras.to_numpy()).mean().mean())


Answer = tuple[float, pd.DataFrame] | None  # our number and the rows it comes from; None: there is no such data
Answers = Mapping[str, Callable[[Findings], Answer]]  # by the id of the claim
