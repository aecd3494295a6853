"""Units of work and their keys: what is asked for decides its key, and the key decides whether it is done already."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from forensics.trial import Split, Trial
from models.pretrain import Pretraining
from study.checkpoints import Checkpoints
from study.settings import Frozen, Planned
from study.storage import Storage

RECIPE = 1  # raise it when a change of the code changes results: keys of older results then no longer match


class Place(Frozen):
    """Where work is done: storage, tracking, hardware. Nothing here is part of a key.

    ``staging`` is where each machine keeps its copies of what it reads from ``storage``; None reads it in place. The
    order of floating-point sums depends on ``threads`` and on ``device``: results differ in the last bits between
    them, and only a repetition on the same ones is bit-identical.
    """

    storage: str
    staging: Path | None
    tracking_uri: str
    experiment_id: str
    device: str = "cpu"
    threads: int = 1
    checkpoint_seconds: float = 30

    @property
    def shared(self) -> Storage:
        return Storage(self.storage)

    def checkpoints(self, key: str) -> Checkpoints:
        return Checkpoints(self.shared, key)


class PretrainingJob(Frozen):
    """Pre-train the NIP of one camera × ISP."""

    key: str
    camera: str
    isp: str
    split: Split
    pretraining: Pretraining
    data_fingerprint: str
    place: Place

    @property
    def kind(self) -> str:
        return "pretrain"

    @property
    def name(self) -> str:
        return f"{self.camera} {self.isp}"

    @property
    def params(self) -> dict[str, Any]:
        """What the tracker lists a run by."""
        settings = {"split": asdict(self.split), "pretraining": asdict(self.pretraining)}
        return {"camera": self.camera, "isp": self.isp, "seed": self.pretraining.seed, **_flat(settings)}

    @property
    def tags(self) -> dict[str, str]:
        return {"data_fingerprint": self.data_fingerprint, "threads": str(self.place.threads)}

    @property
    def steps(self) -> int:
        """Iterations at most."""
        return self.pretraining.max_iterations

    @property
    def weights(self) -> str:
        """Their name in the storage."""
        return nip_name(self.camera, self.isp, self.key)


class TrialJob(Frozen):
    """Run one trial from a pre-trained NIP: ``nip`` is its name in the storage."""

    key: str
    trial: Trial
    nip: str
    nip_sha256: str
    data_fingerprint: str
    place: Place

    @property
    def kind(self) -> str:
        return "trial"

    @property
    def name(self) -> str:
        return f"{self.trial.camera} {self.trial.isp} λ={self.trial.lam} seed={self.trial.seed}"

    @property
    def params(self) -> dict[str, Any]:
        """What the tracker lists a run by: all settings, so that any can become an axis later."""
        settings = asdict(self.trial)
        head = {"camera": settings.pop("camera"), "isp": settings.pop("isp"), "lambda": settings.pop("lam")}
        return {**head, "seed": settings.pop("seed"), **_flat(settings)}

    @property
    def tags(self) -> dict[str, str]:
        return {
            "data_fingerprint": self.data_fingerprint,
            "nip_sha256": self.nip_sha256,
            "threads": str(self.place.threads),
        }

    @property
    def steps(self) -> int:
        return self.trial.training.iterations


Job = PretrainingJob | TrialJob


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``{"channel": {"codec": …}}`` → ``{"channel.codec": …}``"""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def nip_name(camera: str, isp: str, key: str) -> str:
    """Name in the storage of a pre-trained NIP."""
    return f"nips/{camera}-{isp}-{key[:8]}.safetensors"


def pretraining_key(planned: Planned, data_fingerprint: str) -> str:
    """Key of the pre-training that a trial starts from."""
    return _key(
        "pretrain",
        {
            "camera": planned.trial.camera,
            "isp": planned.trial.isp,
            "split": asdict(planned.trial.split),
            "pretraining": asdict(planned.pretraining),
            "data": data_fingerprint,
        },
    )


def trial_key(trial: Trial, data_fingerprint: str, nip_sha256: str) -> str:
    """Key of a trial: its fully resolved settings, its data and the weights that it starts from."""
    return _key("trial", {"trial": asdict(trial), "data": data_fingerprint, "nip": nip_sha256})


def _key(kind: str, content: Mapping[str, Any]) -> str:
    text = json.dumps({"recipe": RECIPE, "kind": kind, **content}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
