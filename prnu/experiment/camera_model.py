"""Camera models: a fingerprint and a predictor by one pipeline; correlations of fingerprints (Fig. 5a)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from prnu.experiment.inputs import DEVELOPED, UNKNOWN, Develop, Pipeline, Settings, Split, View, photographs
from prnu.fingerprint import Accumulator
from prnu.match import correlation
from prnu.predictor import Predictor, train
from prnu.recovery import Comparison, Recovery


@dataclass(frozen=True, eq=False)
class CameraModel:
    """What an analyst knows about a camera from the photographs of one pipeline.

    pipeline: its name. K: fingerprints (h, w) by view: developed, and received if there is a channel.
    predictor: of the correlation with the developed one. recoveries: how K approached the truth, if that is known.
    """

    pipeline: str
    K: Mapping[str, Tensor]
    predictor: Predictor
    recoveries: tuple[Recovery, ...] = ()


def estimate(
    develop: Develop,
    images: Iterable[int],
    views: Mapping[str, View],
    settings: Settings,
    device: torch.device | str,
    advance: Callable[[], None],
    compare: Callable[[Mapping[str, Accumulator]], None] = lambda sums: None,
) -> dict[str, Tensor]:
    """Estimate the fingerprint K (h, w) of every view; every image is developed only once.

    compare: called with the sums of every view after each image.
    Raises ValueError without images, and for images that differ in size or show no noise.
    """
    sums = {view: Accumulator(settings.sigma) for view in views}
    for photograph in photographs(develop, images, settings, device, advance):
        for view, see in views.items():
            sums[view].add(see(photograph))
        compare(sums)
    return {view: accumulator.estimate() for view, accumulator in sums.items()}


def enrol(
    pipeline: Pipeline,
    images: Split,
    views: Mapping[str, View],
    settings: Settings,
    device: torch.device | str,
    advance: Callable[[], None],
    truth: Mapping[str, Tensor] = UNKNOWN,
) -> CameraModel:
    """Make the camera model by one pipeline. Raises ValueError as `estimate` and `prnu.predictor.train`."""
    compare = Comparison(truth, len(images.estimation))
    K = estimate(pipeline.develop, images.estimation, views, settings, device, advance, compare)
    authentic = photographs(pipeline.develop, images.prediction, settings, device, advance)
    predictor = train(authentic, K[DEVELOPED], settings.window, sigma=settings.sigma)
    return CameraModel(pipeline.name, K, predictor, compare.recoveries(pipeline.name))


def correlations(K: Tensor) -> Tensor:
    """Correlation of every fingerprint of (P, H, W) with every other one, (P, P): Fig. 5a."""
    return torch.stack([correlation(K, one.expand_as(K)) for one in K])
