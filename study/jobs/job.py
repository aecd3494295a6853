"""Units of work and their keys: what is asked for decides its key, and the key decides whether it is done already."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from forensics.trial import Distribution, Split, Trial
from models.pretrain import Pretraining
from study.execution.checkpoints import Checkpoints
from study.settings import Fingerprints, Frozen, LowLight, Simulation
from study.storage import Storage

RECIPE = 2  # raise it when a change of the code changes results: keys of older results then no longer match


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


class PretrainedNip(Frozen):
    """A pipeline of the PRNU experiments that imitates the standard one: ``file`` is its name in the storage."""

    name: str
    file: str
    sha256: str


class JointNip(Frozen):
    """A pipeline of the PRNU experiments that a finished trial has trained jointly: an artifact of its run."""

    name: str
    lam: float
    trial_key: str
    run_id: str


class FingerprintJob(Frozen):
    """Compare all pipelines by what they do to the fingerprint of one camera.

    ``others`` maps further cameras, whose photographs should not match, to their data fingerprints. Where there is a
    ``simulation``, it tells the sensor's true pattern. ``raw``: the cameras' RAW files are there for LibRaw to develop.
    """

    key: str = ""
    camera: str
    simulation: Simulation | None = None
    data_fingerprint: str
    others: dict[str, str]
    raw: bool = False
    pretrained: tuple[PretrainedNip, ...]
    joint: tuple[JointNip, ...]
    settings: Fingerprints
    channel: Distribution
    place: Place

    @property
    def kind(self) -> str:
        return "prnu"

    @property
    def name(self) -> str:
        return f"{self.camera} fingerprints"

    @property
    def params(self) -> dict[str, Any]:
        pipelines = [nip.name for nip in self.pretrained] + [nip.name for nip in self.joint]
        return {
            "camera": self.camera,
            "pipelines": ", ".join(pipelines),
            **_flat({"prnu": self.settings.model_dump(exclude={"low_light"})}),
        }

    @property
    def tags(self) -> dict[str, str]:
        return {
            "data_fingerprint": self.data_fingerprint,
            "simulated": str(self.simulation is not None),
            "threads": str(self.place.threads),
        }

    @property
    def steps(self) -> int:
        """Photographs developed, roughly."""
        images = self.settings.estimation + self.settings.prediction + self.settings.evaluation
        return images * (2 + len(self.pretrained) + len(self.joint))

    @property
    def identified(self) -> Self:
        """With the key that its content gives it. Where a jointly trained NIP lies is no part of that."""
        content = self.model_dump(
            mode="json",
            exclude={"key": True, "place": True, "joint": {"__all__": {"run_id"}}, "settings": {"low_light"}},
        )
        return self.model_copy(update={"key": _key("prnu", content)})


class DarkFolders(Frozen):
    """Scenes of a real camera, and of another one: folders, and the :func:`prnu.exposures.identity` of their files."""

    folder: Path
    sha256: str
    others: Path | None = None
    others_sha256: str | None = None


class LowLightJob(Frozen):
    """Examine a UNet that learns to develop the short exposures of one camera like long ones.

    ``pixels``, ``evaluation`` and ``seed`` are those of the PRNU experiments.
    """

    key: str = ""
    camera: str
    source: Simulation | DarkFolders
    pretraining: Pretraining
    settings: LowLight
    pixels: int
    evaluation: int
    seed: int
    place: Place

    @property
    def kind(self) -> str:
        return "prnu"

    @property
    def name(self) -> str:
        return f"{self.camera} low light"

    @property
    def params(self) -> dict[str, Any]:
        settings = {
            "prnu.low_light": self.settings.model_dump(mode="json"),
            "prnu": {"pixels": self.pixels, "evaluation": self.evaluation, "seed": self.seed},
            "pretraining": asdict(self.pretraining),
        }
        return {"camera": self.camera, **_flat(settings)}

    @property
    def tags(self) -> dict[str, str]:
        return {"simulated": str(isinstance(self.source, Simulation)), "threads": str(self.place.threads)}

    @property
    def steps(self) -> int:
        """Iterations at most, then photographs developed, roughly."""
        return self.pretraining.max_iterations + self.photographs

    @property
    def photographs(self) -> int:
        return 3 * self.settings.scenes

    @property
    def identified(self) -> Self:
        """With the key that its content gives it, less where a real camera's files lie, and what is said twice."""
        elsewhere = {"folder", "others"}
        said = {"iterations"} | ({"exposure"} if isinstance(self.source, DarkFolders) else set())
        content = self.model_dump(
            mode="json", exclude={"key": True, "place": True, "settings": elsewhere | said, "source": elsewhere}
        )
        return self.model_copy(update={"key": _key("prnu", content)})


Job = PretrainingJob | TrialJob | FingerprintJob | LowLightJob


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``{"channel": {"codec": …}}`` → ``{"channel.codec": …}``"""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def nip_name(camera: str, isp: str, key: str) -> str:
    """Name in the storage of a pre-trained NIP."""
    return f"nips/{camera}-{isp}-{key[:8]}.safetensors"


def pretraining_key(camera: str, isp: str, split: Split, pretraining: Pretraining, data_fingerprint: str) -> str:
    """Key of a pre-training."""
    settings = {"split": asdict(split), "pretraining": asdict(pretraining)}
    return _key("pretrain", {"camera": camera, "isp": isp, **settings, "data": data_fingerprint})


def trial_key(trial: Trial, data_fingerprint: str, nip_sha256: str) -> str:
    """Key of a trial: its fully resolved settings, its data and the weights that it starts from."""
    return _key("trial", {"trial": asdict(trial), "data": data_fingerprint, "nip": nip_sha256})


def _key(kind: str, content: Mapping[str, Any]) -> str:
    text = json.dumps({"recipe": RECIPE, "kind": kind, **content}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
