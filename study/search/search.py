"""A search at work: makes its jobs while others run. It knows neither Ray nor Optuna's studies.

First comes what is left of the points proposed so far, by this driver or by one before, then a new point. All that it
knows is in the tracker: points as tags of the experiment, results as metrics of ordinary trials.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from cameras.errors import one_line
from study import tracking
from study.execution import delivery
from study.execution.driver import label
from study.jobs import Job
from study.jobs.trial import TrialJob
from study.search import points
from study.search.points import FAILED, FINISHED, LEFT, Branch, Outcome, Point, Told, Tried
from study.search.sampler import propose
from study.search.stopping import is_poor, milestones
from study.settings import Search, Study
from study.storage import Storage
from study.tracking import Snapshot

PAUSE = 10.0  # seconds after which a tracker that is away is asked again
LOOK_SECONDS = 1.0  # between two looks at results that have not arrived


@dataclass
class PointSource:
    """The searches of all cameras × ISPs of a study, point for point in turn.

    Attributes:
        study: with a section ``search``.
        snapshot: taken after the pre-training.
        tried: points by branch, in the order in which they were proposed.
        known: what the grid or other searches have found there, by branch.
        exhausted: branches that have no further point, or no pre-trained NIP.
        running: the trial of every job that was handed out, by the job's key.
        unread: keys of trials that ended and whose results have not been seen in the tracker.
    """

    study: Study
    snapshot: Snapshot
    client: MlflowClient
    retry_failed: bool = False
    remark: Callable[[str], None] = lambda text: None
    tried: dict[Branch, list[Tried]] = field(default_factory=dict)
    known: dict[Branch, list[Told]] = field(default_factory=dict)
    exhausted: set[Branch] = field(default_factory=set)
    running: dict[str, str] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    handed_out: dict[str, Job] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    unmarked: dict[str, Tried] = field(default_factory=dict)  # keys of stopped trials whose runs do not say so
    next_look: float = 0.0
    next_try: float = 0.0

    @classmethod
    def of(
        cls,
        study: Study,
        snapshot: Snapshot,
        retry_failed: bool = False,
        remark: Callable[[str], None] = lambda text: None,
    ) -> Self:
        """All that the tracker knows of a search."""
        source = cls(study, snapshot, snapshot.client, retry_failed, remark, runs=dict(snapshot.by_key))
        for branch in points.branches(study):
            found = points.proposed(snapshot.tags, branch)
            source.tried[branch] = source._tried(branch, found)
            source.known[branch] = points.known(study, snapshot, branch, [point.values for point in found])
        return source

    @cached_property
    def settings(self) -> Search:
        return points.section(self.study)

    @cached_property
    def metrics(self) -> list[str]:
        return points.metrics_of(self.settings)

    @property
    def every(self) -> list[Tried]:
        return [tried for several in self.tried.values() for tried in several]

    @property
    def failures(self) -> dict[str, str]:
        """Why trials failed, by name."""
        return {
            label(job): tried.outcomes[job.key].reason
            for tried in self.every
            for job in tried.jobs
            if tried.outcomes[job.key].state == FAILED
        }

    @property
    def asked(self) -> int:
        """Points at the end, as far as there are so many."""
        return sum(
            len(tried) if branch in self.exhausted else max(self.settings.points, len(tried))
            for branch, tried in self.tried.items()
        )

    @property
    def ended_points(self) -> int:
        return sum(tried.outcome.state != LEFT for tried in self.every)

    @property
    def left(self) -> int:
        """Trials that are still to be run, if none is stopped."""
        ended = sum(one.state != LEFT for tried in self.every for one in tried.outcomes.values())
        return max(self.asked * len(self.settings.seeds) - ended, 1)

    @property
    def progress(self) -> str:
        return f"{self.ended_points} of {self.asked} points ended"

    @property
    def is_over(self) -> bool:
        """Whether every point has been proposed and has ended."""
        return not self.running and self.ended_points == self.asked == len(self.every)

    def next(self) -> Job | None:
        """The next job; None where there is none at the moment."""
        is_reached = self._reaches(self._look)
        if len(self.running) >= (self.settings.parallel or math.inf):
            return None
        job = self._left()
        if job is None and is_reached and self._reaches(self._propose):
            job = self._left()
        if job is not None:
            self.handed_out[job.key] = job
        return job

    def ended(self, key: str, failure: str | None) -> None:
        """A job that was handed out has ended: by itself, stopped, or for a reason."""
        trial = self.running.pop(key)
        tried = self._of(trial)
        if failure is not None:
            tried.outcomes[trial] = Outcome(FAILED, reason=failure)
        elif not tried.point.stopped:
            self.unread.add(trial)
            self.next_look = 0.0

    def should_stop(self, key: str, iteration: int, found: Mapping[str, float]) -> bool:
        """Whether a job is not worth its time, now that its trial has come to an iteration with these metrics."""
        stop, trial = self.settings.stop_early, self.running.get(key)
        if stop is None or trial is None or key != trial:
            return False
        tried = self._of(trial)
        if tried.point.stopped:
            self.unmarked[trial] = tried
            return True
        place = tuple(found.get(metric, math.nan) for metric in self.curves)
        reached = [at for at in milestones(stop, tried.jobs[0].steps) if at <= iteration]
        if not reached or not np.isfinite(place).all():
            return False
        there = self.milestones.setdefault((tried.branch.id, reached[-1]), {})
        if trial in there or any(one.state == FINISHED for one in tried.outcomes.values()):
            return False
        there[trial] = place
        if not is_poor(stop, np.array(list(there.values())), len(there) - 1):
            return False
        tried.point = replace(tried.point, stopped=f"stopped early at iteration {iteration}")
        self.unmarked[trial] = tried
        return True

    def mark(self) -> None:
        """Let the tracker know which points and trials were stopped.

        Raises:
            MlflowException: the tracker is away.
        """
        for trial, tried in list(self.unmarked.items()):
            self.client.set_experiment_tag(self.snapshot.experiment_id, *tried.point.tag(tried.branch))
            run = tracking.find(self.client, self.snapshot.experiment_id, trial)
            if run is not None and run.info.status == "RUNNING":
                tracking.stop(self.client, run.info.run_id, tried.point.stopped)
            del self.unmarked[trial]

    def close(self) -> None:
        """The same for all trials of stopped points, once no process is at work: one may have opened its run late.

        Raises:
            MlflowException: the tracker is away.
        """
        for tried in self.every:
            if tried.point.stopped:
                self.unmarked |= dict.fromkeys(tried.outcomes, tried)
        self.mark()

    @cached_property
    def curves(self) -> list[str]:
        """The metrics in the course of training that stand for the objectives."""
        return list(dict.fromkeys("accuracy" if name.startswith("accuracy") else name for name in self.metrics))

    @cached_property
    def milestones(self) -> dict[tuple[str, int], dict[str, tuple[float, ...]]]:
        """By branch and iteration: what the trials that came as far had there, those of earlier drivers, too."""
        found: dict[tuple[str, int], dict[str, tuple[float, ...]]] = {}
        if (stop := self.settings.stop_early) is None:
            return found
        begun = [(tried, job) for tried in self.every for job in tried.jobs if job.key in self.runs]
        for tried, job in begun:
            curves = [self._curve(self.runs[job.key], metric) for metric in self.curves]
            common = sorted(set(curves[0]).intersection(*curves))
            for at in milestones(stop, job.steps):
                if steps := [step for step in common if step >= at]:
                    place = tuple(curve[steps[0]] for curve in curves)
                    found.setdefault((tried.branch.id, at), {})[job.key] = place
        return found

    def _curve(self, run: Run, metric: str) -> dict[int, float]:
        return {entry.step: entry.value for entry in self.client.get_metric_history(run.info.run_id, metric)}

    def _tried(self, branch: Branch, found: Sequence[Point]) -> list[Tried]:
        several = points.tried(self.study, self.snapshot, branch, found, self.retry_failed)
        if len(several) < len(found):  # its NIP has no pre-training
            self.exhausted.add(branch)
        return several

    def _outcome(self, job: TrialJob) -> Outcome:
        return points.outcome(job, self.runs.get(job.key), self.metrics, self.retry_failed)

    def _of(self, trial: str) -> Tried:
        return next(tried for tried in self.every if trial in tried.outcomes)

    def _left(self) -> Job | None:
        """A job of a point that was proposed before."""
        for tried in self.every:
            if tried.outcome.state != LEFT:
                continue
            for job in tried.jobs:
                waits = job.key in self.unread or job.key in self.running.values()
                if tried.outcomes[job.key].state == LEFT and not waits:
                    run = self.runs.get(job.key)
                    is_trained = run is not None and run.info.status == "FINISHED"
                    todo: Job = job.follow_ups[0] if is_trained else job
                    self.running[todo.key] = job.key
                    return todo
        return None

    def _propose(self) -> None:
        """Propose a point of the branch that has the fewest."""
        short = [branch for branch, tried in self.tried.items() if len(tried) < self.settings.points]
        for branch in sorted(short, key=lambda branch: len(self.tried[branch])):
            if branch in self.exhausted:
                continue
            told = [*self.known[branch], *(tried.told for tried in self.tried[branch])]
            found = propose(self.settings, told)
            several = self._tried(branch, [Point(len(self.tried[branch]), *found)]) if found else []
            if several:
                self.client.set_experiment_tag(self.snapshot.experiment_id, *several[0].point.tag(branch))
                self.tried[branch] += several
                return
            if branch not in self.exhausted:
                self.remark(f"{branch.camera} {branch.isp}: no further point is left to search")
                self.exhausted.add(branch)

    def _look(self) -> None:
        """See what has arrived in the tracker since; and let it know what was stopped."""
        if self.unread and time.monotonic() >= self.next_look:
            self.next_look = time.monotonic() + LOOK_SECONDS
            for trial in list(self.unread):
                self._read(trial)
        self.mark()

    def _read(self, trial: str) -> None:
        run = tracking.find(self.client, self.snapshot.experiment_id, trial)
        is_closed = run is not None and run.info.status in ("FINISHED", "FAILED")
        if not is_closed and delivery.is_pending(Storage(self.study.storage), trial):
            return
        if run is not None:
            self.runs[trial] = run
        tried = self._of(trial)
        tried.outcomes[trial] = self._outcome(next(job for job in tried.jobs if job.key == trial))
        self.unread.discard(trial)

    def _reaches(self, action: Callable[[], None]) -> bool:
        """Do what needs the tracker. False where it is away, and then it is left alone for a while."""
        if time.monotonic() < self.next_try:
            return False
        try:
            action()
        except (MlflowException, OSError) as error:
            if not tracking.is_away(error):
                raise
            self.remark(f"tracking is away ({one_line(error, 200)}); new points wait for it")
            self.next_try = time.monotonic() + PAUSE
            return False
        return True
