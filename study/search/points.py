"""The points of a search, out of the tracker: which were proposed, and how their trials stand.

A point is proposed by a tag of the study's experiment, ``search.<search>.<number>``, before its trials begin. So no
point is lost with a driver, and there is nothing to keep beside the tracker.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from mlflow.entities import Run

from study import tracking
from study.jobs import keys
from study.jobs.plan import Grid, resolve
from study.jobs.trial import TrialJob
from study.jobs.verdict import metric
from study.settings import Range, Search, Study, planned_at
from study.settings.search import METRICS
from study.tracking import Snapshot

TAG = "search"
FINISHED, STOPPED, FAILED, LEFT = "finished", "stopped", "failed", "left"
Values = dict[str, Any]  # by the names of `search.over`


@dataclass(frozen=True)
class Branch:
    """The search of one camera × ISP. ``id`` hashes what it looks for, and where."""

    camera: str
    isp: str
    id: str


@dataclass(frozen=True)
class Point:
    """A point as it was proposed: its number from 0, and what the sampler wants to find beside it (``notes``).

    ``stopped`` says why it was given up.
    """

    number: int
    values: Values
    notes: dict[str, Any] = field(default_factory=dict)
    stopped: str = ""

    def tag(self, branch: Branch) -> tuple[str, str]:
        """Name and value of the tag of the experiment that holds it."""
        content = {"values": self.values, "notes": self.notes, "stopped": self.stopped}
        return f"{TAG}.{branch.id}.{self.number:05d}", json.dumps(content)


@dataclass(frozen=True)
class Outcome:
    """How a trial or a point stands, and its objectives where it is finished."""

    state: str
    objectives: tuple[float, ...] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Told:
    """A point as a sampler is told of it."""

    values: Values
    outcome: Outcome
    notes: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = ()  # of its trials


def section(study: Study) -> Search:
    """The section ``search`` of a study that has one."""
    assert study.search is not None
    return study.search


def branches(study: Study) -> list[Branch]:
    """One for each camera × ISP of the study."""
    search = section(study)
    corner = {
        path: domain.bounds[0] if isinstance(domain, Range) else domain[0] for path, domain in search.over.items()
    }
    found = []
    for camera, isp in ((camera.name, isp) for camera in study.cameras for isp in study.isps):
        item = planned_at(study, corner, camera, isp)[0]
        settings = {**asdict(item.trial), "pretraining": asdict(item.pretraining)}
        if item.codec_pretraining is not None:
            settings["codec_pretraining"] = asdict(item.codec_pretraining)
        identity = {name: settings.pop(name) for name in ("camera", "isp", "lam")}
        del settings["seed"]
        for path in search.over:
            part, _, key = path.partition(".")
            (settings.get(part, {}) if key else settings).pop(key or part, None)
        if "lambda" in search.over:
            del identity["lam"]
        identity |= search.model_dump(mode="json", include={"over", "objectives", "sampler", "seed"})
        if "channel" in search.over:
            identity["channels"] = [planned_channel(study, name) for name in search.over["channel"]]
        found.append(Branch(camera, isp, keys.key(TAG, identity, settings, {})[:12]))
    return found


def planned_channel(study: Study, name: Any) -> dict[str, Any]:
    """What the settings of a named channel differ in from the baseline."""
    corner = {
        path: domain.bounds[0] if isinstance(domain, Range) else domain[0]
        for path, domain in section(study).over.items()
    }
    return keys.differences({"channel": asdict(planned_at(study, {**corner, "channel": name})[0].trial.channel)})


def proposed(tags: Mapping[str, str], branch: Branch) -> list[Point]:
    """The points of a branch, in the order in which they were proposed."""
    start = f"{TAG}.{branch.id}."
    return [
        Point(int(name.removeprefix(start)), **json.loads(tags[name]))
        for name in sorted(tags)
        if name.startswith(start)
    ]


def jobs(study: Study, snapshot: Snapshot | None, branch: Branch, points: Iterable[Values]) -> Grid:
    """The trials of points, seed after seed within each; as far as their NIP is pre-trained."""
    trials = [item for values in points for item in planned_at(study, values, branch.camera, branch.isp)]
    return resolve(study, snapshot, trials)


def metrics_of(search: Search) -> list[str]:
    """The names that the tracker has for the objectives."""
    return [name if name in METRICS else metric(name) for name in search.objectives]


def outcome(job: TrialJob, run: Run | None, metrics: Sequence[str], retry_failed: bool = False) -> Outcome:
    """How a trial stands."""
    state = tracking.state(run, job.key, job.key)
    if run is None or state is None:
        return Outcome(LEFT)
    if state.status == "FINISHED":
        values = tuple(run.data.metrics.get(name, math.nan) for name in metrics)
        if all(abs(value) < 1e300 for value in values):  # MLflow's infinity is beyond
            return Outcome(FINISHED, values)
        verdicts = [tracking.state(run, later.key, job.key) for later in job.follow_ups]
        if any(verdict is None or verdict.status not in ("FAILED", "FINISHED") for verdict in verdicts):
            return Outcome(LEFT)
        reasons = [verdict.reason for verdict in verdicts if verdict and verdict.reason]
        state = tracking.State("FAILED", "; ".join(reasons) or f"its run has no finite {', '.join(metrics)}")
    if state.status == "FAILED" and not retry_failed:
        return Outcome(FAILED, reason=state.reason)
    return Outcome(LEFT)


def combined(point: Point, trials: Sequence[Outcome]) -> Outcome:
    """How a point stands whose trials stand so: means over its seeds once all are finished."""
    states = {trial.state for trial in trials}
    if states == {FINISHED}:
        objectives = [trial.objectives for trial in trials if trial.objectives is not None]
        return Outcome(FINISHED, tuple(fmean(values) for values in zip(*objectives, strict=True)))
    if point.stopped:
        return Outcome(STOPPED, reason=point.stopped)
    if FAILED in states:
        return next(trial for trial in trials if trial.state == FAILED)
    return Outcome(LEFT)


@dataclass
class Tried:
    """A point that was proposed, its trials, and how they stand by their keys."""

    branch: Branch
    point: Point
    jobs: Sequence[TrialJob]
    outcomes: dict[str, Outcome]

    @property
    def outcome(self) -> Outcome:
        return combined(self.point, list(self.outcomes.values()))

    @property
    def told(self) -> Told:
        return Told(self.point.values, self.outcome, self.point.notes, tuple(self.outcomes))


def tried(
    study: Study, snapshot: Snapshot | None, branch: Branch, found: Sequence[Point], retry_failed: bool = False
) -> list[Tried]:
    """The points with their trials; none where the NIP of the branch is not pre-trained."""
    search, runs = section(study), snapshot.by_key if snapshot else {}
    grid = jobs(study, snapshot, branch, [point.values for point in found])
    seeds, several = len(search.seeds), []
    for number, point in enumerate(found):
        ready = [job for job in grid.jobs[number * seeds : (number + 1) * seeds] if job is not None]
        if len(ready) == seeds:
            stand = {job.key: outcome(job, runs.get(job.key), metrics_of(search), retry_failed) for job in ready}
            several.append(Tried(branch, point, ready, stand))
    return several


def every(study: Study, snapshot: Snapshot | None) -> list[Tried]:
    """All points that were proposed; none where the study declares no search."""
    if study.search is None or snapshot is None:
        return []
    return [
        one for branch in branches(study) for one in tried(study, snapshot, branch, proposed(snapshot.tags, branch))
    ]


def table(points: Iterable[Tried]) -> list[dict[str, Any]]:
    """A row for each trial of the points, as a plan has it, with ``search``, ``point`` and ``state`` of its point."""
    return [
        {
            **job.axes,
            "key": job.key,
            "search": one.branch.id,
            "point": one.point.number,
            "state": one.outcome.state,
        }
        for one in points
        for job in one.jobs
    ]


def known(study: Study, snapshot: Snapshot, branch: Branch, without: Sequence[Values]) -> list[Told]:
    """Finished points that this search did not propose: trials of a grid or of another search, found by their keys.

    A point counts where every seed of the search is finished.
    """
    search = section(study)
    candidates: dict[str, Values] = {}
    for run in snapshot.finished.values():
        params = run.data.params
        if run.data.tags.get("kind") == TrialJob.kind and (params.get("camera"), params.get("isp")) == (
            branch.camera,
            branch.isp,
        ):
            values = _values(search, params)
            if values is not None and values not in without:
                candidates[json.dumps(values)] = values
    points = list(candidates.values())
    found = tried(study, snapshot, branch, [Point(number, values) for number, values in enumerate(points)])
    return [one.told for one in found if one.outcome.state == FINISHED]


def _values(search: Search, params: Mapping[str, str]) -> Values | None:
    """The searched settings of a run; None where one lies outside of its range."""
    values: Values = {}
    for path, domain in search.over.items():
        text = params.get(path, "")
        if isinstance(domain, Range):
            try:
                number = int(text) if domain.whole else float(text)
            except ValueError:
                return None
            if number not in domain:
                return None
            values[path] = number
        else:
            chosen = [value for value in domain if str(value) == text]
            if not chosen:
                return None
            values[path] = chosen[0]
    return values
