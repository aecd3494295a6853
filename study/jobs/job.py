"""What a job is: the one protocol between the kinds of work and the engine that runs them.

The engine (:mod:`study.execution`) and the tracker know a job by this protocol alone. A new kind is one file in this
folder and one line in :data:`study.jobs.KINDS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from mlflow import MlflowClient

from forensics.memory import CONTEXT
from models.checkpoint import Write
from study import tracking
from study.settings import Frozen
from study.storage import Storage, cache
from study.storage.retry import JOB_SECONDS, retry


class Context(Frozen):
    """Where a job runs: storage, tracking, hardware. Nothing here is part of a key.

    Attributes:
        storage: folder or bucket.
        cache: where each machine keeps its copies of what it reads from ``storage``; None reads it in place.
        tracking_uri, experiment_id: where results go.
        device: "cpu" or "cuda". The order of floating-point sums depends on it and on ``threads``: results differ in
            the last bits between them, and only a repetition on the same ones is bit-identical.
        threads: CPU threads of a job.
        gpus: the share of a GPU that a job is given, 1 for a whole one.
        data: where a trial's photographs lie while it trains: "host", "device", or "auto".
        deterministic: whether a repetition on the same kind of GPU shall give the same bits.
        checkpoint_seconds: at least, between two checkpoints.
    """

    storage: str
    cache: Path | None
    tracking_uri: str
    experiment_id: str
    device: str = "cpu"
    threads: int = 1
    gpus: float = 1
    data: Literal["auto", "host", "device"] = "auto"
    deterministic: bool = True
    checkpoint_seconds: float = 30

    @property
    def store(self) -> Storage:
        return Storage(self.storage)

    @property
    def client(self) -> MlflowClient:
        return tracking.open_client(self.tracking_uri)

    @property
    def training(self) -> dict[str, Any]:
        """How :func:`forensics.train` and :func:`models.pretrain.pretrain` use the device."""
        return {"data": self.data, "deterministic": self.deterministic, "memory": self.memory}

    @property
    def memory(self) -> int | None:
        """Bytes that a job may store on its share of a GPU; None: all that is free, or there is no GPU."""
        if self.device == "cpu" or self.gpus == 1:
            return None
        whole = torch.cuda.get_device_properties(self.device).total_memory
        return max(int(self.gpus * whole) - CONTEXT, 0)

    def camera(self, name: str, data_hash: str) -> Path:
        """A folder on this machine with the pairs of a camera, see :func:`study.storage.cache.camera`."""
        return retry(lambda: cache.camera(self.store, self.cache, name, data_hash), seconds=JOB_SECONDS)

    def nip(self, name: str, sha256: str) -> Path:
        """A file on this machine with the weights of a NIP or a codec, see :func:`study.storage.cache.nip`."""
        return retry(lambda: cache.nip(self.store, self.cache, name, sha256), seconds=JOB_SECONDS)


@dataclass(frozen=True)
class Callbacks:
    """What a job calls while it runs; see :func:`forensics.train`."""

    on_step: Callable[[int], None] = lambda step: None
    on_metrics: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None
    on_checkpoint: Callable[[int, Write], None] = lambda step, write: None


@dataclass(frozen=True)
class JobResult:
    """What the run of a job gets at its end, besides its artifacts: the number of steps made, and tags."""

    steps: int
    tags: dict[str, str] = field(default_factory=dict)


class Job(Protocol):
    """One unit of work. Equal keys mean equal results, so that finished work is found and never repeated.

    ``needs_gpu`` says whether it is given a share of a GPU where the study has GPUs. One that needs none uses its GPU
    nevertheless where it follows a job that has one.
    """

    kind: ClassVar[str]
    needs_gpu: ClassVar[bool]

    @property
    def key(self) -> str:
        """Hash of what decides the result, see :mod:`study.jobs.keys`."""

    @property
    def run_key(self) -> str:
        """Key of the run that the results go to: the job's own key, or that of the job whose run it adds to."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def steps(self) -> int:
        """Of progress, at most."""

    @property
    def axes(self) -> dict[str, Any]:
        """Its place on the axes of the study, by their names."""

    @property
    def params(self) -> dict[str, Any]:
        """What the tracker lists the run by: every setting, and every axis of the study."""

    @property
    def tags(self) -> dict[str, str]:
        """Further facts about the run, known from its start."""

    @property
    def stored(self) -> dict[str, str]:
        """Artifacts that other jobs read from the storage: their names there, by the names of the artifacts.

        The engine uploads them at the end of the job, keeps their hashes as tags of the run, and restores them from the
        run where they are missing or damaged.
        """

    @property
    def follow_ups(self) -> "tuple[Job, ...]":
        """What the same process does next, once this job has finished. They add to its run."""

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        """Do the work.

        Args:
            context: where it runs.
            callbacks: called while it runs.
            resume: a checkpoint that ``callbacks.on_checkpoint`` wrote, to resume from.
            artifacts: folder for the files that the run keeps.

        Raises:
            CheckpointError: ``resume`` is damaged; the engine tries the one before it.
            ValueError: settings or data are unfit, so that a repetition would fail as well.
            OSError, MlflowException: storage or tracker fails; the engine tries again.
        """

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """The job's fields as JSON values, with mode "json"; ``model_validate`` of its class reads them."""


class BaseJob(Frozen):
    """What most kinds have in common."""

    kind: ClassVar[str]
    needs_gpu: ClassVar[bool] = True
    key: str

    @property
    def run_key(self) -> str:
        return self.key

    @property
    def axes(self) -> dict[str, Any]:
        return {}

    @property
    def tags(self) -> dict[str, str]:
        return {}

    @property
    def stored(self) -> dict[str, str]:
        return {}

    @property
    def follow_ups(self) -> tuple[Job, ...]:
        return ()


def hash_tag(artifact: str) -> str:
    """Name of the tag with the hash of a stored artifact: ``nip.safetensors`` → ``nip_sha256``."""
    return f"{Path(artifact).stem}_sha256"
