"""A search as a file that optuna-dashboard opens: one study for each camera × ISP."""

import tempfile
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from cameras import atomic
from study.search import points
from study.search.sampler import as_optuna
from study.settings import Study
from study.tracking import Snapshot


def export(study: Study, snapshot: Snapshot, path: Path) -> None:
    """Write a journal of Optuna's: lines of JSON. Points that the grid or another search has run come first.

    A point's attribute ``trial_keys`` holds the keys of its trials, as ``rerun`` takes them.
    """
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        storage = JournalStorage(JournalFileBackend(str(journal)))
        for branch in points.branches(study):
            tried = points.tried(study, snapshot, branch, points.proposed(snapshot.tags, branch))
            told = [*points.known(study, snapshot, branch, [one.point.values for one in tried])]
            told += [one.told for one in tried]
            name = f"{study.name} {branch.camera} {branch.isp}"
            as_optuna(points.section(study), told, name=name, storage=storage)
        atomic.write(path, journal.read_bytes())
