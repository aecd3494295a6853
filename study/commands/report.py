"""The report of a study: its plan and provenance handed to the page that MLflow's figures fill."""

from pathlib import Path

import yaml

from study import tracking
from study.preflight.status import survey
from study.report.page import Provenance, report
from study.settings import Study, StudyError


def publish(study: Study) -> Path:
    """Write the report of a study, however far it has come, and return its path.

    Raises:
        StudyError: nothing has run yet.
    """
    uri = tracking.tracking_uri(study)
    if tracking.look(uri) is None:
        raise StudyError(f"study {study.name} has no results in {study.storage} yet: python -m study run")
    provenance = Provenance(
        settings=yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        simulated={camera.name: camera.simulate is not None for camera in study.cameras},
    )
    try:
        return report(
            study.name,
            uri,
            study.name,
            study.folder / "reports" / study.name,
            survey(study).plan,
            provenance,
        )
    except ValueError as error:
        raise StudyError(str(error)) from None
