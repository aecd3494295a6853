"""Do one job in this process: load, train, log. The same code on a cluster's worker and in a debugger."""

import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from safetensors.torch import save_file

import models
from cameras.pairs import Pairs, split
from forensics import Outcome, train
from models.checkpoint import CheckpointError
from models.pretrain import Pretrained, pretrain
from study import tracking
from study.jobs import Job, PretrainingJob, TrialJob, file_sha256

OnStep = Callable[[int], None]
OnMetrics = Callable[[int, Mapping[str, float]], None]
Write = Callable[[Path], None]

TRANSIENT = (OSError, MlflowException, CheckpointError)


def perform(job: Job, on_step: OnStep) -> str | None:
    """Do the job and log it. Returns why it failed where repeating it would fail again, else None.

    What may go better another time (a full disk, a lost server) is raised: whoever scheduled the job may try again,
    and it goes on from its last checkpoint.
    """
    torch.set_num_threads(job.place.threads)  # processes are reused: leave nothing of an earlier job behind
    client = MlflowClient(job.place.tracking_uri)
    run_id = tracking.open_run(
        client, job.place.experiment_id, job.key, job.kind, job.name, job.params, {**tracking.provenance(), **job.tags}
    )
    figures = tracking.MetricBuffer(client, run_id)
    checkpoint = job.place.checkpoint(job.key)

    started = saved = time.monotonic()

    def on_checkpoint(step: int, write: Write) -> None:
        nonlocal saved
        if time.monotonic() - saved >= job.place.checkpoint_seconds:
            figures.flush()  # what is logged before a checkpoint is not logged again after it
            write(checkpoint)
            saved = time.monotonic()

    log = _log_pretraining if isinstance(job, PretrainingJob) else _log_trial
    try:
        last = log(job, client, run_id, figures.log, on_step, on_checkpoint)  # type: ignore[arg-type]
    except TRANSIENT as error:
        if isinstance(error, CheckpointError):
            checkpoint.unlink(missing_ok=True)  # damaged: the next attempt starts anew
        raise
    except Exception as error:  # the settings', the data's or this code's own fault
        figures.flush()
        tracking.log_texts(client, run_id, {"failure.txt": traceback.format_exc()})
        tracking.fail(client, run_id, str(error))
        return str(error)
    figures.log(last, {"seconds": time.monotonic() - started})
    figures.flush()
    tracking.finish(client, run_id)
    checkpoint.unlink(missing_ok=True)
    return None


def _log_pretraining(
    job: PretrainingJob,
    client: MlflowClient,
    run_id: str,
    on_metrics: OnMetrics,
    on_step: OnStep,
    on_checkpoint: Callable[[int, Write], None],
) -> int:
    pretrained = pretrain_nip(job, on_metrics, on_step, on_checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "nip.safetensors"
        models.save(weights, pretrained.nip, key=job.key, data_fingerprint=job.data_fingerprint)
        tracking.log_files(client, run_id, [weights])
        tracking.log_texts(client, run_id, {"pretraining.yaml": job.model_dump(mode="json")})
        job.weights.parent.mkdir(parents=True, exist_ok=True)
        models.save(job.weights, pretrained.nip, key=job.key, data_fingerprint=job.data_fingerprint)
    client.set_tag(run_id, "stopped", pretrained.reason)
    return pretrained.steps


def pretrain_nip(
    job: PretrainingJob, on_metrics: OnMetrics, on_step: OnStep, on_checkpoint: Callable[[int, Write], None]
) -> Pretrained:
    """The pre-training itself, without any tracking."""
    pairs = open_pairs(job, job.camera)
    generator = torch.Generator().manual_seed(job.pretraining.seed)
    nip = models.build(job.isp, generator=generator, cfa=pairs.cfa, cam2srgb=pairs.cam2srgb.tolist())
    train_images, validation_images = split(pairs.names, job.split.train, job.split.validation, job.split.seed)
    return pretrain(
        nip,
        pairs.to(job.place.device),
        train_images,
        validation_images,
        job.pretraining,
        on_step=on_step,
        on_metrics=on_metrics,
        on_checkpoint=on_checkpoint,
        resume=_existing(job.place.checkpoint(job.key)),
    )


def _log_trial(
    job: TrialJob,
    client: MlflowClient,
    run_id: str,
    on_metrics: OnMetrics,
    on_step: OnStep,
    on_checkpoint: Callable[[int, Write], None],
) -> int:
    outcome = train_trial(job, on_metrics, on_step, on_checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        nip, fan, examples = (Path(folder) / f"{name}.safetensors" for name in ("nip", "fan", "examples"))
        models.save(nip, outcome.nip, trial_key=job.key)
        models.save(fan, outcome.fan, trial_key=job.key)
        save_file(outcome.examples, examples)
        tracking.log_files(client, run_id, [nip, fan, examples])
    confusion = {"classes": list(outcome.classes), "confusion": outcome.scores.confusion.tolist()}
    tracking.log_texts(client, run_id, {"confusion.json": confusion, "trial.yaml": job.model_dump(mode="json")})
    return job.trial.training.iterations


def train_trial(
    job: TrialJob,
    on_metrics: OnMetrics,
    on_step: OnStep,
    on_checkpoint: Callable[[int, Write], None] = lambda step, write: None,
    resume: bool = True,
) -> Outcome:
    """The trial itself, without any tracking."""
    if not job.nip.is_file():
        raise ValueError(f"{job.nip} is missing: python -m study pretrain STUDY")
    if file_sha256(job.nip) != job.nip_sha256:
        raise ValueError(f"{job.nip} is not the file that the trial was planned with: run the study again")
    return train(
        job.trial,
        open_pairs(job, job.trial.camera),
        models.load(job.nip),
        job.place.device,
        on_step=on_step,
        on_metrics=on_metrics,
        on_checkpoint=on_checkpoint,
        resume=_existing(job.place.checkpoint(job.key)) if resume else None,
    )


def open_pairs(job: Job, camera: str) -> Pairs:
    """The pairs that the job was planned with, or a ValueError."""
    pairs = Pairs.open(job.place.camera(camera))
    if pairs.fingerprint != job.data_fingerprint:
        raise ValueError(f"the pairs of {camera} are not those that the job was planned with: run the study again")
    return pairs


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None
