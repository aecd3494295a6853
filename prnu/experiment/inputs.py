"""Inputs of an experiment: pipelines, other cameras, settings, the split of the images; and the photographs."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from prnu.crops import central_crop
from prnu.denoise import SIGMA

DEVELOPED, RECEIVED = "developed", "received"  # views: before and after the distribution channel

Develop = Callable[[int], Tensor]  # index of an image -> (1, 3, H, W) in [0, 1]
View = Callable[[Tensor], Tensor]  # a photograph (1, 3, h, w) -> as the analyst gets it
Progress = Callable[[int, int], None]  # steps done, all steps

UNKNOWN: Mapping[str, Tensor] = MappingProxyType({})  # the sensor's true pattern, by view, of a real camera
AS_DEVELOPED: Mapping[str, View] = MappingProxyType({DEVELOPED: lambda photograph: photograph})


@dataclass(frozen=True)
class Pipeline:
    """A way to develop the images of one camera.

    name: unique among the pipelines. develop: index of an image -> RGB (1, 3, H, W) in [0, 1].
    """

    name: str
    develop: Develop


@dataclass(frozen=True)
class OtherCamera:
    """Another camera, whose photographs should not match.

    camera: its name. develop: how its images are developed, by the name of a pipeline.
    images: indices of the images to compare.
    """

    camera: str
    develop: Mapping[str, Develop]
    images: tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """Sizes; the defaults are the paper's.

    pixels: of a photograph at most. window, stride: of the localisation, in pixels.
    forgery: side of the flipped square. sigma: σ₀ of the denoiser.
    """

    pixels: int = 1024 * 1024
    window: int = 129
    stride: int = 8
    forgery: int = 256
    sigma: float = SIGMA


PAPER = Settings()


@dataclass(frozen=True)
class Split:
    """Indices of the images for the fingerprint (estimation), for the predictor, and for the evaluation of both."""

    estimation: tuple[int, ...]
    prediction: tuple[int, ...]
    evaluation: tuple[int, ...]


def split(
    names: Sequence[str], estimation: int = 90, prediction: int = 30, evaluation: int = 30, seed: int = 0
) -> Split:
    """Divide a camera's images at random, once for all pipelines, as the paper does.

    The division depends on the names of the images, not on their order.

    Args:
        names: of all images; the split has their indices.

    Raises:
        ValueError: there are fewer images than requested, two have one name, or a part is negative.
    """
    sizes = (estimation, prediction, evaluation)
    wanted = " + ".join(map(str, sizes))
    if min(sizes) < 0:
        raise ValueError(f"no part of a split can be negative: {wanted}")
    if sum(sizes) > len(names):
        raise ValueError(
            f"the split asks for {wanted} images, but there are only {len(names)}: "
            "import more, or choose a smaller split"
        )
    if len(set(names)) < len(names):
        raise ValueError("two images have one name, so that a split by names is not possible")
    by_name = sorted(range(len(names)), key=lambda index: names[index])
    shuffled = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    drawn = (by_name[place] for place in shuffled)
    return Split(*(tuple(itertools.islice(drawn, size)) for size in sizes))


def as_file(image: Tensor) -> Tensor:
    """Round an image in [0, 1] to the 8 bits of a file."""
    return (image.clamp(0, 1) * 255).round() / 255


def photographs(
    develop: Develop,
    images: Iterable[int],
    settings: Settings,
    device: torch.device | str,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[Tensor]:
    """Develop images one after the other: central crops (1, 3, h, w) in 8 bits, as numbers in [0, 1]."""
    for index in images:
        yield as_file(central_crop(develop(index), settings.pixels).to(device))
        advance()


def silent(done: int, total: int) -> None:
    """Progress that is not shown."""


def steps(total: int, on_progress: Progress) -> Callable[[], None]:
    """A function to call after each of `total` steps."""
    done = itertools.count(1)
    return lambda: on_progress(next(done), total)
