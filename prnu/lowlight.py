"""Low light (paper, section 3.3.2): scenes with a long and a short exposure; a UNet develops short ones like long ones.

    scene ─┬─ long exposure ──────────────── standard pipeline ── target
           └─ short exposure ── × gain ── UNet ── y ≈ target            (Chen et al. 2018, Learning to See in the Dark)

Does a fingerprint survive such a pipeline? Table 3 has the correlations between the fingerprints of one camera by
pipeline, and the PCE of photographs with the fingerprint of their own pipeline.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from cameras.develop import develop, develop_libraw
from cameras.pairs import Pairs
from models.determinism import computing
from models.nip import NIP
from models.nip import develop as develop_by_nip
from models.pretrain import Pretrained, Pretraining, pretrain, starting_nip
from prnu.crops import central_crop
from prnu.experiment import (
    AS_DEVELOPED,
    DEVELOPED,
    PAPER,
    Attribution,
    OtherCamera,
    Pipeline,
    Progress,
    Settings,
    Split,
    attributions,
    correlations,
    estimate,
    photographs,
    photographs_of_others,
    scores,
    silent,
    split,
    steps,
)
from prnu.exposures import LONG, SHORT, Exposures, check, frames, look


def learn(
    scenes: Sequence[Exposures],
    validation: int,
    settings: Pretraining,
    pixels: int = PAPER.pixels,
    device: torch.device | str = "cpu",
    on_step: Callable[[int], None] = lambda step: None,
    on_metrics: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    deterministic: bool = True,
) -> Pretrained:
    """Train a UNet to develop short exposures as the standard pipeline develops long ones.

    Args:
        scenes: of one camera; not those that are examined afterwards, if possible.
        validation: number of scenes for validation, the last ones.
        settings: of the training; its seed is also the seed of the starting weights.
        pixels: of a photograph at most: the training uses its middle.
        device: to train on.
        on_step, on_metrics, deterministic: as in `models.pretrain.pretrain`.

    Raises:
        ValueError: no scene is left to train on, or scenes are smaller than the patches or of several cameras.
    """
    training = len(scenes) - validation
    if min(training, validation) < 1:
        raise ValueError(f"{len(scenes)} scenes are too few to validate on {validation} and train on the others")
    check(scenes, (), pixels)
    taken = [frames(scene, pixels) for scene in scenes]
    first = taken[0][0]
    pairs = Pairs.from_images(
        ((short.bayer, develop(long)) for long, short in taken), first.cfa, first.cam2srgb, first.camera
    )
    nip = starting_nip("UNet", pairs, settings)
    train_images, validation_images = torch.arange(len(scenes)).split((training, validation))
    return pretrain(
        nip,
        pairs,
        train_images,
        validation_images,
        settings,
        device,
        deterministic=deterministic,
        on_step=on_step,
        on_metrics=on_metrics,
    )


def pipelines(scenes: Sequence[Exposures], nip: NIP, pixels: int, device: torch.device | str) -> list[Pipeline]:
    """The three pipelines of Table 3, which develop a scene by its index; LibRaw and the UNet brighten short exposures.

    nip: from `learn`, on `device`, where it develops.
    """

    def by_libraw(i: int, which: str) -> Tensor:
        taken = scenes[i]
        rgb = develop_libraw(taken.long) if which == LONG else develop_libraw(taken.short, look(taken).gain)
        return central_crop(torch.from_numpy(rgb).movedim(-1, 0)[None], pixels)

    def by_nip(i: int) -> Tensor:
        _, short = frames(scenes[i], pixels)
        return develop_by_nip(nip, torch.from_numpy(short.bayer).movedim(-1, 0)[None].to(device), "float32")

    return [
        Pipeline("libRAW (long)", partial(by_libraw, which=LONG)),
        Pipeline("libRAW (short)", partial(by_libraw, which=SHORT)),
        Pipeline("UNet (short)", by_nip),
    ]


# --- Table 3 ---


@dataclass(frozen=True)
class LowLight:
    """The paper's Table 3 for one camera.

    camera: its name. pipelines: the P names, such as "libRAW (long)". correlations: (P, P) between the fingerprints.
    attributions: for every pipeline, PCE of the evaluation images with the fingerprint of their own pipeline; their
        mean is the table's average PCE. It says something about the camera only if it is larger than the PCE of other
        cameras' images.
    """

    camera: str
    pipelines: tuple[str, ...]
    correlations: tuple[tuple[float, ...], ...]
    attributions: tuple[Attribution, ...]

    @property
    def average_pce(self) -> tuple[float, ...]:
        """(P,)"""
        return tuple(sum(attribution.same) / len(attribution.same) for attribution in self.attributions)

    def to_json(self) -> dict[str, Any]:
        return {
            "camera": self.camera,
            "pipelines": list(self.pipelines),
            "correlations": [list(row) for row in self.correlations],
            "average_pce": list(self.average_pce),
            "attributions": [attribution.to_json() for attribution in self.attributions],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the output of `to_json`."""
        return cls(
            camera=document["camera"],
            pipelines=tuple(document["pipelines"]),
            correlations=tuple(tuple(row) for row in document["correlations"]),
            attributions=tuple(Attribution.from_json(entry) for entry in document["attributions"]),
        )


