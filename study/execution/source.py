"""Jobs that are made while others run: where they come from, and how Ray Tune asks for them."""

from collections.abc import Mapping
from typing import Any, Protocol

from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from study.execution.failures import forget
from study.jobs import Job, to_text
from study.storage import Storage
from study.storage.retry import retry

JOB = "job"  # in a config: a job that is in no plan


class Source(Protocol):
    """Makes jobs, and is told how they end.

    ``handed_out`` are the jobs that it has made so far, by their keys. ``left`` is how many it will still make, about.
    """

    handed_out: dict[str, Job]

    @property
    def left(self) -> int: ...

    @property
    def progress(self) -> str:
        """In words."""

    @property
    def is_over(self) -> bool:
        """Whether there will be no further job: every job that was handed out has ended."""

    def next(self) -> Job | None:
        """The next job; None where there is none at the moment."""

    def should_stop(self, key: str, iteration: int, found: Mapping[str, float]) -> bool:
        """Whether a running job is to be stopped, now that it has come to an iteration with these metrics."""

    def ended(self, key: str, failure: str | None) -> None:
        """A job has ended: finished or stopped, or it failed for this reason."""


class Asks(Searcher):
    """Tune's way to ask for the next job. What is known is told to the source by a callback."""

    def __init__(self, source: Source, store: Storage) -> None:
        super().__init__()
        self.source = source
        self.store = store

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves it beside its notes; it belongs to the running driver alone."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if (job := self.source.next()) is None:
            return Searcher.FINISHED if self.source.is_over else None
        retry(lambda: forget(self.store, {job.key}))
        return {"key": job.key, JOB: to_text(job), **job.axes}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the callback knows the job's key."""


class Stops(FIFOScheduler):
    """First come, first served; a job that is not worth its time is stopped."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        stops = not result.get("ended") and self.source.should_stop(trial.config["key"], result["iteration"], result)
        return self.STOP if stops else self.CONTINUE
