"""Do one job in this process: load, train, log. The same code on a cluster's worker and in a debugger."""

import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from safetensors.torch import save_file

import models
from cameras.pairs import Pairs, split
from forensics import Outcome, train
from models.checkpoint import CheckpointError, Write
from models.pretrain import Pretrained, pretrain
from study import tracking
from study.execution import delivery as outbox
from study.execution.run_logger import Ending, Logbook
from study.jobs import FingerprintJob, Job, LowLightJob, PretrainingJob, TrialJob, file_sha256, fingerprint_work
from study.storage import cache as staging
from study.storage.retry import patiently

# What may go better another time: a lost server, a storage that stays away for longer than a job's patience.
TRANSIENT = (OSError, MlflowException)
PATIENCE = 600.0  # seconds that a job waits for a storage that fails

Say = Callable[[str], None]


@dataclass(frozen=True)
class Callbacks:
    """What a training tells while it runs; see :func:`forensics.train`."""

    on_step: Callable[[int], None] = lambda step: None
    on_metrics: Callable[[int, Mapping[str, float]], None] = lambda step, figures: None
    on_checkpoint: Callable[[int, Write], None] = lambda step, write: None


@dataclass(frozen=True)
class Done:
    """What a job's run gets at its end, besides its artifacts: the number of iterations made, and tags."""

    steps: int
    tags: dict[str, str] = field(default_factory=dict)