@torch.no_grad()
def low_light(
    camera: str,
    pipelines: Sequence[Pipeline],
    images: Split,
    others: Sequence[OtherCamera] = (),
    settings: Settings = PAPER,
    device: torch.device | str = "cpu",
    on_progress: Progress = silent,
) -> LowLight:
    """Compute Table 3: fingerprints from `images.estimation` (paper: 100), queries from `images.evaluation` (20).

    The arguments are those of `prnu.experiment.experiment`; `images.prediction` is not used. Beyond the paper,
    photographs of other cameras are compared as well: traces that a NIP leaves in all photographs raise the PCE, too.

    Raises:
        ValueError: no pipelines, no images for one of the two, or images that differ in size.
    """
    if not (pipelines and images.estimation and images.evaluation):
        raise ValueError("low light needs pipelines, images for their fingerprints and images to compare with them")
    names = [pipeline.name for pipeline in pipelines]
    mine = len(names) * (len(images.estimation) + len(images.evaluation))
    theirs = sum(len(other.images) * sum(name in other.develop for name in names) for other in others)
    advance = steps(mine + theirs, on_progress)
    fingerprints, attributed = [], []
    for pipeline in pipelines:
        K = estimate(pipeline.develop, images.estimation, AS_DEVELOPED, settings, device, advance)
        queries = photographs(pipeline.develop, images.evaluation, settings, device, advance)
        of_others = photographs_of_others(pipeline.name, others, settings, device, advance)
        same, other = ([scores(x, K, AS_DEVELOPED, settings) for x in taken] for taken in (queries, of_others))
        attributed += attributions(pipeline.name, same, other)
        fingerprints.append(K[DEVELOPED])
    return LowLight(
        camera=camera,
        pipelines=tuple(names),
        correlations=tuple(tuple(row) for row in correlations(torch.stack(fingerprints)).tolist()),
        attributions=tuple(attributed),
    )


def examine(
    camera: str,
    scenes: Sequence[Exposures],
    of_others: Callable[[Sequence[int]], list[Exposures]],
    training: int,
    evaluation: int,
    seed: int,
    pretraining: Pretraining,
    pixels: int,
    device: torch.device | str,
    on_step: Callable[[int], None],
    deterministic: bool = True,
) -> tuple[LowLight, NIP]:
    """Train a UNet on the first scenes of a camera, and compute Table 3 on the others.

    Args:
        of_others: gives the scenes of another camera that are compared with the fingerprint, of as many images.
        training: number of scenes that the UNet learns from.
        evaluation: number of scenes that the fingerprints are tried on, drawn by ``seed``; the rest estimates them.
        pretraining: how the UNet learns.
        pixels: that are examined of each photograph.
        on_step: called with the number of iterations, and then with that and the photographs developed.
        deterministic: whether a repetition on the same kind of GPU shall give the same bits.

    Raises:
        ValueError: files that do not fit each other.
    """
    examined = scenes[training:]
    names = [scene.long.name for scene in examined]
    images = split(names, len(names) - evaluation, 0, evaluation, seed)
    others = of_others(images.evaluation)
    check(scenes, others, pixels)
    validation = max(1, training // 5)
    learnt = learn(
        scenes[:training], validation, pretraining, pixels, device, on_step=on_step, deterministic=deterministic
    )
    by_others = {pipeline.name: pipeline.develop for pipeline in pipelines(others, learnt.nip, pixels, device)}
    with computing(device, deterministic):
        result = low_light(
            camera,
            pipelines(examined, learnt.nip, pixels, device),
            images,
            [OtherCamera("another camera", by_others, tuple(range(len(others))))],
            Settings(pixels),
            device,
            lambda done, total: on_step(pretraining.max_iterations + done * 3 * len(scenes) // total),
        )
    return result, learnt.nip
