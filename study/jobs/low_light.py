"""Examine a UNet that learns to develop short exposures like long ones: Table 3 of the paper for one camera."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

import models
import prnu
from cameras import patches
from cameras.simulate import PRESETS
from models import pretrain as pretrainer
from models.pretrain import Pretraining
from prnu import exposures, lowlight
from prnu.exposures import Exposures
from study.jobs import keys
from study.jobs.job import BaseJob, Callbacks, Context, JobResult
from study.jobs.pretraining import NIP_FILE
from study.settings import Frozen, LowLight, Simulation
from study.tracking import write_texts

FILE = "low_light.json"  # of the run


class DarkFolders(Frozen):
    """Scenes of a real camera, and of another one: folders, and the :func:`prnu.exposures.identity` of their files."""

    folder: Path
    sha256: str
    others: Path | None = None
    others_sha256: str | None = None


class LowLightJob(BaseJob):
    """A UNet learns the low light of one camera.

    ``pixels``, ``evaluation`` and ``seed`` are those of the PRNU experiments.
    """

    kind: ClassVar[str] = "low_light"
    camera: str
    source: Simulation | DarkFolders
    pretraining: Pretraining
    settings: LowLight
    pixels: int
    evaluation: int
    seed: int

    @classmethod
    def plan(cls, **content: Any) -> "LowLightJob":
        """The job with the key of its content, without where a real camera's files lie."""
        job = cls(key="", **content)
        identity = {"camera": job.camera}
        taken = job.settings.model_dump(exclude={"iterations", "folder", "others"})
        settings = {
            "prnu": job.model_dump(include={"pixels", "evaluation", "seed"}) | {"low_light": taken},
            "pretraining": asdict(job.pretraining),
        }
        if isinstance(job.source, Simulation):
            identity["preset"] = job.source.preset
            settings["simulate"] = job.source.model_dump(exclude={"preset"})
        else:
            del taken["exposure"]
            identity |= job.source.model_dump(exclude={"folder", "others"})
        versions = {
            "prnu": prnu.VERSION,
            "patches": patches.VERSION,
            **models.versions("UNet"),
            "pretraining": pretrainer.VERSION,
        }
        return job.model_copy(update={"key": keys.key(cls.kind, identity, settings, versions)})

    @property
    def name(self) -> str:
        return f"{self.camera} low light"

    @property
    def axes(self) -> dict[str, Any]:
        return {"camera": self.camera}

    @property
    def params(self) -> dict[str, Any]:
        settings = {
            "prnu.low_light": self.settings.model_dump(mode="json"),
            "prnu": {"pixels": self.pixels, "evaluation": self.evaluation, "seed": self.seed},
            "pretraining": asdict(self.pretraining),
        }
        return {"camera": self.camera, **keys.flat(settings)}

    @property
    def tags(self) -> dict[str, str]:
        return {"simulated": str(isinstance(self.source, Simulation))}

    @property
    def steps(self) -> int:
        """Iterations at most, then photographs developed, roughly."""
        return self.pretraining.max_iterations + self.photographs

    @property
    def photographs(self) -> int:
        return 3 * self.settings.scenes

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        """Train and examine. Takes minutes: begun anew after a loss.

        Raises:
            ValueError: files are not those that the job was planned with, or do not fit each other.
        """
        with tempfile.TemporaryDirectory() as folder:
            scenes, of_others = self._scenes(Path(folder))
            result, nip = lowlight.examine(
                self.camera,
                scenes,
                of_others,
                self.settings.training,
                self.evaluation,
                self.seed,
                self.pretraining,
                self.pixels,
                context.device,
                callbacks.on_step,
                context.deterministic,
            )
        write_texts(artifacts, {FILE: result.to_json()})
        models.save(artifacts / NIP_FILE, nip)
        names = ("pce_libraw_long", "pce_libraw_short", "pce_unet_short")
        callbacks.on_metrics(self.steps, dict(zip(names, result.average_pce, strict=True)))
        return JobResult(self.steps)

    def _scenes(self, folder: Path) -> tuple[list[Exposures], Callable[[Sequence[int]], list[Exposures]]]:
        """The scenes of the job's camera, and how to get those that another camera took.

        Another real camera has scenes of its own. Another simulated one is another body of the same model, and takes
        the scenes that the fingerprint is tried on.
        """
        source, count, exposure = self.source, self.settings.scenes, self.settings.exposure
        if isinstance(source, DarkFolders):
            known = exposures.planned(source.folder, source.sha256)
            others = exposures.planned(source.others, source.others_sha256)
            order = torch.randperm(len(known), generator=torch.Generator().manual_seed(self.seed)).tolist()
            return [known[i] for i in order[:count]], lambda images: others[: len(images)]
        camera = PRESETS[source.preset]
        other_body = replace(camera, body=camera.body + 1)
        how = source.model_dump(include={"scenes", "height", "width", "seed"})
        own = [exposures.take_scene(camera, number, folder / "own", exposure, **how) for number in range(count)]
        return own, lambda images: [
            exposures.take_scene(other_body, self.settings.training + i, folder / "other", exposure, **how)
            for i in images
        ]
