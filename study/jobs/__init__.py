"""What can be done for a study: one file a kind of job, listed here."""

import json
from typing import Any

from study.jobs.evaluation import EvaluationJob
from study.jobs.fingerprints import FingerprintJob
from study.jobs.job import BaseJob, Callbacks, Context, Job, JobResult
from study.jobs.low_light import LowLightJob
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import TrialJob

KINDS: dict[str, Any] = {
    kind.kind: kind
    for kind in (
        PretrainingJob,
        TrialJob,
        EvaluationJob,
        FingerprintJob,
        LowLightJob,
    )
}


def to_text(job: Job) -> str:
    """A job as JSON: what travels to a worker."""
    return json.dumps({"kind": job.kind, "job": job.model_dump(mode="json")})


def from_text(text: str) -> Job:
    """The job of :func:`to_text`."""
    document = json.loads(text)
    return KINDS[document["kind"]].model_validate(document["job"])


__all__ = [
    "KINDS",
    "BaseJob",
    "Callbacks",
    "Context",
    "EvaluationJob",
    "FingerprintJob",
    "Job",
    "JobResult",
    "LowLightJob",
    "PretrainingJob",
    "TrialJob",
    "from_text",
    "to_text",
]
