"""How a study stands: what of its grid is finished, failed, running or still to do, and how fast it goes."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Run

from study import tracking
from study.execution.cameras import open_cameras
from study.execution.driver_lock import is_driven
from study.jobs.plan import place, resolve
from study.settings import Planned, Study, StudyError

FINISHED, RUNNING, FAILED, LEFT = "finished", "running", "failed", "left"
WAITING = "waiting for data or pre-training"
RECENT = 20  # finished trials that the speed is measured on


@dataclass(frozen=True)
class Survey:
    """``statuses`` and ``keys`` go with ``planned``; a trial without pre-trained NIP has no key yet.

    ``trials_per_hour`` is the speed over the last trials that finished, None before there are two.
    """

    planned: tuple[Planned, ...]
    keys: tuple[str | None, ...]
    statuses: tuple[str, ...]
    trials_per_hour: float | None

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(self.statuses)
        return {status: found[status] for status in (FINISHED, RUNNING, FAILED, LEFT, WAITING)}

    @property
    def plan(self) -> list[dict[str, Any]]:
        """The planned trials as :mod:`study.results` takes them."""
        return [
            {
                "camera": item.trial.camera,
                "isp": item.trial.isp,
                "lambda": item.trial.lam,
                "seed": item.trial.seed,
                "key": key,
                **item.axes,
            }
            for item, key in zip(self.planned, self.keys, strict=True)
        ]

    @property
    def seconds_to_go(self) -> float | None:
        left = sum(self.counts[status] for status in (RUNNING, LEFT, WAITING))
        return 3600 * left / self.trials_per_hour if self.trials_per_hour else None


def survey(study: Study) -> Survey:
    """Look at a study without changing or starting anything.

    Raises:
        StudyError: tracking cannot be used.
    """
    planned = tuple(study.planned())
    client = tracking.look(tracking.tracking_uri(study))
    found = client.get_experiment_by_name(study.name) if client else None
    runs = tracking.runs_by_key(client, found.experiment_id) if client and found else {}
    try:
        cameras = open_cameras(study)
    except StudyError:  # not imported, not simulated yet, or damaged, as `check` and `run` say: everything waits
        return Survey(planned, (None,) * len(planned), (WAITING,) * len(planned), None)
    keys = resolve(study, cameras, place(study, experiment_id="")).keys
    driven = client is not None and found is not None and is_driven(client, found.experiment_id)
    statuses = tuple(_status(key, runs, driven) for key in keys)
    return Survey(planned, keys, statuses, _speed([runs[key] for key in keys if key in runs]))


def _status(key: str | None, runs: dict[str, Run], driven: bool) -> str:
    if key is None:
        return WAITING
    if key not in runs:
        return LEFT
    status = runs[key].info.status
    if status == "RUNNING":
        return RUNNING if driven else LEFT  # its driver was killed
    return {"FINISHED": FINISHED, "FAILED": FAILED}.get(status, LEFT)


def _speed(runs: list[Run]) -> float | None:
    ends = sorted(run.info.end_time for run in runs if run.info.status == "FINISHED")[-RECENT:]
    if len(ends) < 2 or ends[-1] == ends[0]:
        return None
    return (len(ends) - 1) / ((ends[-1] - ends[0]) / 3_600_000)
