"""Examine a UNet that learns to develop short exposures like long ones: Table 3 of the paper for one camera."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

import models
import prnu
from cameras import patches
from cameras.scenes import scene_sources
from cameras.simulate import PRESETS, SimulatedCamera
from models import pretrain as pretrainer
from models.pretrain import Pretraining
from prnu import exposures, lowlight
from prnu.experiment import OtherCamera, Pipeline, Settings, split
from prnu.exposures import Exposures
from study.jobs import keys
from study.jobs.job import BaseJob, Callbacks, Context, JobResult
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
            "isp UNet": models.NIPS["UNet"].version,
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
        training, iterations = self.settings.training, self.pretraining.max_iterations
        with tempfile.TemporaryDirectory() as folder:
            scenes, of_other_body = _scenes(self, Path(folder))
            examined = scenes[training:]
            images = split(len(examined), len(examined) - self.evaluation, 0, self.evaluation, self.seed)
            others = of_other_body(images.evaluation)
            exposures.check(scenes, others, self.pixels)
            learnt = lowlight.learn(
                scenes[:training],
                max(1, training // 5),
                self.pretraining,
                self.pixels,
                context.device,
                callbacks.on_step,
            )

            def develop(scenes: Sequence[Exposures]) -> list[Pipeline]:
                return lowlight.pipelines(scenes, learnt.nip, self.pixels, context.device)

            of_others = {pipeline.name: pipeline.develop for pipeline in develop(others)}
            result = lowlight.low_light(
                self.camera,
                develop(examined),
                images,
                [OtherCamera("another camera", of_others, tuple(range(len(others))))],
                Settings(self.pixels),
                context.device,
                lambda done, total: callbacks.on_step(iterations + done * self.photographs // total),
            )
        write_texts(artifacts, {FILE: result.to_json()})
        models.save(artifacts / "nip.safetensors", learnt.nip)
        names = ("pce_libraw_long", "pce_libraw_short", "pce_unet_short")
        callbacks.on_metrics(self.steps, dict(zip(names, result.average_pce, strict=True)))
        return JobResult(self.steps)


def _scenes(job: LowLightJob, folder: Path) -> tuple[list[Exposures], Callable[[Sequence[int]], list[Exposures]]]:
    """The scenes of the job's camera, and how to get those that another camera took.

    Another real camera has scenes of its own. Another simulated one is another body of the same model, and takes the
    scenes that the fingerprint is tried on.
    """
    source, count = job.source, job.settings.scenes
    if isinstance(source, DarkFolders):
        known, others = (
            _planned_scenes(*there) for there in ((source.folder, source.sha256), (source.others, source.others_sha256))
        )
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(job.seed)).tolist()
        return [known[i] for i in order[:count]], lambda images: others[: len(images)]
    camera = PRESETS[source.preset]
    other_body = replace(camera, body=camera.body + 1)
    mine = [_taken(camera, source, number, folder / "own", job.settings.exposure) for number in range(count)]
    return mine, lambda images: [
        _taken(other_body, source, job.settings.training + i, folder / "other", job.settings.exposure) for i in images
    ]


def _planned_scenes(folder: Path | None, sha256: str | None) -> list[Exposures]:
    """The scenes in a folder, if there is one."""
    if folder is None:
        return []
    found = exposures.find(folder)
    if exposures.identity(found) != sha256:
        raise ValueError(f"the files in {folder} are not those that the job was planned with")
    return found


def _taken(camera: SimulatedCamera, simulation: Simulation, number: int, folder: Path, exposure: float) -> Exposures:
    """A scene of its own, that no other experiment has seen."""
    sources = list(scene_sources(simulation.scenes).values())
    seed = (simulation.seed, 1, number)
    scene = sources[number % len(sources)](simulation.height, simulation.width, np.random.default_rng(seed))
    rng = np.random.default_rng((*seed, *camera.identity))
    return exposures.take(camera, scene, folder, f"{number:04d}", rng, exposure)
