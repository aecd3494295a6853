"""What a study found, as far as the paper's claims are concerned: what the answers to them are computed from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import pandas as pd

from study.results.runs_table import PRNU_METRICS


@dataclass(frozen=True)
class Findings:
    """The tables of a study, and which of its cameras are simulated.

    ``trials`` from :func:`study.results.trials`, ``pretrained`` from :func:`study.results.pretrained`,
    ``fingerprints`` from :func:`study.results.fingerprints`. A camera counts as real only where ``simulated`` maps
    its name to False.
    """

    trials: pd.DataFrame
    pretrained: pd.DataFrame
    simulated: Mapping[str, bool] = field(default_factory=dict)
    fingerprints: pd.DataFrame = field(default_factory=partial(pd.DataFrame, columns=["camera", *PRNU_METRICS]))

    def of_real_cameras(self) -> "Findings":
        real = [camera for camera, simulated in self.simulated.items() if not simulated]
        return replace(
            self,
            trials=self.trials[self.trials["camera"].isin(real)],
            pretrained=self.pretrained[self.pretrained["camera"].isin(real)],
            fingerprints=self.fingerprints[self.fingerprints["camera"].isin(real)],
        )


Answer = tuple[float, pd.DataFrame] | None  # our number and the rows it comes from; None: there is no such data
Answers = Mapping[str, Callable[[Findings], Answer]]  # by the id of the claim
