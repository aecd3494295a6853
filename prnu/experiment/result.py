"""The result of the experiment for one camera, and its file."""

import os
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from models import tensorfile
from prnu.experiment.attribution import Attribution
from prnu.experiment.inputs import Settings, Split
from prnu.experiment.localisation import Forgery
from prnu.recovery import Recovery

KIND = "PRNU experiment"


@dataclass(frozen=True, eq=False)
class CameraResult:
    """Result of the experiment for one camera. All tensors are on the CPU.

    camera: its name. pipelines: the P names. images, settings: as given.
    fingerprints: (P, h, w) of developed photographs. correlations: (P, P) between them: Fig. 5a.
    f1: (P, P, n) best F1 score of camera models (rows) on photographs of pipelines (columns), for every evaluation
        image; their means over images are Fig. 5b. Pixels near the edge, where no window is centred, do not count.
    f1_with_rim: the same with them, each as the nearest window's centre; None in results of version 1.
    example: the first evaluation image, developed by the pipeline `example_pipeline`: Fig. 5c.
    attributions: one for every pipeline and every view.
    recoveries: likewise; none if the camera's true pattern is unknown.
    """

    camera: str
    pipelines: tuple[str, ...]
    images: Split
    settings: Settings
    fingerprints: Tensor
    correlations: Tensor
    f1: Tensor
    example_pipeline: str
    example: Forgery
    attributions: tuple[Attribution, ...]
    recoveries: tuple[Recovery, ...] = ()
    f1_with_rim: Tensor | None = None

    @property
    def mean_f1(self) -> Tensor:
        """(P, P)"""
        return self.f1.mean(-1)

    def to_json(self) -> dict[str, Any]:
        """Everything except the pictures; matrices as nested lists, rows first."""
        return {
            "camera": self.camera,
            "pipelines": list(self.pipelines),
            "images": asdict(self.images),
            "settings": asdict(self.settings),
            "correlations": self.correlations.tolist(),
            "f1": self.f1.tolist(),
            "mean_f1": self.mean_f1.tolist(),
            "f1_with_rim": None if self.f1_with_rim is None else self.f1_with_rim.tolist(),
            "mean_f1_with_rim": None if self.f1_with_rim is None else self.f1_with_rim.mean(-1).tolist(),
            "chance_f1": self.example.chance,
            "example_pipeline": self.example_pipeline,
            "example_unknown": self.example.unknown,
            "attributions": [attribution.to_json() for attribution in self.attributions],
            "recoveries": [recovery.to_json() for recovery in self.recoveries],
        }


def save(path: str | os.PathLike[str], result: CameraResult) -> None:
    """Write a result to one safetensors file, atomically."""
    tensors = {
        "fingerprints": result.fingerprints,
        "correlations": result.correlations,
        "f1": result.f1,
        **{f"example.{name}": tensor for name, tensor in vars(result.example).items()},
    }
    if result.f1_with_rim is not None:
        tensors["f1_with_rim"] = result.f1_with_rim
    tensorfile.write(path, KIND, tensors, result.to_json())


def load(path: str | os.PathLike[str]) -> CameraResult:
    """Read a file of `save`. Raises ValueError if it is missing, damaged or something else."""
    tensors, document = tensorfile.read(path, KIND)
    example = {name.removeprefix("example."): x for name, x in tensors.items() if name.startswith("example.")}
    return CameraResult(
        camera=document["camera"],
        pipelines=tuple(document["pipelines"]),
        images=Split(**{part: tuple(indices) for part, indices in document["images"].items()}),
        settings=Settings(**document["settings"]),
        fingerprints=tensors["fingerprints"],
        correlations=tensors["correlations"],
        f1=tensors["f1"],
        example_pipeline=document["example_pipeline"],
        example=Forgery(**example),
        attributions=tuple(Attribution.from_json(entry) for entry in document["attributions"]),
        recoveries=tuple(Recovery.from_json(entry) for entry in document["recoveries"]),
        f1_with_rim=tensors.get("f1_with_rim"),
    )
