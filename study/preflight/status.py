"""How a study stands: what of its grid is finished, failed, running or still to do, and how long that takes."""

from collections import Counter
from dataclasses import dataclass

from study.execution.driver_lock import is_driven
from study.jobs.plan import Grid, resolve
from study.preflight.estimate import Estimate, estimate
from study.search import points
from study.search.forecast import counts
from study.settings import Study
from study.tracking import Snapshot

FINISHED, RUNNING, FAILED, LEFT = "finished", "running", "failed", "left"
WAITING = "waiting for data or pre-training"


@dataclass(frozen=True)
class Status:
    """``statuses`` goes with the trials of ``grid``; ``cost`` is what is left, with as many slots as are at work.

    ``search`` counts the points of the study's search, see :func:`study.search.forecast.counts`; empty without one.
    """

    grid: Grid
    statuses: tuple[str, ...]
    cost: Estimate
    search: dict[str, int]

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(self.statuses)
        return {status: found[status] for status in (FINISHED, RUNNING, FAILED, LEFT, WAITING)}

    @property
    def seconds_to_go(self) -> float | None:
        """Until all is done; None as long as something has no measured speed."""
        return None if self.cost.unknown else self.cost.seconds_to_go


def status(study: Study, snapshot: Snapshot | None) -> Status:
    """Look at a study without changing or starting anything. Neither pairs nor NIP files are needed.

    Time to go is that of as many jobs at a time as run now, or else as this machine has room for.

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
    at_work = [states.get(key) for key in {*grid.keys, *(job.key for job in grid.before_trials)} if key]
    slots = at_work.count("RUNNING") if driven else None
    searched = counts(study, points.every(study, snapshot)) if study.search else {}
    return Status(grid, tuple(statuses), estimate(study, grid, snapshot, slots), searched)
