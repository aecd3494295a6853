"""Low light (paper, section 3.3.2): every scene taken long and short, and a UNet that develops short like long.

    scene ─┬─ long exposure ──────────────── standard pipeline ── target
           └─ short exposure ── × gain ── UNet ── y ≈ target            (Chen et al. 2018, Learning to See in the Dark)

Does a fingerprint survive such a pipeline? Table 3: correlations between the fingerprints of one camera by pipeline,
and how well photographs match the fingerprint of their own pipeline.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

import models
from cameras.develop import develop
from cameras.pairs import Pairs
from cameras.simulate import SimulatedCamera, capture, frame
from models.pretrain import Pretrained, Pretraining, pretrain
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
    scores,
    silent,
    steps,
    strangers,
)

# --- A camera in the dark ---


@dataclass(frozen=True)
class Exposures:
    """One scene taken twice by one camera: mosaics (H, W) uint16, the short one amplified to look like the long one."""

    long: np.ndarray
    short: np.ndarray


def expose(camera: SimulatedCamera, scene: np.ndarray, rng: np.random.Generator, exposure: float = 1 / 30) -> Exposures:
    """A scene (H, W, 3), linear sRGB in [0, 1], taken with all its light and with the part `exposure` of it.

    The sensor's pattern is the same both times. The short mosaic has fewer electrons, and is amplified by 1/exposure
    after the converter, its noise and its rounding included.

    Raises:
        ValueError: a scene of another shape, or an exposure outside ]0, 1].
    """
    if not 0 < exposure <= 1:
        raise ValueError(f"a short exposure lies between 0 and 1, the long one, not at {exposure}")
    long = capture(camera, scene, rng)
    return Exposures(long, amplify(camera, capture(camera, scene, rng, exposure), 1 / exposure))


def amplify(camera: SimulatedCamera, mosaic: np.ndarray, gain: float) -> np.ndarray:
    """A mosaic (H, W) with digital gain on what differs from black, from 0 to white: viewable as a DNG or RawFrame."""
    height, width = mosaic.shape
    black = np.tile(np.reshape(camera.black, (2, 2)), (height // 2, width // 2))
    return np.clip(np.rint(black + gain * (mosaic - black.astype(np.float64))), 0, camera.white).astype(np.uint16)


def learn(
    camera: SimulatedCamera,
    exposures: Sequence[Exposures],
    validation: int,
    settings: Pretraining,
    device: torch.device | str = "cpu",
    on_step: Callable[[int], None] = lambda step: None,
    on_metrics: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
) -> Pretrained:
    """A UNet from its starting weights to one that develops short exposures like the standard pipeline long ones.

    Args:
        camera: that took them.
        exposures: best of other scenes than those that are examined afterwards.
        validation: so many of them, the last ones, validate.
        settings: of the training; the seed of the starting weights is its seed, too.
        device: to train on.
        on_step, on_metrics: as in `models.pretrain.pretrain`.

    Raises:
        ValueError: no exposure is left to train on, or they are smaller than the patches.
    """
    training = len(exposures) - validation
    if min(training, validation) < 1:
        raise ValueError(f"{len(exposures)} exposures are too few to validate on {validation} and train on the others")
    pairs = Pairs.from_images(
        ((frame(camera, taken.short).bayer, develop(frame(camera, taken.long))) for taken in exposures),
        camera.cfa,
        camera.cam2srgb,
        f"{camera.make} {camera.model}",
    ).to(device)
    start = torch.Generator().manual_seed(settings.seed)
    nip = models.build("UNet", generator=start, cfa=pairs.cfa, cam2srgb=pairs.cam2srgb.tolist())
    train_images, validation_images = torch.arange(len(exposures)).split((training, validation))
    return pretrain(nip, pairs, train_images, validation_images, settings, on_step, on_metrics)


# --- Table 3 ---


@dataclass(frozen=True)
class LowLight:
    """The paper's Table 3 for one camera.

    camera: its name. pipelines: the P names, such as "libraw (long)". correlations: (P, P) between the fingerprints.
    attributions: of every pipeline, PCE of the evaluation images with the fingerprint of their own pipeline; their mean
        is the table's average PCE. Where it is not larger than that of other cameras' images, it does not tell of the
        camera.
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
        """What `to_json` made, read again."""
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
    """Table 3: `images.estimation` make the fingerprints (100 in the paper), `images.evaluation` the queries (20).

    Arguments are those of `prnu.experiment.experiment`; `images.prediction` is not used. Beyond the paper, photographs
    of other cameras are compared as well: what a NIP leaves in every photograph raises the PCE without a camera's help.

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
        foreign = strangers(pipeline.name, others, settings, device, advance)
        same, other = ([scores(x, K, AS_DEVELOPED, settings) for x in taken] for taken in (queries, foreign))
        attributed += attributions(pipeline.name, same, other)
        fingerprints.append(K[DEVELOPED])
    return LowLight(
        camera=camera,
        pipelines=tuple(names),
        correlations=tuple(tuple(row) for row in correlations(torch.stack(fingerprints)).tolist()),
        attributions=tuple(attributed),
    )
