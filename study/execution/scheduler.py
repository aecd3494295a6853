"""Ray Tune: many jobs on whatever hardware there is.

Tune decides what runs where and restarts a job after its process or node was lost. A job finds its own progress, in the
checkpoint of its key: so it resumes on any worker, under any driver, and no state of Ray's has to be restored.

The search space is the keys of the jobs and their places on the study's axes, so that Tune's dashboard, schedulers and
searchers see what a person would. The jobs themselves travel once, as the parameter ``plan``; those of a search, which
are made while others run, each with its config.
"""

import logging
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.job_config import JobConfig

from cameras.errors import one_line
from study import CHECKOUT
from study.execution.failures import forget
from study.execution.place import Place
from study.execution.ray_folder import ray_folder
from study.execution.source import JOB, Asks, Source, Stops
from study.jobs import Context, Job, from_text, to_text
from study.settings import Resources, StudyError, secrets
from study.storage.retry import retry

REPORT_SECONDS = 1.0

ENVIRONMENT = {
    # Every trial runs in a new thread of its worker: with an arena for each, memory grows by 50 MB a trial.
    "MALLOC_ARENA_MAX": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow keeps the metrics
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the command, not just the stage
}
HANDED_ON = (  # where the driver has them: what opens its tracker and its bucket
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_S3_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_ACCESS_KEY",
    "PGPASSWORD",
)

METRICS = ("accuracy", "psnr", "ssim")  # of a trial, as Tune shows them
LATER = ("accuracy_real",)  # once there is one


def _key(trial: Any) -> str:
    return trial.config["key"]


PER_KEY: dict[str, Any] = {
    "reuse_actors": True,  # 0.1 s instead of 3 s to start a job: torch stays imported
    "trial_name_creator": _key,
    "trial_dirname_creator": _key,
}
OnProgress = Callable[[str, int, bool], None]  # key, finished steps, whether it has ended


def connect(address: str) -> None:
    """Join the cluster at ``address`` (``auto``: the one this machine belongs to), or start Ray on this machine
    alone (``local``), without dashboard. Joining twice is joining once.

    Raises:
        StudyError: there is no such cluster.
    """
    environment = ENVIRONMENT | python_path()
    os.environ.update(environment)
    # Tune logs every lost process with pages of traceback; on_trial_recover reports it in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {}
    if address == "local":
        options = {"include_dashboard": False, "object_store_memory": 256 * 2**20, "_temp_dir": ray_folder()}
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
            reason = one_line(error)
            raise StudyError(f"no Ray cluster at '{address}': {reason}") from error


def credentials() -> dict[str, str]:
    """Names and passwords of tracker and bucket that workers need, by the variables of the environment that hold them.

    They travel as arguments: Ray writes the environment that it gives to workers into its logs.
    """
    return {name: os.environ[name] for name in (*HANDED_ON, *secrets.moved) if name in os.environ}


def python_path() -> dict[str, str]:
    """Where workers find this project, before all that the user's own PYTHONPATH names."""
    if CHECKOUT is None:  # an installed wheel is found without it
        return {}
    further = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(CHECKOUT)]
    return {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), *further])}


def schedule(
    jobs: Sequence[Job],
    context: Context,
    resources: Resources,
    folder: Path,
    on_progress: OnProgress,
    trainable: Callable[..., None] | None = None,
) -> dict[str, str]:
    """Run all jobs; returns why those failed that did, by key.

    Args:
        jobs: what to do, most important first.
        context: where.
        resources: what a job is given, and how often it is restarted after its process or node was lost.
        folder: where Tune may keep its notes while it runs; they are never read.
        on_progress: called for every job that made progress.
        trainable: what a worker does with the key of a job; :func:`run_on_worker` where not given.
    """
    if not jobs:
        return {}
    retry(lambda: forget(context.store, {job.key for job in jobs}))  # failures count within one run of a study
    watcher = _Watcher(on_progress, {})
    _fit(
        {job.key: to_text(job) for job in jobs},
        _search_space(jobs),
        tune.TuneConfig(**PER_KEY),
        watcher,
        context,
        resources,
        folder,
        trainable or run_on_worker,
    )
    return watcher.failures


