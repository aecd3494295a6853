"""What can be done for a study: one file a kind of job, listed here."""

import json
from pkgutil import resolve_name
from typing import Any

from study.jobs.job import BaseJob, Callbacks, Context, Job, JobResult

# To add a kind of job, write its class into a new file of study/jobs/, and add one line here: module:class.
CLASSES = (
    "study.jobs.pretraining:PretrainingJob",
    "study.jobs.codec_pretraining:CodecPretrainingJob",
    "study.jobs.trial:TrialJob",
    "study.jobs.evaluation:EvaluationJob",
    "study.jobs.verdict:VerdictJob",
    "study.jobs.localise:LocaliseJob",
    "study.jobs.fingerprints:FingerprintJob",
    "study.jobs.low_light:LowLightJob",
)

KINDS: dict[str, Any] = {kind.kind: kind for kind in map(resolve_name, CLASSES)}


def to_text(job: Job) -> str:
    """A job as JSON: what travels to a worker."""
    return json.dumps({"kind": job.kind, "job": job.model_dump(mode="json")})


def from_text(text: str) -> Job:
    """The job of :func:`to_text`."""
    document = json.loads(text)
    return KINDS[document["kind"]].model_validate(document["job"])
