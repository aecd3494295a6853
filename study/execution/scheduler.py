"""Ray Tune: many jobs on whatever hardware there is.

Tune decides what runs where and starts a job again after its process or node was lost. What a job has already
achieved it finds itself, in the checkpoint of its key: so it goes on where it stopped, on whichever worker, under
whichever driver, and no state of Ray's need be restored.
"""

import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from pydantic import TypeAdapter
from ray import tune
from ray.job_config import JobConfig

from study import CHECKOUT
from study.jobs import Job
from study.settings import Resources, StudyError

REPORT_SECONDS = 1.0

ENVIRONMENT = {
    # Every trial runs in a new thread of its worker: with an arena for each, memory grows by 50 MB a trial.
    "MALLOC_ARENA_MAX": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow keeps the figures
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the command, not just the stage
    **({"PYTHONPATH": str(CHECKOUT)} if CHECKOUT else {}),  # an installed wheel is found without it
}
HANDED_ON = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)  # where the driver has them

OnProgress = Callable[[str, int, bool], None]  # key, finished steps, whether it has ended


def connect(address: str) -> None:
    """Join the cluster at ``address`` (``auto``: the one this machine belongs to), or start Ray on this machine
    alone (``local``), without dashboard. Joining twice is joining once.

    Raises:
        StudyError: there is no such cluster.
    """
    os.environ.update(ENVIRONMENT)
    environment = ENVIRONMENT | {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    # Tune logs every lost process with pages of traceback; on_trial_recover says it in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {}
    if address == "local":
        options = {"include_dashboard": False, "object_store_memory": 256 * 2**20}
    if not ray.is_initialized():
        try:
            ray.init(
                address=address,
                # Else Ray puts the folder where the command was called before all others on its workers' path, where
                # a folder `models` of the user's own would take the place of ours.
                job_config=JobConfig(_client_job=True),
                runtime_env={"env_vars": environment},
                log_to_driver=False,
                logging_level="error",
                **options,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise StudyError(f"no Ray cluster at '{address}': {reason}") from error


def schedule(
    jobs: Sequence[Job],
    resources: Resources,
    folder: Path,
    on_progress: OnProgress,
    perform: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, str]:
    """Perform all jobs; returns why those failed that did, by key.

    Args:
        jobs: what to do, most important first.
        resources: what a job is given, and how often it is started again after its process or node was lost.
        folder: where Tune may keep its notes while it runs; they are never read.
        on_progress: told about every job that got further.
        perform: what a worker does with ``{"job": …}``; :func:`perform_on_worker` where not given.
    """
    if not jobs:
        return {}
    failures: dict[str, str] = {}
    adapter = TypeAdapter(Job)
    watcher = _Watcher(on_progress, failures)
    folder.mkdir(parents=True, exist_ok=True)
    notes = tempfile.mkdtemp(dir=folder)
    tuner = tune.Tuner(
        tune.with_resources(perform or perform_on_worker, {"cpu": resources.cpus, "gpu": resources.gpus}),
        # As text: Tune copies the whole grid for each of its trials, which for 1,320 nested settings takes minutes.
        param_space={"job": tune.grid_search([adapter.dump_json(job).decode() for job in jobs])},
        tune_config=tune.TuneConfig(
            reuse_actors=True,  # 0.1 s instead of 3 s to start a job: torch stays imported
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="notes",
            storage_path=notes,
            failure_config=tune.FailureConfig(max_failures=resources.max_failures),
            callbacks=[watcher],
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(notes, ignore_errors=True)
    return failures


def _name(trial: Any) -> str:
    return json.loads(trial.config["job"])["key"]


def perform_on_worker(config: dict[str, Any], work: Any = None) -> None:
    """What a worker does: the job, or something else in its place (:func:`study.execution.worker.perform`)."""
    from study.execution.worker import perform  # imports torch and MLflow, which the driver's start need not wait for

    job: Job = TypeAdapter(Job).validate_json(config["job"])
    last, steps = time.monotonic(), 0

    def on_step(done: int) -> None:
        nonlocal last, steps
        steps = done
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            tune.report({"steps": done})

    failure = perform(job, on_step, lambda text: tune.report({"steps": steps, "said": text}), work)
    tune.report({"steps": job.steps, "failure": failure, "ended": True})


class _Watcher(tune.Callback):
    """Passes on what Tune sees."""

    def __init__(self, on_progress: OnProgress, failures: dict[str, str]) -> None:
        self.on_progress = on_progress
        self.failures = failures

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks beside its notes; this one belongs to the running driver alone."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if said := result.get("said"):
            print(f"{_name(trial)[:8]}: {said}", file=sys.stderr)
        if failure := result.get("failure"):
            self.failures[_name(trial)] = failure
        self.on_progress(_name(trial), result["steps"], result.get("ended", False))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        print(f"{_name(trial)[:8]}: {_reason(trial)}; it goes on from its last checkpoint", file=sys.stderr)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It failed more often than it may."""
        self.failures[_name(trial)] = _reason(trial)
        self.on_progress(_name(trial), 0, True)


def _reason(trial: Any) -> str:
    """The last line of what was raised, or that the process is gone."""
    text = Path(trial.error_file).read_text() if trial.error_file and Path(trial.error_file).exists() else ""
    if not text or "ActorDiedError" in text or "NodeDiedError" in text:
        return "its process or node was lost"
    return text.strip().splitlines()[-1]
