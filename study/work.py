"""Do one job in this process: load, train, log. The same code on a cluster's worker and in a debugger."""

import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from study.jobs import Job, PretrainingJob, TrialJob, file_sha256

# What may go better another time: a full disk, a lost server, a damaged checkpoint.
TRANSIENT = (OSError, MlflowException, CheckpointError)


@dataclass(frozen=True)
class Callbacks:
    """What a training tells while it runs; see :func:`forensics.train`."""

    on_step: Callable[[int], None] = lambda step: None
    on_metrics: Callable[[int, Mapping[str, float]], None] = lambda step, figures: None
    on_checkpoint: Callable[[int, Write], None] = lambda step, write: None


def perform(job: Job, on_step: Callable[[int], None]) -> str | None:
    """Do the job and log it, unless it is done already. Returns why it failed where repeating it would fail again.

    Raises:
        OSError, MlflowException, CheckpointError: whoever scheduled the job may try again, and it goes on from its last
            checkpoint.
    """
    set_up_process(job)
    client = MlflowClient(job.place.tracking_uri)
    if tracking.is_done(job, tracking.find(client, job.place.experiment_id, job.key)):
        return None  # by another driver, or by an attempt whose process was lost after its last word
    run_id = tracking.open_run(client, job)
    figures = tracking.MetricBuffer(client, run_id)
    checkpoint = job.place.checkpoint(job.key)
    resume = checkpoint if checkpoint.exists() else None
    earlier = client.get_run(run_id).data.metrics.get("seconds", 0.0) if resume else 0.0
    started = saved = time.monotonic()

    def on_checkpoint(step: int, write: Write) -> None:
        nonlocal saved
        if time.monotonic() - saved >= job.place.checkpoint_seconds:
            figures.log(step, {"seconds": earlier + time.monotonic() - started})
            figures.flush()  # what a checkpoint stands for is logged before it is there
            write(checkpoint)
            saved = time.monotonic()

    callbacks = Callbacks(on_step, figures.log, on_checkpoint)
    try:
        if isinstance(job, PretrainingJob):
            last = _pretrain_and_log(job, client, run_id, callbacks, resume)
        else:
            last = _train_and_log(job, client, run_id, callbacks, resume)
    except TRANSIENT as error:
        if isinstance(error, CheckpointError):
            checkpoint.unlink(missing_ok=True)  # the next attempt starts anew
        raise
    except Exception as error:  # the settings', the data's or this code's own fault
        figures.flush()
        tracking.log_texts(client, run_id, {"failure.txt": traceback.format_exc()})
        reason = (
            str(error) if isinstance(error, FloatingPointError | ValueError) else f"{type(error).__name__}: {error}"
        )
        tracking.fail(client, run_id, reason)
        return reason
    figures.log(last, {"seconds": earlier + time.monotonic() - started})
    figures.flush()
    tracking.finish(client, run_id)
    checkpoint.unlink(missing_ok=True)
    return None


def set_up_process(job: Job) -> None:
    """Processes are reused: leave no setting of an earlier job behind. On a GPU, float32 shall not mean TF32."""
    torch.set_num_threads(job.place.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def _pretrain_and_log(
    job: PretrainingJob, client: MlflowClient, run_id: str, callbacks: Callbacks, resume: Path | None
) -> int:
    """Returns the number of iterations made."""
    pretrained = pretrain_nip(job, callbacks, resume)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "nip.safetensors"
        models.save(weights, pretrained.nip, key=job.key, data_fingerprint=job.data_fingerprint)
        tracking.log_files(client, run_id, [weights])
        tracking.log_texts(client, run_id, {"pretraining.yaml": job.model_dump(mode="json")})
        client.set_tag(run_id, "nip_sha256", file_sha256(weights))
        client.set_tag(run_id, "stopped", pretrained.reason)
        place_nip(job, weights)
    return pretrained.steps


def place_nip(job: PretrainingJob, weights: Path) -> None:
    """Put the weights where trials look for them, whole or not at all."""
    job.weights.parent.mkdir(parents=True, exist_ok=True)
    part = job.weights.with_name(f".{job.weights.name}.part")
    shutil.copyfile(weights, part)
    part.replace(job.weights)


def pretrain_nip(job: PretrainingJob, callbacks: Callbacks, resume: Path | None) -> Pretrained:
    """The pre-training itself, without any tracking."""
    pairs = open_pairs(job, job.camera)
    generator = torch.Generator().manual_seed(job.pretraining.seed)
    nip = models.build(job.isp, generator=generator, cfa=pairs.cfa, cam2srgb=pairs.cam2srgb.tolist())
    images = split(pairs.names, job.split.train, job.split.validation, job.split.seed)
    return pretrain(nip, pairs.to(job.place.device), *images, job.pretraining, resume=resume, **vars(callbacks))


def _train_and_log(job: TrialJob, client: MlflowClient, run_id: str, callbacks: Callbacks, resume: Path | None) -> int:
    """Returns the number of iterations made."""
    outcome = train_trial(job, callbacks, resume)
    with tempfile.TemporaryDirectory() as folder:
        nip, fan, examples = (Path(folder) / f"{name}.safetensors" for name in ("nip", "fan", "examples"))
        models.save(nip, outcome.nip, trial_key=job.key)
        models.save(fan, outcome.fan, trial_key=job.key)
        save_file(outcome.examples, examples)
        tracking.log_files(client, run_id, [nip, fan, examples])
    confusion = {"classes": list(outcome.classes), "confusion": outcome.scores.confusion.tolist()}
    tracking.log_texts(client, run_id, {"confusion.json": confusion, "trial.yaml": job.model_dump(mode="json")})
    return job.trial.training.iterations


def train_trial(job: TrialJob, callbacks: Callbacks, resume: Path | None = None) -> Outcome:
    """The trial itself, without any tracking.

    Raises:
        ValueError: data or NIP are not those that the trial was planned with.
    """
    if not job.nip.is_file():
        raise ValueError(f"{job.nip} is missing: python -m study pretrain STUDY")
    if file_sha256(job.nip) != job.nip_sha256:
        raise ValueError(f"{job.nip} is not the file that the trial was planned with: run the study again")
    nip: Any = models.load(job.nip)
    return train(job.trial, open_pairs(job, job.trial.camera), nip, job.place.device, resume=resume, **vars(callbacks))


def open_pairs(job: Job, camera: str) -> Pairs:
    """The pairs that the job was planned with, or a ValueError."""
    pairs = Pairs.open(job.place.camera(camera))
    if pairs.fingerprint != job.data_fingerprint:
        raise ValueError(f"the pairs of {camera} are not those that the job was planned with: run the study again")
    return pairs
