"""What the sections of a study's report read, computed once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pandas as pd

from study import results
from study.results.claims import supplement_table_1
from study.tracking import Snapshot

BUDGETS = (1.0, 3.0)  # dB of PSNR that one may be willing to lose


@dataclass(frozen=True)
class Provenance:
    """What MLflow does not know about a study.

    ``settings``: the resolved study file, YAML. ``simulated``: for every camera, whether its photographs come
    from a simulation. ``notes``: further lines for the section on provenance.
    """

    settings: str = ""
    simulated: Mapping[str, bool] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    """A study's plan, its runs, and what :mod:`study.results` makes of them."""

    snapshot: Snapshot
    plan: Sequence[Mapping[str, Any]]  # one mapping per planned trial, as `results.missing` takes them
    provenance: Provenance
    every_trial: pd.DataFrame  # those of earlier states of the study file, too
    trials: pd.DataFrame  # the planned ones that have a run
    done: pd.DataFrame  # those with a result
    missing: pd.DataFrame  # those without
    summary: pd.DataFrame
    gains: pd.DataFrame
    pretrained: pd.DataFrame  # the NIPs that the trials start from; all of them, as long as there are no trials
    published: pd.DataFrame  # the paper's means over ten seeds (supplement, Table 1)

    @classmethod
    def of(cls, snapshot: Snapshot, plan: Sequence[Mapping[str, Any]], provenance: Provenance) -> Self:
        every_trial = results.trials(snapshot)
        trials = results.of_plan(every_trial, plan)
        pretrained = results.pretrained(snapshot)
        return cls(
            snapshot,
            plan,
            provenance,
            every_trial,
            trials,
            done=results.finished(trials),
            missing=results.missing(trials, plan),
            summary=results.summary(trials),
            gains=results.gain(trials),
            pretrained=results.used(pretrained, trials) if len(trials) else pretrained,
            published=supplement_table_1(),
        )

    @property
    def reported(self) -> pd.DataFrame:
        """The summary with the numbers of the test photographs, where there are some."""
        return results.reported(self.summary)

    @property
    def photographs(self) -> str:
        """Which photographs the reported numbers are of: "test", "validation", or both."""
        return " or ".join(sorted(self.reported[results.ON].unique()))

    @property
    def tested(self) -> bool:
        """Whether any setting has test photographs."""
        return results.TEST_SET in set(self.reported[results.ON])

    @property
    def beside_paper(self) -> bool:
        """Whether any camera × ISP is one of the paper's."""
        return not self.summary.merge(self.published, on=["camera", "isp"]).empty


def groups(frame: pd.DataFrame, *by: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows by ``by`` and the study's further axes, with titles such as "Nikon D90 · UNet · channel.downsample 1"."""
    columns = [*by, *results.axes(frame)]
    for values, group in frame.groupby(columns, dropna=False):
        pairs = zip(columns, values, strict=True)
        yield " · ".join(value if name in by else f"{name} {value}" for name, value in pairs), group