def schedule_from(
    source: Source, context: Context, resources: Resources, folder: Path, on_progress: OnProgress
) -> dict[str, str]:
    """Run jobs that are made while others run; returns why those failed that did, by key. Otherwise as
    :func:`schedule`.
    """
    watcher = _Watcher(on_progress, {}, source)
    config = tune.TuneConfig(search_alg=Asks(source, context.store), scheduler=Stops(source), num_samples=-1, **PER_KEY)
    _fit({}, {}, config, watcher, context, resources, folder, run_on_worker)
    return watcher.failures


def _fit(
    plan: Mapping[str, str],
    space: dict[str, Any],
    config: tune.TuneConfig,
    watcher: "_Watcher",
    context: Context,
    resources: Resources,
    folder: Path,
    trainable: Callable[..., None],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    notes = tempfile.mkdtemp(dir=folder)
    run = tune.with_parameters(
        trainable,
        plan=dict(plan),
        context=context.model_dump_json(),
        credentials=credentials(),
        driver=Path(notes).name,
    )
    tuner = tune.Tuner(
        tune.with_resources(run, {"cpu": resources.cpus, "gpu": resources.gpus}),
        param_space=space,
        tune_config=config,
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


def _search_space(jobs: Sequence[Job]) -> dict[str, Any]:
    """The grid of keys, and beside each key its places on the axes."""
    places = {job.key: job.axes for job in jobs}
    axes = dict.fromkeys(axis for place in places.values() for axis in place)
    return {
        "key": tune.grid_search(list(places)),
        **{axis: tune.sample_from(lambda config, axis=axis: places[config["key"]].get(axis)) for axis in axes},
    }


def run_on_worker(
    config: dict[str, Any], plan: Mapping[str, str], context: str, credentials: Mapping[str, str], driver: str = "0"
) -> None:
    """What a worker does: run the job of a key.

    What it raises ends the process: Tune never gives an actor that failed to another job.
    """
    os.environ.update(credentials)
    from study.execution.attempts import attempt  # imports torch and MLflow, which the driver's start need not wait for

    where = Context.model_validate_json(context)
    job = from_text(config[JOB] if JOB in config else plan[config["key"]])
    last, iteration, metrics = time.monotonic(), 0, dict.fromkeys(METRICS, math.nan)

    def report(**more: Any) -> None:
        nonlocal last
        last = time.monotonic()
        tune.report({"iteration": iteration, **metrics, **more})

    def on_progress(steps: int, found: Mapping[str, float]) -> None:
        nonlocal iteration
        iteration = steps
        metrics.update({name: found[name] for name in (*METRICS, *LATER) if name in found})
        if found or time.monotonic() - last >= REPORT_SECONDS:
            report()

    failure = attempt(job, where, _place(where, driver), on_progress, lambda text: report(remark=text))
    iteration = job.steps
    report(failure=failure, ended=True)


def _place(context: Context, driver: str) -> Place:
    """The machine or card that Ray has given to this process."""
    card = "" if context.device == "cpu" else os.environ.get("CUDA_VISIBLE_DEVICES", "")
    nodes = ray.nodes() if ray.is_initialized() else []
    takes_jobs = sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in nodes)
    return Place(ray.util.get_node_ip_address(), card, takes_jobs < 2, driver)


class _Watcher(tune.Callback):
    """Passes on what Tune sees."""

    def __init__(self, on_progress: OnProgress, failures: dict[str, str], source: Source | None = None) -> None:
        self.on_progress = on_progress
        self.failures = failures
        self.source = source

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks beside its notes; this one belongs to the running driver alone."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if remark := result.get("remark"):
            print(f"{_key(trial)[:8]}: {remark}", file=sys.stderr)
        if failure := result.get("failure"):
            self.failures[_key(trial)] = failure
        self.on_progress(_key(trial), result["iteration"], result.get("ended", False))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        print(f"{_key(trial)[:8]}: {_reason(trial)}; it resumes from its last checkpoint", file=sys.stderr)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It failed more often than it may."""
        self.failures[_key(trial)] = _reason(trial)
        self.on_progress(_key(trial), 0, True)
        self.on_trial_complete(iteration, trials, trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It ended, by itself or stopped."""
        if self.source is not None:
            self.source.ended(_key(trial), self.failures.get(_key(trial)))


def _reason(trial: Any) -> str:
    """What was raised at last, or that the process is gone."""
    path = Path(trial.error_file or "")
    text = path.read_text("utf-8", "replace") if path.is_file() else ""
    if not text or "ActorDiedError" in text or "NodeDiedError" in text:
        return "its process or node was lost"
    lines = text.strip().splitlines()
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]  # its text may have more lines
    return one_line((raised or lines)[-1])
