"""Give finished runs whose keys an older recipe made the keys that they have now, so that nothing is repeated."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from mlflow.entities import Run

from cameras.console import say
from forensics.evaluation import DIFFERENTIABLE
from study import tracking
from study.execution.driver_lock import driving
from study.jobs import keys
from study.jobs.evaluation import EvaluationJob
from study.jobs.keys import KEY_RECIPE, KEY_TAG
from study.jobs.plan import resolve
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import TrialJob
from study.jobs.verdict import METRIC as VERDICT
from study.settings import Study
from study.tracking import KEY, Snapshot

OLDER_RECIPE = 2
OLDER_SETTINGS = {
    "split": "train validation seed",
    "pretraining": "patch batch learning_rate max_iterations check_every window tolerance validation_patch "
    "validation_per_image textured precision seed",
    "training": "iterations batch patch learning_rate decay decay_every textured precision",
    "validation": "every accuracy_patches fidelity_patches textured seed",
    "channel": "downsample codec rounding subsampling",
}
FORMER = "former_key"  # tag of an adopted run


def adopt(study: Study) -> int:
    """Give the finished pre-trainings and trials of a study their new keys; returns how many were adopted.

    A run is adopted if the older recipe gives its key for exactly what the study asks for now: same settings, data and
    starting weights. The PRNU experiments are not adopted; they take minutes and run again.

    Raises:
        StudyError: nothing has run, tracking cannot be used, or a driver runs the study.
    """
    client, experiment_id = tracking.connect(study)
    with tracking.reachable(client.tracking_uri), driving(client, experiment_id, say):
        snapshot = tracking.snapshot(client, experiment_id)
        adopted = 0
        for job in resolve(study, snapshot).pretrainings:
            adopted += _adopt(snapshot, job) is not None
        snapshot = tracking.snapshot(client, experiment_id)  # with it, the trials know their NIPs
        for trial in resolve(study, snapshot).ready:
            if (run := _adopt(snapshot, trial)) is not None:
                adopted += 1
                _adopt_evaluations(snapshot, trial, run)
        for run in tracking.snapshot(client, experiment_id).runs:
            if KEY_TAG not in run.data.tags:  # nothing that the study asks for
                client.set_tag(run.info.run_id, KEY_TAG, str(OLDER_RECIPE))
        return adopted


def _adopt(snapshot: Snapshot, job: PretrainingJob | TrialJob) -> Run | None:
    """Give the finished run with the older key of a job its new one; None where there is no such run to adopt."""
    run = snapshot.finished.get(_older_key(job) or "")
    if run is None or job.key in snapshot.by_key:
        return None
    for name, value in ((FORMER, run.data.tags[KEY]), (KEY_TAG, KEY_RECIPE), (KEY, job.key)):
        snapshot.client.set_tag(run.info.run_id, name, value)
    return run


def _adopt_evaluations(snapshot: Snapshot, trial: TrialJob, run: Run) -> None:
    """What the trial was judged behind before counts as done."""
    for name in run.data.metrics:
        if name.startswith("accuracy_") and not name.startswith(VERDICT):
            parts = name.removeprefix("accuracy_").split("_")
            subsampling = [":".join(parts[2])] if len(parts) > 2 else []
            codec = DIFFERENTIABLE if parts == [DIFFERENTIABLE] else ":".join((*parts[:2], *subsampling))
            key = EvaluationJob.plan(trial, codec).key
            snapshot.client.set_tag(run.info.run_id, f"{tracking.ADDED}{key}", "FINISHED")


def _older_key(job: PretrainingJob | TrialJob) -> str | None:
    """The key of the older recipe, which hashed all its settings; None where another one differs from what it did."""
    content: dict[str, Any]
    if isinstance(job, TrialJob):
        settings = asdict(job.trial)
        content = {name: settings.pop(name) for name in ("camera", "isp", "lam", "seed")}
    else:
        settings = {"split": asdict(job.split), "pretraining": asdict(job.pretraining)}
        content = {"camera": job.camera, "isp": job.isp}
    known = {section: names.split() for section, names in OLDER_SETTINGS.items()}
    for name in keys.differences(settings):
        section, _, setting = name.partition(".")
        if setting and setting not in known.get(section, ()):
            return None
    content |= {
        section: {name: settings[section][name] for name in known[section]} for section in known.keys() & settings
    }
    if isinstance(job, TrialJob):
        content = {"trial": content | {"manipulations": job.trial.manipulations}, "nip": job.nip_sha256}
    content |= {"recipe": OLDER_RECIPE, "kind": job.kind, "data": job.data_hash}
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
