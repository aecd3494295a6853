"""Pre-train the NIP of one camera × ISP (section 3.2 of the paper)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import models
from cameras import patches
from cameras.pairs import Pairs
from forensics.trial import Split
from models import pretrain as pretrainer
from models.pretrain import Pretraining, fidelity, pretrain, starting_nip
from study.jobs import keys
from study.jobs.job import BaseJob, Callbacks, Context, JobResult, hash_tag
from study.tracking import write_texts

NIP_FILE = "nip.safetensors"
NIP_HASH = hash_tag(NIP_FILE)


class PretrainingJob(BaseJob):
    """A NIP learns to reproduce the standard pipeline's photographs of one camera."""

    kind: ClassVar[str] = "pretrain"
    camera: str
    isp: str
    split: Split
    pretraining: Pretraining
    data_hash: str

    @classmethod
    def plan(cls, camera: str, isp: str, split: Split, pretraining: Pretraining, data_hash: str) -> "PretrainingJob":
        """The job with the key of its content."""
        key = keys.key(
            cls.kind,
            {"camera": camera, "isp": isp, "data": data_hash},
            {"split": asdict(split), "pretraining": asdict(pretraining)},
            {"patches": patches.VERSION, **models.versions(isp), "pretraining": pretrainer.VERSION},
        )
        return cls(key=key, camera=camera, isp=isp, split=split, pretraining=pretraining, data_hash=data_hash)

    @property
    def name(self) -> str:
        return f"{self.camera} {self.isp}"

    @property
    def axes(self) -> dict[str, Any]:
        return {"camera": self.camera, "isp": self.isp}

    @property
    def params(self) -> dict[str, Any]:
        settings = {"split": asdict(self.split), "pretraining": asdict(self.pretraining)}
        return {**self.axes, "seed": self.pretraining.seed, **keys.flat(settings)}

    @property
    def tags(self) -> dict[str, str]:
        return {"data_fingerprint": self.data_hash}

    @property
    def steps(self) -> int:
        """Iterations at most."""
        return self.pretraining.max_iterations

    @property
    def weights(self) -> str:
        """Name of the weights in the storage."""
        return f"nips/{self.camera}-{self.isp}-{self.key[:8]}.safetensors"

    @property
    def stored(self) -> dict[str, str]:
        return {NIP_FILE: self.weights}

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        """Pre-train the NIP; see :func:`models.pretrain.pretrain`."""
        pairs = open_pairs(context, self.camera, self.data_hash)
        nip = starting_nip(self.isp, pairs, self.pretraining)
        train, validation, test = self.split.images(pairs.names)
        how = {"resume": resume, **context.training, **vars(callbacks)}
        trained = pretrain(nip, pairs, train, validation, self.pretraining, context.device, **how)
        if self.split.test:
            on_test = fidelity(trained.nip, pairs, test, self.pretraining, context.device, context.deterministic)
            callbacks.on_metrics(trained.steps, {f"test_{name}": value for name, value in on_test.items()})
        models.save(artifacts / NIP_FILE, trained.nip, key=self.key, data_fingerprint=self.data_hash)
        write_texts(artifacts, {"pretraining.yaml": self.model_dump(mode="json")})
        return JobResult(trained.steps, {"stopped": trained.reason})


def open_pairs(context: Context, camera: str, data_hash: str) -> Pairs:
    """The pairs that a job was planned with.

    Raises:
        ValueError: there are none, or others.
    """
    try:
        pairs = Pairs.open(context.camera(camera, data_hash))
    except FileNotFoundError:
        raise ValueError(f"the pairs of {camera} are not in {context.storage}") from None
    if pairs.data_hash != data_hash:
        raise ValueError(f"the pairs of {camera} are not those that the job was planned with: run the study again")
    return pairs
