"""What a job tells the tracker. It never waits for it: what cannot be told now is told later."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException

from study import tracking
from study.settings import Frozen
from study.tracking import Description

PAUSE = 10.0  # seconds between two tries, and between two tellings
SHARE = 0.1  # of a job's time that tries may take, where each waits for its time-out


class Ending(Frozen):
    """How a job ended: FINISHED, with tags for its run, or FAILED by itself, for a reason."""

    status: Literal["FINISHED", "FAILED"]
    tags: dict[str, str]
    reason: str | None


class Logbook:
    """The run of one job. Every figure arrives once, in order, however often it is logged or has to be sent."""

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
        self.arrived: dict[str, set[int]] = {}  # steps that the run has of a figure; asked for when it is unknown
        self.doubts = False  # whether figures may have arrived that the run was without when it was opened
        self.next_try = 0.0
        self.is_away = False

    def before(self, figure: str) -> float:
        """What an earlier attempt at the job had logged last, 0 where there was none or the tracker is away."""
        self._try(self._open)
        return self.run.data.metrics.get(figure, 0.0) if self.run else 0.0

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Take down figures; now and then, they are told."""
        self.waiting += tracking.metrics(step, figures)
        if time.monotonic() >= self.next_try:
            self._try(self._tell)

    def close(self, ending: Ending, artifacts: Path) -> bool:
        """Tell all that is left, attach the files of a folder and end the run. False where the tracker is away."""

        def end() -> None:
            run_id = self._tell()
            self.client.log_artifacts(run_id, str(artifacts))
            for name, value in ending.tags.items():
                self.client.set_tag(run_id, name, value)
            if ending.status == "FINISHED":
                tracking.finish(self.client, run_id)
            else:
                tracking.fail(self.client, run_id, ending.reason or "")

        return self._try(end)

    def _try(self, action: Callable[[], object]) -> bool:
        started = time.monotonic()
        try:
            action()
        except (MlflowException, OSError) as error:
            if not tracking.is_away(error):
                raise
            self.arrived.clear()
            self.doubts = True  # a request may have been heeded although its answer was lost
            if not self.is_away:
                self.say(f"tracking is away ({_line(error)}); the job goes on, and its figures wait")
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

    def _tell(self) -> str:
        run_id = self._open()
        for name in {metric.key for metric in self.waiting} - self.arrived.keys():
            self.arrived[name] = self._logged(run_id, name)
        new = {(metric.key, metric.step): metric for metric in self.waiting}
        new = {(name, step): metric for (name, step), metric in new.items() if step not in self.arrived[name]}
        tracking.log_metrics(self.client, run_id, list(new.values()))
        for name, step in new:
            self.arrived[name].add(step)
        self.waiting.clear()
        return run_id

    def _logged(self, run_id: str, name: str) -> set[int]:
        if not self.doubts and self.run is not None and name not in self.run.data.metrics:
            return set()
        return {metric.step for metric in self.client.get_metric_history(run_id, name)}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
