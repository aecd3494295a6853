"""The report of a study: its runs, its plan and its provenance handed to the page."""

from pathlib import Path
from typing import Any

import yaml

from cameras.console import say
from cameras.errors import redacted
from study.commands.app import calls, read
from study.jobs.plan import resolve
from study.report.page import Provenance, report
from study.search import points
from study.settings import Study, StudyError
from study.tracking import Snapshot

NAMED = 3  # missing artifacts


def write_report(study: Study, source: str = "STUDY") -> Path:
    """Write the report of a study, however far it has come, and return its path.

    Args:
        source: preset or file, as commands name the study.

    Raises:
        StudyError: nothing has run yet.
    """
    snapshot = read(study)
    if snapshot is None:
        raise StudyError(f"study {study.name} has no results in {study.storage} yet: python -m study run {source}")
    provenance = Provenance(
        settings=redacted(yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)),
        simulated={camera.name: camera.simulate is not None for camera in study.cameras},
        commands=calls(study, source),
        search=points.table(points.every(study, snapshot)),
        importances=_importances(study, snapshot),
    )
    folder = study.folder / "reports" / study.name
    page = report(study.name, snapshot, folder, resolve(study, snapshot).table, provenance)
    if missing := sorted(snapshot.missing):
        further = f", and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        say(f"artifacts are missing, and what the report would show of them: {', '.join(missing[:NAMED])}{further}")
    return page


def _importances(study: Study, snapshot: Snapshot) -> list[dict[str, Any]]:
    if study.search is None:
        return []
    from study.search.importances import importances  # imports Optuna, which takes a second

    return importances(study, snapshot)
