"""The report of a study: its runs, its plan and its provenance handed to the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from cameras.console import say
from cameras.errors import redacted
from study.commands.app import calls, read
from study.jobs.plan import resolve
from study.report.content import Content
from study.report.page import Provenance, report
from study.search import points
from study.settings import Study, StudyError
from study.tracking import Snapshot

NAMED = 3  # missing artifacts


@dataclass(frozen=True)
class Gathered:
    """What the report of a study is made of."""

    snapshot: Snapshot
    plan: Sequence[Mapping[str, Any]]
    provenance: Provenance

    @classmethod
    def of(cls, study: Study, source: str = "STUDY") -> Self:
        """Read all of it.

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
        return cls(snapshot, resolve(study, snapshot).table, provenance)

    @property
    def content(self) -> Content:
        return Content.of(self.snapshot, self.plan, self.provenance)


def write_report(study: Study, source: str = "STUDY") -> Path:
    """Write the report of a study, however far it has come, and return its path. As :meth:`Gathered.of`."""
    gathered = Gathered.of(study, source)
    folder = study.folder / "reports" / study.name
    page = report(study.name, gathered.snapshot, folder, gathered.plan, gathered.provenance)
    say_missing(gathered.snapshot, "report")
    return page


def say_missing(snapshot: Snapshot, what: str) -> None:
    """Name the artifacts that were looked for in vain."""
    if missing := sorted(snapshot.missing):
        further = f", and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        say(f"artifacts are missing, and what the {what} would show of them: {', '.join(missing[:NAMED])}{further}")


def _importances(study: Study, snapshot: Snapshot) -> list[dict[str, Any]]:
    if study.search is None:
        return []
    from study.search.importances import importances  # imports Optuna, which takes a second

    return importances(study, snapshot)
