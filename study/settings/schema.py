"""The settings of a study file: what each may be, and its default."""

import dataclasses
import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from cameras.simulate import PRESETS
from forensics.localisation import Localisation
from forensics.panel import Panel
from models.registry import NIPS
from study import NO_HOME
from study.settings.frozen import Frozen
from study.settings.messages import StudyError
from study.settings.search import Search
from study.settings.secrets import without_password

# Cameras and studies name folders, too, also on disks that drop a dot or space at a name's end.
NAME = r"^[A-Za-z0-9]([A-Za-z0-9 ._-]*[A-Za-z0-9_-])?$"


def _known_isp(name: str) -> str:
    if name not in NIPS:
        raise ValueError(f"there is no NIP {name}: choose one of {', '.join(NIPS)}")
    return name


ISP = Annotated[str, AfterValidator(_known_isp)]


def expanded(storage: str) -> str:
    """A folder with ``~`` resolved, or the address of a bucket without password and without a slash at its end.

    Raises:
        StudyError: the folder's name cannot be stored, as it is no UTF-8, or there is no home folder.
    """
    if "://" in storage:
        return without_password(storage).rstrip("/")
    folder = at_home(Path(storage))
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        raise StudyError(f"storage {storage}: the name of the folder is no UTF-8: give it another") from None
    return str(folder)


def at_home(path: Path) -> Path:
    """A path with ``~`` resolved on this machine.

    Raises:
        StudyError: there is no home folder.
    """
    found = Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises an error without such a user)
    if found != path and found.is_relative_to(NO_HOME):
        raise StudyError(f"{path}: there is no home folder here: set HOME, or name another folder")
    return found


def _absolute(folder: Path) -> Path:
    return at_home(folder).absolute()


class Simulation(Frozen):
    """A camera that exists only as a model: its RAW files are written when they are missing.

    ``scenes`` are ``dead-leaves``, ``scikit-image`` (the photographs that it ships) or a folder of photographs.
    """

    preset: str
    images: Annotated[int, Field(ge=2)] = 24
    height: Annotated[int, Field(ge=64, multiple_of=2)] = 512
    width: Annotated[int, Field(ge=64, multiple_of=2)] = 768
    scenes: str = "dead-leaves"
    seed: int = 0

    @field_validator("preset")
    @classmethod
    def _known(cls, preset: str) -> str:
        if preset not in PRESETS:
            raise ValueError(f"there is no simulated camera {preset}: choose one of {', '.join(PRESETS)}")
        return preset


class Camera(Frozen):
    """A camera of the study: imported under its name, or simulated."""

    name: Annotated[str, Field(pattern=NAME)]
    simulate: Simulation | None = None


class Resources(Frozen):
    """What a trial is given, and how stubbornly it is repeated when a process, a node or a network fails.

    No part of any key. ``gpus`` is the share of a GPU, 1 for a whole one; with 0, trials run on their CPUs. ``data``
    says where a trial's photographs lie: ``host`` sends every batch to the GPU, ``device`` sends the photographs once,
    ``auto`` does so where they fit beside all else. With ``deterministic``, a repetition on the same kind of GPU gives
    the same bits. Checkpoints are at least ``checkpoint_seconds`` apart. ``cache`` is a folder on each machine's own
    disk for copies of pairs and NIPs: on a cluster, and where the storage is a bucket. ``~`` is the home folder there.
    """

    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0
    data: Literal["auto", "host", "device"] = "auto"
    deterministic: bool = True
    max_failures: Annotated[int, Field(ge=0)] = 10
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30
    cache: Path = Path("~/.cache/imaging-pipelines")

    @field_validator("gpus")
    @classmethod
    def _one_at_most(cls, gpus: float) -> float:
        if gpus > 1:
            raise ValueError(f"{gpus:g} is impossible: a trial computes on one GPU, use a number from 0 to 1")
        return gpus


class LowLight(Frozen):
    """The PRNU experiment in low light: a UNet learns to develop short exposures like long ones.

    Attributes:
        scenes: taken long and short, at most; ``training`` of them are for the UNet alone.
        iterations: of the UNet's training at most; None is as many as the study's pre-training makes.
        exposure: of a simulated camera's short exposures, relative to its long ones.
        folder: RAW files of a real camera, see :mod:`prnu.exposures`: on a cluster, where all machines see it.
        others: those of another camera, whose photographs should not match.
    """

    scenes: Annotated[int, Field(ge=8)] = 160
    training: Annotated[int, Field(ge=2)] = 40
    iterations: Annotated[int, Field(ge=1)] | None = None
    exposure: Annotated[float, Field(gt=0, lt=1)] = 1 / 30
    folder: Annotated[Path, AfterValidator(_absolute)] | None = None
    others: Annotated[Path, AfterValidator(_absolute)] | None = None

    @model_validator(mode="after")
    def _others_of_something(self) -> Self:
        if self.others is not None and self.folder in (None, self.others):
            raise ValueError("others: another folder than that of the camera they are others to")
        return self


