"""How a study stands: what of its grid is finished, failed, running or still to do, and how fast it goes."""

from collections import Counter
from dataclasses import dataclass

from study.execution.driver_lock import is_driven
from study.jobs.plan import Grid, resolve
from study.settings import Study
from study.tracking import Snapshot

FINISHED, RUNNING, FAILED, LEFT = "finished", "running", "failed", "left"
WAITING = "waiting for data or pre-training"
RECENT = 20  # finished trials that the speed is measured on


@dataclass(frozen=True)
class Status:
    """``statuses`` goes with the trials of ``grid``.

    ``trials_per_hour`` is the speed over the last trials that finished, None before there are two.
    """

    grid: Grid
    statuses: tuple[str, ...]
    trials_per_hour: float | None

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(self.statuses)
        return {status: found[status] for status in (FINISHED, RUNNING, FAILED, LEFT, WAITING)}

    @property
    def seconds_to_go(self) -> float | None:
        left = sum(self.counts[status] for status in (RUNNING, LEFT, WAITING))
        return 3600 * left / self.trials_per_hour if self.trials_per_hour else None


def status(study: Study, snapshot: Snapshot | None) -> Status:
    """Look at a study without changing or starting anything. Neither pairs nor NIP files are needed.

    Raises:
        OSError: the storage fails.
    """
    grid = resolve(study, snapshot)
    runs = snapshot.by_key if snapshot else {}
    driven = snapshot is not None and is_driven(snapshot.client, snapshot.experiment_id)
    running = RUNNING if driven else LEFT  # its driver was killed
    known = {"FINISHED": FINISHED, "FAILED": FAILED, "RUNNING": running}
    states = {key: run.info.status for key, run in runs.items()}
    statuses = [WAITING if key is None else known.get(states.get(key, ""), LEFT) for key in grid.keys]
    ends = [runs[key].info.end_time for key in grid.keys if key and states.get(key) == "FINISHED"]
    return Status(grid, tuple(statuses), _speed(sorted(ends)[-RECENT:]))


def _speed(ends: list[int]) -> float | None:
    """Trials an hour, from the times at which they ended, in ms."""
    if len(ends) < 2 or ends[-1] == ends[0]:
        return None
    return (len(ends) - 1) / ((ends[-1] - ends[0]) / 3_600_000)
