"""What the sections of a study's report read, computed once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import pandas as pd

from study import results
from study.results.claims import supplement_table_1
from study.tracking import Snapshot

BUDGETS = (1.0, 3.0)  # dB of PSNR that one may be willing to lose
COMMANDS = {"best": "python -m study best STUDY", "rerun": "python -m study rerun"}


@dataclass(frozen=True)
class Provenance:
    """What MLflow does not know about a study.

    ``settings``: the resolved study file, YAML. ``simulated``: for every camera, whether its photographs come
    from a simulation. ``notes``: further lines for the section on provenance. ``commands``: how ``best`` and ``rerun``
    are called for this study, without their options. ``search``: a row for each trial of its search, as
    :func:`study.results.searched.of_search` takes them; ``importances``: of the searched settings, rows of ``camera``,
    ``isp``, ``objective``, ``setting`` and ``importance``.
    """

    settings: str = ""
    simulated: Mapping[str, bool] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=lambda: COMMANDS)
    search: Sequence[Mapping[str, Any]] = ()
    importances: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class View:
    """A study's results as judged behind one channel: "real", the panel of real encoders, or "dJPEG" as in training.

    In all tables ``accuracy`` is behind this channel; behind real encoders they have a ``gap`` to dJPEG, too.
    """

    behind: str
    done: pd.DataFrame  # the trials with a result
    summary: pd.DataFrame
    gains: pd.DataFrame

    @classmethod
    def of(cls, trials: pd.DataFrame, behind: str) -> Self:
        judged = results.behind(trials, behind)
        return cls(behind, results.finished(judged), results.summary(judged), results.gain(judged))

    @property
    def real(self) -> bool:
        return self.behind == results.PANEL

    @property
    def name(self) -> str:
        """What the names of tables and figures end with: nothing for dJPEG."""
        return "-real" if self.real else ""

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


@dataclass(frozen=True)
class Content:
    """A study's plan, its runs, and what :mod:`study.results` makes of them."""

    snapshot: Snapshot
    plan: Sequence[Mapping[str, Any]]  # one mapping per planned trial, as `results.missing` takes them
    provenance: Provenance
    every_trial: pd.DataFrame  # those of earlier states of the study file, too
    trials: pd.DataFrame  # the planned ones that have a run
    missing: pd.DataFrame  # those without a result
    trained: View  # behind the channel of the training
    real: View | None  # behind real encoders, where any trial has such a verdict
    pretrained: pd.DataFrame  # the NIPs that the trials start from; all of them, as long as there are no trials
    published: pd.DataFrame  # the paper's means over ten seeds (supplement, Table 1)

    @classmethod
    def of(cls, snapshot: Snapshot, plan: Sequence[Mapping[str, Any]], provenance: Provenance) -> Self:
        every_trial = results.trials(snapshot)
        trials = results.of_plan(every_trial, plan)
        pretrained = results.in_detail(snapshot, results.pretrained(snapshot))
        judged = results.leading(trials) == results.PANEL
        return cls(
            snapshot,
            plan,
            provenance,
            every_trial,
            trials,
            missing=results.missing(trials, plan),
            trained=View.of(trials, results.TRAINED),
            real=View.of(trials, results.PANEL) if judged else None,
            pretrained=results.used(pretrained, trials) if len(trials) else pretrained,
            published=supplement_table_1(),
        )

    @property
    def views(self) -> list[View]:
        """What is shown, in this order: behind real encoders first."""
        return [view for view in (self.real, self.trained) if view is not None]

    @property
    def view(self) -> View:
        """The one that leads."""
        return self.views[0]

    @property
    def done(self) -> pd.DataFrame:
        """All trials with a result."""
        return self.trained.done

    @property
    def all_fixed(self) -> bool:
        """Whether no trial with a result trains an ISP jointly, so that there are neither gains nor fronts."""
        return len(self.done) > 0 and bool((self.done["mode"] == results.FIXED).all())

    @property
    def beside_paper(self) -> bool:
        """Whether any camera × ISP is one of the paper's."""
        return not self.trained.summary.merge(self.published, on=["camera", "isp"]).empty

    @cached_property
    def psnr(self) -> pd.DataFrame:
        """PSNR on the validation photographs in the course of every training, see :func:`results.curves`."""
        return results.curves(self.snapshot, self.done, "psnr")

    @cached_property
    def verdicts(self) -> "pd.Series[Any]":
        """See :func:`results.verdicts`."""
        return results.verdicts(self.snapshot, self.trials)

    @cached_property
    def unseen(self) -> Mapping[str, frozenset[str]]:
        """By run id the encoders of the panel that its training could not have drawn."""
        return results.unseen(self.verdicts)


def groups(frame: pd.DataFrame, *by: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows by ``by`` and the study's further axes, with titles such as "Nikon D90 · UNet · channel.downsample 1"."""
    columns = [*by, *results.axes(frame)]
    for values, group in frame.groupby(columns, dropna=False):
        pairs = zip(columns, values, strict=True)
        yield " · ".join(value if name in by else f"{name} {value}" for name, value in pairs), group