class Fingerprints(Frozen):
    """The PRNU experiments (section 3.3 of the paper).

    Attributes:
        estimation, prediction, evaluation: photographs that fingerprints and correlation predictors are made of, and
            those they are tried on, drawn by ``seed``.
        pixels: of a photograph at most: its middle is examined.
        window, stride, forgery: of tampering localisation, in pixels.
        instances: UNets of the first camera that differ in the seed of their pre-training alone.
        low_light: see there.
    """

    estimation: Annotated[int, Field(ge=2)] = 90
    prediction: Annotated[int, Field(ge=1)] = 30
    evaluation: Annotated[int, Field(ge=1)] = 30
    seed: int = 0
    pixels: Annotated[int, Field(ge=128 * 128)] = 1024 * 1024
    window: Annotated[int, Field(ge=9)] = 129
    stride: Annotated[int, Field(ge=1)] = 8
    forgery: Annotated[int, Field(ge=16)] = 256
    instances: Annotated[int, Field(ge=1)] = 5
    low_light: LowLight = LowLight()

    @property
    def fewest_scenes(self) -> int:
        """In low light: two are left for a fingerprint."""
        return self.low_light.training + self.evaluation + 2

    @model_validator(mode="after")
    def _scenes_left(self) -> Self:
        if self.low_light.scenes < self.fewest_scenes:
            raise ValueError(
                f"low_light.scenes: {self.low_light.scenes} leave no scene for a fingerprint beside "
                f"low_light.training: {self.low_light.training} and evaluation: {self.evaluation}"
            )
        return self


def _known_settings(kind: type, settings: Any) -> Any:
    """Of a data class: pydantic would leave an unknown key out."""
    known = [field.name for field in dataclasses.fields(kind)]
    for name in settings if isinstance(settings, dict) else ():
        if name not in known:
            raise ValueError(f"there is no setting '{name}': known here are {', '.join(known)}")
    return settings


Evaluation = Annotated[Panel, BeforeValidator(partial(_known_settings, Panel))]
Composites = Annotated[Localisation, BeforeValidator(partial(_known_settings, Localisation))]


class Study(Frozen):
    """A study file. See README, "A study of your own"."""

    name: Annotated[str, Field(pattern=NAME)]
    storage: Annotated[str, AfterValidator(expanded)] = "results"
    tracking_uri: Annotated[str, AfterValidator(without_password)] | None = None
    cameras: Annotated[tuple[Camera, ...], Field(min_length=1)]
    isps: Annotated[tuple[ISP, ...], Field(min_length=1)]
    lambdas: Annotated[tuple[Literal["fixed"] | float, ...], Field(min_length=1)]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    manipulations: Annotated[tuple[Any, ...], Field(min_length=1)] = ("sharpen", "gaussian", "jpeg:80", "resample")
    split: dict[str, Any] = Field(default_factory=dict)
    pretraining: dict[str, Any] = Field(default_factory=dict)
    codec_pretraining: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    validation: dict[str, Any] = Field(default_factory=dict)
    channel: dict[str, Any] = Field(default_factory=dict)
    also: tuple[dict[str, Any], ...] = ()
    evaluation: Evaluation = Panel()
    localisation: Composites = Localisation()
    resources: Resources = Resources()
    prnu: Fingerprints = Fingerprints()
    search: Search | None = None

    @property
    def folder(self) -> Path:
        """For what is made on this machine (pictures of simulated cameras, reports): the storage itself, if it can."""
        return Path("results" if "://" in self.storage else self.storage)

    @field_validator("cameras", mode="before")
    @classmethod
    def _named(cls, cameras: Any) -> Any:
        """``- Nikon D90`` is short for ``- name: Nikon D90``."""
        if not isinstance(cameras, list | tuple):
            return cameras
        return [{"name": camera} if isinstance(camera, str) else camera for camera in cameras]

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, seeds: Any) -> Any:
        """``seeds: 10`` is short for the seeds 0 … 9."""
        return tuple(range(seeds)) if isinstance(seeds, int) else seeds

    @field_validator("cameras", "isps", "lambdas", "seeds")
    @classmethod
    def _distinct(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        labels = [getattr(value, "name", value) for value in values]
        same = [label.casefold() if isinstance(label, str) else label for label in labels]  # as on some disks
        for value, label in zip(labels, same, strict=True):
            if same.count(label) > 1:
                raise ValueError(f"{value} is named twice")
        return values
