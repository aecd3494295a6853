"""Study files: YAML in, frozen settings out, one clear line for everything that does not fit.

A study is a grid: cameras × ISPs × λ × seeds. A list under any other setting of a trial (``channel.codec``,
``training.learning_rate``, …) is one more axis of the grid.
"""

import itertools
import typing
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from cameras.simulate import PRESETS
from forensics.trial import Distribution, Split, Training, Trial, Validation
from models.pretrain import Pretraining

ISP = Literal["INet", "UNet", "DNet", "ClassicISP"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$"  # cameras and studies name folders, too


class StudyError(ValueError):
    """Something only the user can put right: its message is one line that says what and how."""


def expanded(storage: str) -> str:
    """A folder with ``~`` resolved, or the address of a bucket without a slash at its end."""
    if "://" in storage:
        return storage.rstrip("/")
    return str(Path(storage).expanduser())


def _absolute(folder: Path) -> Path:
    return folder.expanduser().absolute()


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


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

    ``gpus`` may be a share of one; with 0, trials run on their CPUs. Checkpoints are at least
    ``checkpoint_seconds`` apart. ``staging`` is a folder on each machine's own disk for copies of pairs and NIPs: on a
    cluster, and where the storage is a bucket.
    """

    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0
    max_failures: Annotated[int, Field(ge=0)] = 10
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30
    staging: Annotated[Path, AfterValidator(Path.expanduser)] = Path("~/.cache/imaging-pipelines").expanduser()

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"{gpus} GPUs: above one, only whole numbers can be given to a trial")
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


@dataclass(frozen=True)
class Protocol:
    """All that the trials of one study share, but for its axes."""

    manipulations: tuple[str, ...]
    split: Split
    pretraining: Pretraining
    training: Training
    validation: Validation
    channel: Distribution


SECTIONS: dict[str, type] = {
    "split": Split,
    "pretraining": Pretraining,
    "training": Training,
    "validation": Validation,
    "channel": Distribution,
}


class Planned(Frozen):
    """One trial of the grid, before its data are at hand. ``axes`` are its places on the study's further axes."""

    trial: Trial
    pretraining: Pretraining
    axes: dict[str, Any] = {}


class Study(Frozen):
    """A study file. See README, "A study of your own"."""

    name: Annotated[str, Field(pattern=NAME)]
    storage: Annotated[str, AfterValidator(expanded)] = "results"
    tracking_uri: str | None = None
    cameras: Annotated[tuple[Camera, ...], Field(min_length=1)]
    isps: Annotated[tuple[ISP, ...], Field(min_length=1)]
    lambdas: Annotated[tuple[Literal["fixed"] | float, ...], Field(min_length=1)]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    manipulations: Annotated[tuple[Any, ...], Field(min_length=1)] = ("sharpen", "gaussian", "jpeg:80", "resample")
    split: dict[str, Any] = {}
    pretraining: dict[str, Any] = {}
    training: dict[str, Any] = {}
    validation: dict[str, Any] = {}
    channel: dict[str, Any] = {}
    resources: Resources = Resources()
    prnu: Fingerprints = Fingerprints()

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
        for value in labels:
            if labels.count(value) > 1:
                raise ValueError(f"{value} is named twice")
        return values

    def planned(self) -> list[Planned]:
        """Every trial of the grid, seed after seed: a whole front is there as soon as the first seed is done."""
        variants = self._variants()
        return [
            Planned(
                trial=Trial(
                    camera=camera.name,
                    isp=isp,
                    lam=lam,
                    seed=seed,
                    manipulations=protocol.manipulations,
                    split=protocol.split,
                    training=protocol.training,
                    validation=protocol.validation,
                    channel=protocol.channel,
                ),
                pretraining=protocol.pretraining,
                axes=axes,
            )
            for seed, camera, isp, lam in itertools.product(self.seeds, self.cameras, self.isps, self.lambdas)
            for axes, protocol in variants
        ]

    def _variants(self) -> list[tuple[dict[str, Any], Protocol]]:
        """One protocol for each combination of the further axes, with its place on them."""
        settings = {(name, key): value for name in SECTIONS for key, value in getattr(self, name).items()}
        axes = {f"{name}.{key}": value for (name, key), value in settings.items() if isinstance(value, list | tuple)}
        several = [isinstance(item, list | tuple) for item in self.manipulations]
        if any(several):
            if not all(several):
                raise StudyError("manipulations: give names, or lists of names as an axis, not both")
            axes["manipulations"] = self.manipulations
        for axis, values in axes.items():
            if not values:
                raise StudyError(f"{axis}: an axis needs at least one value, got []")
            if len({str(value) for value in values}) < len(values):
                raise StudyError(f"{axis}: a value is named twice in {list(values)}")
        for name, key in settings:
            known = [field.name for field in fields(SECTIONS[name])]
            if key not in known:
                raise StudyError(f"unknown key '{name}.{key}': known here are {', '.join(known)}")

        variants = []
        for values in itertools.product(*axes.values()):
            place = dict(zip(axes, values, strict=True))
            chosen: dict[str, Any] = {name: {} for name in SECTIONS}
            for (name, key), value in settings.items():
                chosen[name][key] = place.get(f"{name}.{key}", value)
            chosen["manipulations"] = place.get("manipulations", self.manipulations)
            variants.append((place, _protocol(chosen)))
        return variants


def _protocol(chosen: dict[str, Any]) -> Protocol:
    try:
        protocol = TypeAdapter(Protocol).validate_python(chosen)
        # What only the whole can show: does the channel leave the FAN enough pixels, are the names known?
        Trial(
            "camera", "UNet", "fixed", 0, protocol.manipulations, training=protocol.training, channel=protocol.channel
        )
    except ValidationError as error:
        raise StudyError(explain(error, Protocol)) from None
    return protocol


def load_study(source: str) -> Study:
    """A preset (``smoke``, ``demo``, ``paper``, …) or a YAML file.

    Raises:
        StudyError: one line naming the file, the key and the remedy.
    """
    path = Path(source)
    if source in presets():
        text = (resources.files("study.settings") / "presets" / f"{source}.yaml").read_text()
    elif path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError(f"{source} cannot be read: {error}") from None
    else:
        raise StudyError(f"there is no study '{source}': name a YAML file or a preset ({', '.join(presets())})")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StudyError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise StudyError(f"{source}: a study file holds 'key: value' lines, see the presets for examples")
    try:
        study = Study.model_validate(content)
        study.planned()
    except ValidationError as error:
        raise StudyError(f"{source}: {explain(error, Study)}") from None
    except ValueError as error:
        raise StudyError(f"{source}: {error}") from None
    return study


def presets() -> list[str]:
    """Names of the studies that ship with the project."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in (resources.files("study.settings") / "presets").iterdir()
    )


def explain(error: ValidationError, model: type) -> str:
    """The first thing wrong, in one line; an unknown key is answered with the known ones."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if not (isinstance(part, str) and "[" in part))
    if first["type"] == "extra_forbidden":
        return f"unknown key '{place}': known here are {', '.join(_keys(model, first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"'{place}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "value_error" else f" (got {first['input']!r})"
    return f"{place}: {message}{given}" if place else f"{message}{given}"


def _keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys of the settings found by walking ``place`` from ``model``."""
    hints = typing.get_type_hints(model)
    for part in place:
        if isinstance(part, int):
            continue
        model = _settings_class(hints[part])
        hints = typing.get_type_hints(model)
    return list(model.model_fields)


def _settings_class(hint: Any) -> type[BaseModel]:
    """The settings class inside a hint such as ``tuple[Camera, ...]`` or ``Simulation | None``."""
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return hint
    return next(_settings_class(argument) for argument in typing.get_args(hint) if argument is not type(None))
