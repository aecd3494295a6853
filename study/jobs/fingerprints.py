"""Compare all pipelines of a study by what they do to the fingerprint of one camera (section 3.3 of the paper)."""

import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

import channel
import models
import prnu
from forensics.trial import Distribution
from models.determinism import computing
from models.nip import NIP
from prnu import experiment
from prnu.experiment import OtherCamera, Pipeline, Settings, split
from prnu.pipelines import developments, images_of_other_camera, received, true_patterns
from study.jobs import keys
from study.jobs.job import BaseJob, Callbacks, Context, JobResult
from study.jobs.pretraining import NIP_FILE, open_pairs
from study.settings import Fingerprints, Frozen, Simulation

FILE = "fingerprints.safetensors"  # of the run


class PretrainedNip(Frozen):
    """A pipeline that imitates the standard one: ``file`` is its name in the storage."""

    name: str
    file: str
    sha256: str


class JointNip(Frozen):
    """A pipeline that a finished trial has trained jointly: an artifact of its run."""

    name: str
    lam: float
    trial_key: str
    run_id: str


class FingerprintJob(BaseJob):
    """Compare all pipelines on one camera.

    ``others`` maps further cameras, whose photographs should not match, to their data hashes. Where there is a
    ``simulation``, it tells the sensor's true pattern. All pipelines, LibRaw's too, develop what the storage holds: RAW
    files count for nothing, as no worker may have them.
    """

    kind: ClassVar[str] = "prnu"
    camera: str
    simulation: Simulation | None = None
    data_hash: str
    others: dict[str, str]
    pretrained: tuple[PretrainedNip, ...]
    joint: tuple[JointNip, ...]
    settings: Fingerprints
    channel: Distribution

    @classmethod
    def plan(cls, **content: Any) -> "FingerprintJob":
        """The job with the key of its content. Where a jointly trained NIP lies is no part of the key."""
        job = cls(key="", **content)
        apart = {"key": True, "simulation": True, "settings": True, "channel": True}
        identity = job.model_dump(mode="json", exclude={**apart, "joint": {"__all__": {"run_id"}}})
        settings = {"prnu": job.settings.model_dump(exclude={"low_light"}), "channel": asdict(job.channel)}
        if job.simulation is not None:
            identity["preset"] = job.simulation.preset
            settings["simulate"] = job.simulation.model_dump(exclude={"preset"})
        versions = {"prnu": prnu.VERSION, **channel.versions((), job.channel.codec)}
        return job.model_copy(update={"key": keys.key(cls.kind, identity, settings, versions)})

    @property
    def name(self) -> str:
        return f"{self.camera} fingerprints"

    @property
    def params(self) -> dict[str, Any]:
        pipelines = [nip.name for nip in self.pretrained] + [nip.name for nip in self.joint]
        settings = self.settings.model_dump(exclude={"low_light"})
        return {"camera": self.camera, "pipelines": ", ".join(pipelines), **keys.flat({"prnu": settings})}

    @property
    def axes(self) -> dict[str, Any]:
        return {"camera": self.camera}

    @property
    def tags(self) -> dict[str, str]:
        return {"data_fingerprint": self.data_hash, "simulated": str(self.simulation is not None)}

    @property
    def steps(self) -> int:
        """Photographs developed, roughly."""
        images = self.settings.estimation + self.settings.prediction + self.settings.evaluation
        return images * (2 + len(self.pretrained) + len(self.joint))

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        """Develop and compare. Takes minutes: begun anew after a loss."""
        settings, simulation, channel = self.settings, self.simulation, self.channel
        pairs = open_pairs(context, self.camera, self.data_hash)
        nips = self._nips(context)
        own = developments(pairs, nips, settings.pixels, context.device)
        images = split(pairs.names, settings.estimation, settings.prediction, settings.evaluation, settings.seed)
        others = []
        for name, data_hash in self.others.items():
            other = open_pairs(context, name, data_hash)
            how = developments(other, nips, settings.pixels, context.device)
            chosen = images_of_other_camera(other.names, pairs.names, images, settings.evaluation, settings.seed)
            others.append(OtherCamera(name, how, chosen))
        truth = {}
        if simulation is not None:
            size = (simulation.height, simulation.width, settings.pixels)
            truth = true_patterns(simulation.preset, *size, channel.averaged())
        with computing(context.device, context.deterministic):
            result = experiment.experiment(
                self.camera,
                [Pipeline(name, how) for name, how in own.items()],
                images,
                others,
                receive=partial(received, channel.averaged(), channel.codec),
                truth=truth,
                settings=Settings(settings.pixels, settings.window, settings.stride, settings.forgery),
                device=context.device,
                on_progress=lambda done, total: callbacks.on_step(done * self.steps // total),
            )
        experiment.save(artifacts / FILE, result)
        # As in the paper, of the pipelines that were not trained jointly:
        P = len(own) - len(self.joint)
        correlations, f1 = result.correlations[:P, :P], result.mean_f1[:P, :P]
        metrics = {"f1_matching": f1.diagonal().mean().item()}
        if P > 1:
            apart = ~torch.eye(P, dtype=torch.bool)
            metrics["correlation"] = correlations[apart].quantile(0.5).item()
            metrics["f1_mismatched"] = f1[apart].mean().item()
        callbacks.on_metrics(self.steps, metrics)
        return JobResult(self.steps)

    def _nips(self, context: Context) -> dict[str, NIP]:
        nips = {nip.name: models.load(context.nip(nip.file, nip.sha256)) for nip in self.pretrained}
        for nip in self.joint:
            with tempfile.TemporaryDirectory() as folder:
                nips[nip.name] = models.load(context.client.download_artifacts(nip.run_id, NIP_FILE, folder))
        return {name: nip.to(context.device) for name, nip in nips.items()}
