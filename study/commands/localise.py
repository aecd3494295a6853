"""Try every finished trial of a study on composites: a job for each, scheduled like trials."""

import pandas as pd

from study.execution.driver import Preflight, at_work, stage
from study.jobs.localise import METRIC, LocaliseJob
from study.settings import Study, StudyError

COLUMNS = ("auc", "f1", "everything", "pristine_flagged", "pristine_alarms", "prnu_auc", "prnu_f1")


def localise(
    study: Study, preflight: Preflight, address: str = "local", retry_failed: bool = False
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Try every finished trial of the grid, as far as that is not done yet.

    Foreign content comes from the study's next camera, of the last one from the first.

    Returns:
        A table, and why some failed, by name. The table has a row for each trial: its places on the axes,
        ``photographs`` ("test" where the study has such, else "validation"), and the metrics of
        :mod:`study.jobs.localise`, NaN for PRNU where that was not tried.

    Raises:
        StudyError: no finished trial; cameras, tracking or cluster are not there.
    """
    with at_work(study, preflight, address, retry_failed) as session:
        snapshot = session.snapshot()
        trials = [job for job in session.grid(snapshot).ready if job.key in snapshot.finished]
        if not trials:
            raise StudyError(f"study {study.name} has no finished trial yet: python -m study run STUDY")
        names = list(session.cameras)
        following = dict(zip(names, [*names[1:], names[0]], strict=True))
        others = {
            name: None if other == name else (other, session.cameras[other].data_hash)
            for name, other in following.items()
        }
        jobs = [LocaliseJob.plan(trial, others[trial.trial.camera], study.localisation) for trial in trials]
        failures = stage("localisation", session, jobs)
        runs = session.snapshot().by_key
    rows = []
    for trial in trials:
        metrics, tested = runs[trial.key].data.metrics, trial.trial.split.test > 0
        found = {name: metrics.get(f"{'test_' if tested else ''}{METRIC}_{name}") for name in COLUMNS}
        if found["auc"] is not None:
            rows.append({**trial.axes, "photographs": "test" if tested else "validation", **found})
    axes = list(dict.fromkeys(axis for trial in trials for axis in trial.axes))
    table = pd.DataFrame(rows, columns=[*axes, "photographs", *COLUMNS])
    return table.astype(dict.fromkeys(COLUMNS, float)), failures
