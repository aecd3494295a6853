"""Log what a job finds to the tracker, without ever waiting for it: what cannot be sent now is sent later."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException

from cameras.errors import one_line
from study import tracking
from study.settings import Frozen
from study.tracking import Description

PAUSE = 10.0  # seconds between two tries, and between two flushes
SHARE = 0.1  # of a job's time that tries may take, where each waits for its time-out
CHECKPOINT = "checkpoint"  # tag: where the newest checkpoint of a running job lies


class Ending(Frozen):
    """How a job ended: FINISHED, with tags for its run, or FAILED by itself, for a reason."""

    status: Literal["FINISHED", "FAILED"]
    tags: dict[str, str]
    reason: str | None


class RunLogger:
    """The run of one job. Every metric arrives once, in order, however often it is logged or has to be sent."""

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        description: Description,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.description = description
        self.say = say
        self.run: Run | None = None
        self.waiting: list[Metric] = []
        self.checkpoint = ""  # where the newest one lies, as long as the run does not know
        self.arrived: dict[str, set[int]] = {}  # steps that the run has of a metric; asked for when it is unknown
        self.doubts = False  # whether metrics may have arrived that the run did not have when it was opened
        self.next_try = 0.0
        self.is_away = False

    def before(self, metric: str) -> float:
        """The last value that an earlier attempt at the job logged; 0 if there is none or the tracker is away."""
        self._try(self._open)
        return self.run.data.metrics.get(metric, 0.0) if self.run else 0.0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep metrics; flush them now and then."""
        self.waiting += tracking.metrics(step, metrics)
        if time.monotonic() >= self.next_try:
            self._try(self._flush)

    def flush(self) -> None:
        """Send what waits, if the tracker is there."""
        self._try(self._flush)

    def log_checkpoint(self, where: str) -> None:
        """Let the run say where its newest checkpoint lies, at the next flush."""
        self.checkpoint = where

    def close(self, ending: Ending, artifacts: Path) -> bool:
        """Flush all that is left, attach the files of a folder and end the run. False if the tracker is away."""

        def end() -> None:
            if ending.status == "FINISHED":
                self.checkpoint = ""  # its checkpoints will be removed
            run_id = self._flush()
            tracking.log_artifacts(self.client, run_id, str(artifacts))
            for name, value in ending.tags.items():
                self.client.set_tag(run_id, name, value)
            if ending.status == "FINISHED":
                if CHECKPOINT in self.client.get_run(run_id).data.tags:
                    self.client.delete_tag(run_id, CHECKPOINT)
                tracking.finish(self.client, run_id, self.description)
            else:
                tracking.fail(self.client, run_id, self.description, ending.reason or "")

        return self._try(end)

    def _try(self, action: Callable[[], object]) -> bool:
        started = time.monotonic()
        try:
            action()
        except (MlflowException, OSError) as error:
            if not tracking.is_away(error):
                raise
            self.arrived.clear()
            self.doubts = True  # a request may have succeeded although its answer was lost
            if not self.is_away:
                self.say(f"tracking is away ({one_line(error, 200)}); the job continues, and its metrics wait")
            self.is_away = True
            return False
        finally:
            ended = time.monotonic()
            self.next_try = ended + max(PAUSE, (ended - started) / SHARE)
        self.is_away = False
        return True

    def _open(self) -> str:
        if self.run is None:
            self.run = tracking.open_run(self.client, self.experiment_id, self.description)
        return self.run.info.run_id

    def _flush(self) -> str:
        run_id = self._open()
        for name in {metric.key for metric in self.waiting} - self.arrived.keys():
            self.arrived[name] = self._logged(run_id, name)
        new = {(metric.key, metric.step): metric for metric in self.waiting}
        new = {(name, step): metric for (name, step), metric in new.items() if step not in self.arrived[name]}
        tracking.log_metrics(self.client, run_id, list(new.values()))
        for name, step in new:
            self.arrived[name].add(step)
        self.waiting.clear()
        if self.checkpoint:
            self.client.set_tag(run_id, CHECKPOINT, self.checkpoint)
            self.checkpoint = ""
        return run_id

    def _logged(self, run_id: str, name: str) -> set[int]:
        if not self.doubts and self.run is not None and name not in self.run.data.metrics:
            return set()
        return {metric.step for metric in self.client.get_metric_history(run_id, name)}
