"""Give finished runs whose keys an older recipe made the keys that they have now, so that nothing is repeated."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mlflow.entities import Run

from cameras.console import say
from forensics.evaluation import DIFFERENTIABLE
from study import tracking
from study.execution.driver_lock import driving
from study.jobs import EvaluationJob, PretrainingJob, TrialJob, keys
from study.jobs.keys import KEY_RECIPE, KEY_TAG
from study.jobs.plan import resolve
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
            adopted += _adopt(snapshot, job.key, _older_pretraining_key(job)) is not None
        snapshot = tracking.snapshot(client, experiment_id)  # with it, the trials know their NIPs
        for trial in resolve(study, snapshot).ready:
            found = _adopt(snapshot, trial.key, _older_trial_key(trial))
            if found is not None:
                adopted += 1
                _adopt_evaluations(snapshot, trial, found)
        for run in tracking.snapshot(client, experiment_id).runs:
            if KEY_TAG not in run.data.tags:  # nothing that the study asks for
                client.set_tag(run.info.run_id, KEY_TAG, str(OLDER_RECIPE))
        return adopted


def _adopt(snapshot: Snapshot, key: str, older: str | None) -> Run | None:
    """Give the run with an older key its new one; None where there is no such run to adopt."""
    run = snapshot.by_key.get(older) if older else None
    if run is None or run.info.status != "FINISHED" or key in snapshot.by_key:
        return None
    for name, value in ((FORMER, run.data.tags[KEY]), (KEY_TAG, KEY_RECIPE), (KEY, key)):
        snapshot.client.set_tag(run.info.run_id, name, value)
    return run


def _adopt_evaluations(snapshot: Snapshot, trial: TrialJob, run: Run) -> None:
    """What the trial was judged behind before counts as done."""
    for name in run.data.metrics:
        if name.startswith("accuracy_"):
            parts = name.removeprefix("accuracy_").split("_")
            subsampling = [":".join(parts[2])] if len(parts) > 2 else []
            codec = DIFFERENTIABLE if parts == [DIFFERENTIABLE] else ":".join((*parts[:2], *subsampling))
            key = EvaluationJob.plan(trial, codec).key
            snapshot.client.set_tag(run.info.run_id, f"{tracking.ADDED}{key}", "FINISHED")


def _older_pretraining_key(job: PretrainingJob) -> str | None:
    settings = _older_settings({"split": asdict(job.split), "pretraining": asdict(job.pretraining)})
    if settings is None:
        return None
    return _older_key("pretrain", {"camera": job.camera, "isp": job.isp, **settings, "data": job.data_hash})


def _older_trial_key(job: TrialJob) -> str | None:
    settings = asdict(job.trial)
    identity = {name: settings.pop(name) for name in ("camera", "isp", "lam", "seed")}
    older = _older_settings(settings)
    if older is None:
        return None
    return _older_key("trial", {"trial": identity | older, "data": job.data_hash, "nip": job.nip_sha256})


def _older_settings(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings that the older recipe knew; None where another one differs from what was done then."""
    known = {section: names.split() for section, names in OLDER_SETTINGS.items()}
    for name in keys.differences(settings):
        section, _, setting = name.partition(".")
        if setting and setting not in known.get(section, ()):
            return None
    older = {section: {name: settings[section][name] for name in known[section]} for section in known.keys() & settings}
    return older | {name: value for name, value in settings.items() if name == "manipulations"}


def _older_key(kind: str, content: Mapping[str, Any]) -> str:
    """As the older recipe hashed all settings of a job."""
    text = json.dumps({"recipe": OLDER_RECIPE, "kind": kind, **content}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
