"""Run one trial of the grid: joint training of a NIP and a FAN through the channel (section 4 of the paper)."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mlflow.entities import Run
from pydantic import Field
from safetensors.torch import save_file

import channel
import forensics
import models
from cameras import patches
from channel.codecs import build as build_codec
from channel.codecs.learning import LearningCodec
from forensics import FAN, Outcome, Trial, train
from forensics.fan import build as build_fan
from forensics.panel import Panel
from models import NIP
from models.flip import flip
from study import tracking
from study.jobs import keys
from study.jobs.codec_pretraining import CODEC_FILE, CODEC_HASH
from study.jobs.job import BaseJob, Callbacks, Context, Job, JobResult
from study.jobs.pretraining import NIP_FILE, NIP_HASH, open_pairs
from study.settings import Frozen
from study.tracking import write_texts

FAN_FILE = "fan.safetensors"
# On the patches of PSNR and SSIM, which every trial has, while not every trial has a verdict on whole photographs; what
# FLIP finds at a place depends on ten pixels around it.
AT_END = {"flip": flip}


class Trained(NamedTuple):
    """What a finished trial left: networks and, if it has weights, the channel's codec, all on the CPU; and its run."""

    nip: NIP
    fan: FAN
    codec: LearningCodec | None
    run: Run


class PretrainedCodec(Frozen):
    """A codec whose weights were pre-trained: ``file`` is its name in the storage."""

    file: str
    sha256: str