def perform(
    job: Job,
    on_step: Callable[[int], None],
    say: Say = lambda text: None,
    work: "Callable[[Job, Callbacks, Path | None, Path], Done] | None" = None,
) -> str | None:
    """Do the job and log it, unless it is done already. Returns why it failed where repeating it would fail again.

    Args:
        job: what to do.
        on_step: told the number of finished iterations.
        say: told what people should know: trouble with tracking or storage that the job gets over.
        work: what the job consists of; :func:`train_and_save` where not given.

    Raises:
        OSError, MlflowException: whoever scheduled the job may try again, and it goes on from its last checkpoint.
    """
    set_up_process(job)
    storage, checkpoints = job.place.shared, job.place.checkpoints(job.key)
    client = MlflowClient(job.place.tracking_uri)
    if _is_done(job, client, say):
        return None  # by another driver, or by an attempt whose process was lost after its last word
    logbook = Logbook(client, job.place.experiment_id, tracking.Description.of(job), say)
    earlier = logbook.before("seconds")
    started = saved = time.monotonic()

    def seconds() -> dict[str, float]:
        return {"seconds": earlier + time.monotonic() - started}

    def on_checkpoint(step: int, write: Write) -> None:
        nonlocal saved
        if time.monotonic() - saved >= job.place.checkpoint_seconds:
            saved = time.monotonic()
            logbook.log(step, seconds())
            try:
                checkpoints.save(step, write)
            except OSError as error:
                say(f"no checkpoint at iteration {step}: {error}")

    callbacks = Callbacks(on_step, logbook.log, on_checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        artifacts = Path(folder)
        try:
            done = _from_newest_checkpoint(job, callbacks, artifacts, say, work or train_and_save)
        except TRANSIENT:
            raise
        except Exception as error:  # the settings', the data's or this code's own fault
            tracking.write_texts(artifacts, {"failure.txt": traceback.format_exc()})
            plain = isinstance(error, FloatingPointError | ValueError)
            ending = Ending(
                status="FAILED", tags={}, reason=str(error) if plain else f"{type(error).__name__}: {error}"
            )
        else:
            ending = Ending(status="FINISHED", tags=done.tags, reason=None)
            logbook.log(done.steps, seconds())
        if not logbook.close(ending, artifacts):
            patiently(lambda: outbox.post(storage, logbook, ending, artifacts), say, PATIENCE)
    if ending.status == "FINISHED":
        with suppress(OSError):  # the driver tidies up after it
            checkpoints.clear()
    return ending.reason


def _is_done(job: Job, client: MlflowClient, say: Say) -> bool:
    if patiently(lambda: outbox.holds(job.place.shared, job.key), say, PATIENCE):
        return True
    try:
        run = tracking.find(client, job.place.experiment_id, job.key)
    except (MlflowException, OSError) as error:
        if not tracking.is_away(error):
            raise
        return False
    return patiently(lambda: tracking.is_done(job, run), say, PATIENCE)


def _from_newest_checkpoint(
    job: Job,
    callbacks: Callbacks,
    artifacts: Path,
    say: Say,
    work: Callable[[Job, Callbacks, Path | None, Path], Done],
) -> Done:
    """Go on from the newest checkpoint that is sound, or start anew."""
    checkpoints = job.place.checkpoints(job.key)
    for name in patiently(checkpoints.names, say, PATIENCE):
        with ExitStack() as copies:
            try:
                return work(job, callbacks, patiently(partial(_fetched, name, job, copies), say, PATIENCE), artifacts)
            except CheckpointError as error:
                say(f"{error}; going on from the one before it")
    return work(job, callbacks, None, artifacts)


def _fetched(name: str, job: Job, copies: ExitStack) -> Path:
    return copies.enter_context(job.place.shared.local(name))


def set_up_process(job: Job) -> None:
    """Processes are reused: leave no setting of an earlier job behind. On a GPU, float32 shall not mean TF32."""
    torch.set_num_threads(job.place.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def train_and_save(job: Job, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> Done:
    """The job itself; what its run keeps is written to the folder ``artifacts``."""
    if isinstance(job, PretrainingJob):
        pretrained = pretrain_nip(job, callbacks, resume)
        weights = artifacts / "nip.safetensors"
        models.save(weights, pretrained.nip, key=job.key, data_fingerprint=job.data_fingerprint)
        tracking.write_texts(artifacts, {"pretraining.yaml": job.model_dump(mode="json")})
        patiently(lambda: job.place.shared.upload(weights, job.weights), seconds=PATIENCE)
        return Done(pretrained.steps, {"nip_sha256": file_sha256(weights), "stopped": pretrained.reason})
    if isinstance(job, FingerprintJob):  # minutes: begun anew where they were lost
        callbacks.on_metrics(job.steps, fingerprint_work.fingerprints(job, callbacks.on_step, artifacts))
        return Done(job.steps)
    if isinstance(job, LowLightJob):
        callbacks.on_metrics(job.steps, fingerprint_work.low_light(job, callbacks.on_step, artifacts))
        return Done(job.steps)
    outcome = train_trial(job, callbacks, resume)
    models.save(artifacts / "nip.safetensors", outcome.nip, trial_key=job.key)
    models.save(artifacts / "fan.safetensors", outcome.fan, trial_key=job.key)
    save_file(outcome.examples, artifacts / "examples.safetensors")
    confusion = {"classes": list(outcome.classes), "confusion": outcome.scores.confusion.tolist()}
    tracking.write_texts(artifacts, {"confusion.json": confusion, "trial.yaml": job.model_dump(mode="json")})
    return Done(job.trial.training.iterations)


def pretrain_nip(job: PretrainingJob, callbacks: Callbacks, resume: Path | None) -> Pretrained:
    """The pre-training itself, without any tracking."""
    pairs = open_pairs(job, job.camera)
    generator = torch.Generator().manual_seed(job.pretraining.seed)
    nip = models.build(job.isp, generator=generator, cfa=pairs.cfa, cam2srgb=pairs.cam2srgb.tolist())
    images = split(pairs.names, job.split.train, job.split.validation, job.split.seed)
    return pretrain(nip, pairs.to(job.place.device), *images, job.pretraining, resume=resume, **vars(callbacks))


def train_trial(job: TrialJob, callbacks: Callbacks, resume: Path | None = None) -> Outcome:
    """The trial itself, without any tracking.

    Raises:
        ValueError: data or NIP are not those that the trial was planned with.
    """
    try:
        nip: Any = models.load(patiently(lambda: staging.nip(job.place, job.nip, job.nip_sha256), seconds=PATIENCE))
    except FileNotFoundError:
        raise ValueError(f"{job.place.shared.where(job.nip)} is missing: python -m study pretrain STUDY") from None
    return train(job.trial, open_pairs(job, job.trial.camera), nip, job.place.device, resume=resume, **vars(callbacks))


def open_pairs(job: PretrainingJob | TrialJob, camera: str) -> Pairs:
    """The pairs that the job was planned with, or a ValueError."""
    try:
        folder = patiently(lambda: staging.camera(job.place, camera, job.data_fingerprint), seconds=PATIENCE)
    except FileNotFoundError:
        raise ValueError(f"the pairs of {camera} are not in {job.place.storage}") from None
    pairs = Pairs.open(folder)
    if pairs.fingerprint != job.data_fingerprint:
        raise ValueError(f"the pairs of {camera} are not those that the job was planned with: run the study again")
    return pairs
