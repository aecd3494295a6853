"""Run one job in this process: load, train, log. The same code on a cluster's worker and in a debugger."""

import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from cameras.errors import redacted
from models.checkpoint import CheckpointError, Write
from study import tracking
from study.execution import card, delivery, faults
from study.execution.checkpoints import Checkpoints
from study.execution.run_logger import Ending, RunLogger
from study.jobs import Callbacks, Context, Job, JobResult
from study.jobs.job import hash_tag
from study.jobs.keys import KEY_RECIPE, KEY_TAG
from study.settings import StudyError
from study.storage import Storage
from study.storage.cache import file_sha256
from study.storage.retry import JOB_SECONDS, retry
from study.tracking import Description, State

Say = Callable[[str], None]
OnProgress = Callable[[int, Mapping[str, float]], None]  # finished steps, and metrics where there are new ones
Judge = Callable[
    [Exception, int], str | None
]  # an error and the step it came at: why the job would fail again, or None


def run(
    job: Job,
    context: Context,
    on_progress: OnProgress = lambda steps, metrics: None,
    say: Say = lambda text: None,
    judge: Judge = faults.own_fault,
) -> str | None:
    """Run the job and log it, unless it is done already. Returns why it failed if it would fail again.

    Args:
        job: what to do.
        context: where.
        on_progress: called after every step, and with its metrics after every validation.
        say: receives what people should know: trouble with tracking or storage that the job survives.
        judge: says of an error why the job itself is to blame for it; None where it is not, or nobody knows.

    Raises:
        Exception: the job is not to blame. The scheduler may try again in another process, and the job resumes from its
            last checkpoint.
    """
    set_up_process(context)
    storage, checkpoints = context.store, Checkpoints(context.store, job.key)
    client = retry(lambda: context.client, say, JOB_SECONDS, tracking.is_away)
    if _is_done(job, context, client, say):
        return None  # by another driver, or by an attempt whose process was lost after it had ended the run
    logger = RunLogger(client, context.experiment_id, describe(job, context), say)
    own_run = job.run_key == job.key
    try:
        earlier = logger.before("seconds")
    except StudyError as error:
        return str(error)
    started = saved = time.monotonic()
    reached = 0

    def log_seconds(step: int) -> None:
        if own_run:
            logger.log(step, {"seconds": earlier + time.monotonic() - started})

    def on_step(step: int) -> None:
        nonlocal reached
        reached = step
        on_progress(step, {})

    def on_metrics(step: int, metrics: Mapping[str, float]) -> None:
        logger.log(step, metrics)
        on_progress(step if own_run else reached, metrics)  # steps of another job's run say nothing about this job

    def on_checkpoint(step: int, write: Write) -> None:
        nonlocal saved
        if time.monotonic() - saved >= context.checkpoint_seconds:
            saved = time.monotonic()
            try:
                logger.log_checkpoint(storage.where(checkpoints.save(step, write)))
            except OSError as error:
                say(f"no checkpoint at iteration {step}: {error}")
            log_seconds(step)

    callbacks = Callbacks(on_step, on_metrics, on_checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        artifacts = Path(folder)
        try:
            result = retry(
                lambda: _from_newest_checkpoint(job, context, callbacks, artifacts, checkpoints, say),
                say,
                JOB_SECONDS,
                passes=lambda error: isinstance(error, MlflowException) and tracking.is_away(error),
            )
            tags = result.tags | _store(job, storage, artifacts)
        except SystemExit:  # the scheduler stops the job
            log_seconds(reached)
            logger.flush()
            card.release(context)
            raise
        except Exception as error:
            reason = judge(error, reached)
            if reason is None:
                raise
            tracking.write_texts(artifacts, {"failure.txt": redacted(traceback.format_exc())})
            ending = Ending(status="FAILED", tags={}, reason=redacted(reason))
        else:
            ending = Ending(status="FINISHED", tags=tags, reason=None)
            log_seconds(result.steps)
            if own_run:
                logger.log(result.steps, card.peak(context))
        if not logger.close(ending, artifacts):
            retry(lambda: delivery.enqueue(storage, logger, ending, artifacts), say, JOB_SECONDS)
    if ending.status == "FINISHED":
        with suppress(OSError):  # the driver tidies up later
            checkpoints.clear()
    card.release(context)
    return ending.reason


def describe(job: Job, context: Context) -> Description:
    """What the tracker knows of a job that this process runs."""
    return Description(
        key=job.key,
        run_key=job.run_key,
        kind=job.kind,
        name=job.name,
        params={name: str(value) for name, value in job.params.items()},
        tags={
            **tracking.provenance(context.device),
            "threads": str(context.threads),
            "device": context.device,
            "deterministic": str(context.deterministic),
            KEY_TAG: KEY_RECIPE,
            **job.tags,
        },
    )


def is_done(job: Job, state: State | None, tags: Mapping[str, str], storage: Storage) -> bool:
    """A job is done when the tracker has it all and what other jobs read lies in the storage.

    Raises:
        OSError: the storage fails.
    """
    if state is None or state.status != "FINISHED":
        return False
    return all(
        storage.exists(name) and storage.sha256(name) == tags.get(hash_tag(artifact))
        for artifact, name in job.stored.items()
    )


def _is_done(job: Job, context: Context, client: MlflowClient, say: Say) -> bool:
    if retry(lambda: delivery.is_pending(context.store, job.key), say, JOB_SECONDS):
        return True
    try:
        found = tracking.find(client, context.experiment_id, job.run_key)
    except (MlflowException, OSError) as error:
        if not tracking.is_away(error):
            raise
        return False
    state = tracking.state(found, job.key, job.run_key)
    tags = found.data.tags if found else {}
    return retry(lambda: is_done(job, state, tags, context.store), say, JOB_SECONDS)


def _from_newest_checkpoint(
    job: Job, context: Context, callbacks: Callbacks, artifacts: Path, checkpoints: Checkpoints, say: Say
) -> JobResult:
    """Resume from the newest checkpoint that is sound, or start anew."""
    for name in retry(checkpoints.names, say, JOB_SECONDS):
        with tempfile.TemporaryDirectory() as folder:
            path = retry(partial(context.store.local, name, Path(folder)), say, JOB_SECONDS)
            try:
                return job.run(context, callbacks, path, artifacts)
            except CheckpointError as error:
                say(f"{error}; resuming from the one before it")
    return job.run(context, callbacks, None, artifacts)


def _store(job: Job, storage: Storage, artifacts: Path) -> dict[str, str]:
    """Upload the artifacts that other jobs read from the storage; returns their hashes as tags."""
    tags = {}
    for artifact, name in job.stored.items():
        path = artifacts / artifact
        retry(partial(storage.upload, path, name), seconds=JOB_SECONDS)
        tags[hash_tag(artifact)] = file_sha256(path)
    return tags


def set_up_process(context: Context) -> None:
    """Processes are reused: leave no setting of an earlier job behind."""
    torch.set_num_threads(context.threads)
    card.prepare(context)