class TrialJob(BaseJob):
    """A trial that starts from the pre-trained NIP in the storage's file ``nip``, and from ``codec`` if it needs one.

    ``further_axes`` are its places on the study's axes beside camera, ISP, λ and seed. By the panel ``evaluation`` it
    is judged once it has finished; that decides nothing of its own result.
    """

    kind: ClassVar[str] = "trial"
    trial: Trial
    further_axes: dict[str, Any] = Field(default_factory=dict)
    nip: str
    nip_sha256: str
    data_hash: str
    codec: PretrainedCodec | None = None
    evaluation: Panel | None = None

    @classmethod
    def plan(
        cls,
        trial: Trial,
        further_axes: dict[str, Any],
        nip: str,
        nip_sha256: str,
        data_hash: str,
        codec: PretrainedCodec | None = None,
        evaluation: Panel | None = None,
    ) -> "TrialJob":
        """The job with the key of its content: resolved settings, data, and the weights that it starts from."""
        key = trial_key(trial, data_hash, nip_sha256, None if codec is None else codec.sha256)
        return cls(
            key=key,
            trial=trial,
            further_axes=further_axes,
            nip=nip,
            nip_sha256=nip_sha256,
            data_hash=data_hash,
            codec=codec,
            evaluation=evaluation,
        )

    @property
    def name(self) -> str:
        return f"{self.trial.camera} {self.trial.isp} λ={self.trial.lam} seed={self.trial.seed}"

    @property
    def axes(self) -> dict[str, Any]:
        trial = self.trial
        own = {"camera": trial.camera, "isp": trial.isp, "lambda": trial.lam, "seed": trial.seed}
        return own | self.further_axes

    @property
    def params(self) -> dict[str, Any]:
        settings = asdict(self.trial)
        for name in ("camera", "isp", "lam", "seed"):
            del settings[name]
        return self.axes | keys.flat(settings)

    @property
    def tags(self) -> dict[str, str]:
        codec = {} if self.codec is None else {CODEC_HASH: self.codec.sha256}
        return {"data_fingerprint": self.data_hash, NIP_HASH: self.nip_sha256, **codec}

    @property
    def steps(self) -> int:
        return self.trial.training.iterations

    @property
    def follow_ups(self) -> tuple[Job, ...]:
        from study.jobs.verdict import VerdictJob  # which knows this class

        return () if self.evaluation is None else (VerdictJob.plan(self, self.evaluation),)

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        """Train; see :func:`forensics.train`."""
        outcome = self.train(context, callbacks, resume)
        models.save(artifacts / NIP_FILE, outcome.nip, trial_key=self.key)
        models.save(artifacts / FAN_FILE, outcome.fan, trial_key=self.key)
        if outcome.codec is not None:
            models.save(artifacts / CODEC_FILE, outcome.codec, trial_key=self.key)
        save_file(outcome.examples, artifacts / "examples.safetensors")
        confusion = {"classes": list(outcome.classes), "confusion": outcome.scores.confusion.tolist()}
        if outcome.test_scores is not None:
            confusion["test"] = outcome.test_scores.confusion.tolist()
        settings = self.model_dump(mode="json", exclude={"evaluation"})
        write_texts(artifacts, {"confusion.json": confusion, "trial.yaml": settings})
        return JobResult(self.steps)

    def train(self, context: Context, callbacks: Callbacks, resume: Path | None = None) -> Outcome:
        """The training itself, without any tracking.

        Raises:
            ValueError: data, NIP or codec are missing, or not those that the trial was planned with.
        """
        pretrained: Any = models.load(_weights(context, self.nip, self.nip_sha256))
        nip = models.NIPS[self.trial.isp].starting_from(pretrained, **asdict(self.trial.training))
        codec = None
        if self.codec is not None:
            codec = models.load(_weights(context, self.codec.file, self.codec.sha256), build=build_codec)
        pairs = open_pairs(context, self.trial.camera, self.data_hash)
        how = {"codec": codec, "at_end": AT_END, "resume": resume, **context.training, **vars(callbacks)}
        return train(self.trial, pairs, nip, context.device, **how)

    def trained(self, context: Context) -> Trained:
        """What the finished trial left.

        Raises:
            ValueError: the trial has not finished, or its run has lost them.
        """
        client = context.client
        run = tracking.find(client, context.experiment_id, self.key)
        if run is None or run.info.status != "FINISHED":
            raise ValueError(f"{self.name} has not finished")
        there = {item.path for item in client.list_artifacts(run.info.run_id)}
        names = [NIP_FILE, FAN_FILE, *([CODEC_FILE] if self.trial.channel.learning_codec else [])]
        if lost := set(names) - there:
            raise ValueError(f"run {run.info.run_id} has lost {', '.join(sorted(lost))}")
        with tempfile.TemporaryDirectory() as folder:
            nip_file, fan_file, *codec_file = (
                client.download_artifacts(run.info.run_id, name, folder) for name in names
            )
            codec = models.load(codec_file[0], build=build_codec) if codec_file else None
            return Trained(models.load(nip_file), models.load(fan_file, build=build_fan), codec, run)


def _weights(context: Context, name: str, sha256: str) -> Path:
    """A file with the weights of a pre-training. Raises ValueError where it is missing or another one."""
    try:
        return context.nip(name, sha256)
    except FileNotFoundError:
        raise ValueError(f"{context.store.where(name)} is missing: python -m study pretrain STUDY") from None


def trial_key(trial: Trial, data_hash: str, nip_sha256: str, codec_sha256: str | None = None) -> str:
    """Key of a trial."""
    settings = asdict(trial)
    identity = {name: settings.pop(name) for name in ("camera", "isp", "lam", "seed")}
    if trial.joint:
        identity["lam"] = float(identity["lam"])
    versions = {
        "patches": patches.VERSION,
        **models.versions(trial.isp),
        **channel.versions(trial.manipulations, trial.channel.codec, in_training=True),
        **forensics.versions(trial),
    }
    identity |= {"data": data_hash, "nip": nip_sha256, **({"codec": codec_sha256} if codec_sha256 else {})}
    return keys.key(TrialJob.kind, identity, settings, versions)


class AddedJob(BaseJob):
    """Work on a finished trial that adds to the trial's own run."""

    trial: TrialJob

    @property
    def run_key(self) -> str:
        return self.trial.key

    @property
    def axes(self) -> dict[str, Any]:
        return self.trial.axes

    @property
    def params(self) -> dict[str, Any]:
        return {}
