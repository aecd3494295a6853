"""What imaging pipelines do to a camera's fingerprint (paper, section 3.3.1), and what else could be asked.

    the camera's images ── pipeline j ─┬─ estimation ── Kⱼ ─────────────┬─ correlations of Kᵢ, Kⱼ (Fig. 5a)
                                       ├─ prediction ── predictorⱼ ─┐   │
                                       └─ evaluation ─┬─ forged ────┴───┼─ maps by Kᵢ, predictorᵢ (Fig. 5b, c)
    other cameras' images ── pipeline j ──────────────┴─────────────────┴─ PCE with Kⱼ

Beyond the paper: how well the photographs of a pipeline match the fingerprint that they should match, whether what a
pipeline leaves in *every* camera's photographs is mistaken for a fingerprint, and, where the sensor's pattern is known,
how much of it is in the fingerprint; all before and after the distribution channel. There the analyst owns nothing but
received photographs: fingerprints are estimated from them as well, at their size.

A photograph is what a file would hold: a central crop in 8 bits. One of them is in memory at a time, beside the
fingerprints.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor

from models import tensorfile
from prnu.denoise import SIGMA
from prnu.fingerprint import Accumulator
from prnu.localise import best_f1, forge, tampering_probability
from prnu.match import correlation, pce
from prnu.predictor import Predictor, features, image_correlation, train, window_positions
from prnu.recovery import Comparison, Recovery
from prnu.residual import residual

GRID = 32  # crops start at its multiples, which keeps the phase of the CFA, of JPEG's blocks and of a UNet's pooling
PCE_THRESHOLD = 60.0  # of Goljan, Fridrich & Filler, SPIE 7254, 2009: false alarms in 2.4e-5 of the pairs
DEVELOPED, RECEIVED = "developed", "received"  # views: before and after the distribution channel
KIND = "PRNU experiment"

Develop = Callable[[int], Tensor]  # index of an image -> (1, 3, H, W) in [0, 1]
View = Callable[[Tensor], Tensor]  # a photograph (1, 3, h, w) -> as the analyst gets it
Progress = Callable[[int, int], None]  # steps done, steps in all

UNKNOWN: Mapping[str, Tensor] = MappingProxyType({})  # the sensor's true pattern, by view, of a real camera
AS_DEVELOPED: Mapping[str, View] = MappingProxyType({DEVELOPED: lambda photograph: photograph})


# --- what goes in ---


@dataclass(frozen=True)
class Pipeline:
    """A way to develop the images of one camera.

    name: unlike that of any other pipeline. develop: index of an image -> RGB (1, 3, H, W) in [0, 1].
    """

    name: str
    develop: Develop


@dataclass(frozen=True)
class OtherCamera:
    """Another camera, whose photographs should not match.

    camera: its name. develop: how its images are developed, by the name of a pipeline.
    images: indices of those to compare.
    """

    camera: str
    develop: Mapping[str, Develop]
    images: tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """The paper's, by default.

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
    """Indices of the images that fingerprint and predictor are made of, and of those they are tried on."""

    estimation: tuple[int, ...]
    prediction: tuple[int, ...]
    evaluation: tuple[int, ...]


def split(count: int, estimation: int = 90, prediction: int = 30, evaluation: int = 30, seed: int = 0) -> Split:
    """Divides a camera's `count` images at random, once for all pipelines, as the paper does.

    Raises:
        ValueError: there are fewer images than asked for, or a part is negative.
    """
    sizes = (estimation, prediction, evaluation)
    wanted = " + ".join(map(str, sizes))
    if min(sizes) < 0:
        raise ValueError(f"no part of a split can be negative: {wanted}")
    if sum(sizes) > count:
        raise ValueError(
            f"the split asks for {wanted} images, but there are only {count}: import more, or choose a smaller split"
        )
    shuffled = iter(torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist())
    return Split(*(tuple(itertools.islice(shuffled, size)) for size in sizes))


def silent(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def steps(total: int, on_progress: Progress) -> Callable[[], None]:
    """A function to be called after each of `total` steps."""
    done = itertools.count(1)
    return lambda: on_progress(next(done), total)


# --- photographs ---


def central_crop(image: Tensor, pixels: int) -> Tensor:
    """The middle of an image (N, 3, H, W), of at most so many pixels: a square where one fits; even sides.

    It is off the centre by less than `GRID`, so that what is periodic in the image keeps its phase.
    Raises ValueError for fewer than 2×2 pixels.
    """
    top, left, height, width = crop_box(image.shape[-2], image.shape[-1], pixels)
    return image[..., top : top + height, left : left + width]


def crop_box(height: int, width: int, pixels: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of `central_crop` in an image of this size. The crop of a crop is itself."""
    side = math.isqrt(pixels)
    h = min(height, max(side, pixels // width)) // 2 * 2
    w = min(width, max(side, pixels // height)) // 2 * 2
    if min(h, w) < 2:
        raise ValueError(f"a crop of {pixels} pixels from an image of {height}×{width} is empty")
    return (height - h) // 2 // GRID * GRID, (width - w) // 2 // GRID * GRID, h, w


def as_file(image: Tensor) -> Tensor:
    """An image in [0, 1] as its file in 8 bits holds it."""
    return (image.clamp(0, 1) * 255).round() / 255


def photographs(
    develop: Develop,
    images: Iterable[int],
    settings: Settings,
    device: torch.device | str,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[Tensor]:
    """The developed images, one after the other: central crops (1, 3, h, w) in 8 bits, as numbers in [0, 1]."""
    for index in images:
        yield as_file(central_crop(develop(index), settings.pixels).to(device))
        advance()


# --- Fig. 5: one camera, all pipelines ---


@dataclass(frozen=True, eq=False)
class CameraModel:
    """What an analyst knows of a camera by the photographs of one pipeline.

    pipeline: its name. K: fingerprints (h, w) by view: developed, and received where there is a channel.
    predictor: of the correlation with the developed one. recoveries: how K came near the truth, where that is known.
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
    """The fingerprint K (h, w) in every view; every image is developed once, whatever the number of views.

    compare: shown the sums of every view after each image.
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
    """The camera model by one pipeline. Raises ValueError as `estimate` and `prnu.predictor.train`."""
    compare = Comparison(truth, len(images.estimation))
    K = estimate(pipeline.develop, images.estimation, views, settings, device, advance, compare)
    authentic = photographs(pipeline.develop, images.prediction, settings, device, advance)
    predictor = train(authentic, K[DEVELOPED], settings.window, sigma=settings.sigma)
    return CameraModel(pipeline.name, K, predictor, compare.recoveries(pipeline.name))


def correlations(K: Tensor) -> Tensor:
    """Correlation of every fingerprint of (P, H, W) with every one, (P, P): Fig. 5a."""
    return torch.stack([correlation(K, one.expand_as(K)) for one in K])


@dataclass(frozen=True, eq=False)
class Forgery:
    """A forged photograph, and what every camera model makes of it: Fig. 5c.

    image: (3, h, w) uint8. truth: (h, w) bool, where it is forged.
    probability: (P, m, n), that of tampering by every model, at the pixels rows (m,) × columns (n,).
    f1: (P,) float64, the best over all thresholds.
    """

    image: Tensor
    truth: Tensor
    probability: Tensor
    rows: Tensor
    columns: Tensor
    f1: Tensor

    @property
    def chance(self) -> float:
        """The F1 score of a map that takes everything as forged: the least that `f1` can be."""
        forged = self.truth[self.rows[:, None], self.columns].double().mean().item()
        return 2 * forged / (1 + forged)


def tamper(models: Sequence[CameraModel], photograph: Tensor, settings: Settings) -> Forgery:
    """Forges a photograph (1, 3, h, w) and has every model look for it; its residual and its features serve them all.

    Raises ValueError for a photograph of another size, or one that is too small for the forgery or the window.
    """
    forged, truth = forge(photograph, settings.forgery)
    K = torch.stack([model.K[DEVELOPED] for model in models])  # (P, h, w)
    W, content = residual(forged, settings.sigma), features(forged, settings.window, settings.stride)
    rho = image_correlation(forged, K, settings.window, settings.stride, W)[0]  # (P, m, n)
    predictors = [model.predictor for model in models]
    probability = torch.stack(
        [
            tampering_probability(measured, predictor.predict(content)[0], predictor.unrelated, predictor.error)
            for measured, predictor in zip(rho, predictors, strict=True)
        ]
    )
    rows, columns = window_positions(truth.shape[0], truth.shape[1], settings.window, settings.stride)
    f1 = best_f1(probability, truth[rows[:, None], columns])  # (P,)
    return Forgery((forged[0] * 255).round().to(torch.uint8), truth, probability, rows, columns, f1)


# --- beyond the paper: which camera took this photograph? ---


@dataclass(frozen=True)
class Proportion:
    """So many of so many pairs of a photograph and a fingerprint."""

    count: int
    pairs: int

    @property
    def share(self) -> float:
        """NaN where there are no pairs."""
        return self.count / self.pairs if self.pairs else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % confidence interval; of independent pairs: those that share a fingerprint tell less."""
        if not self.pairs:
            return 0.0, 1.0
        z, n, p = 1.959964, self.pairs, self.share
        centre = p + z**2 / (2 * n)
        margin = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        low, high = ((centre + sign * margin) / (1 + z**2 / n) for sign in (-1, 1))
        return max(low, 0.0), min(high, 1.0)

    def to_json(self) -> dict[str, Any]:
        share = self.share if self.pairs else None  # JSON has no NaN
        return {"count": self.count, "pairs": self.pairs, "share": share, "interval": list(self.interval)}


@dataclass(frozen=True)
class Attribution:
    """PCE of photographs with fingerprints, all developed by one pipeline and seen in one view.

    pipeline: its name. view: "developed", or "received" when fingerprint and photographs have been through the channel.
    same: of photographs of the fingerprint's camera. other: of photographs of other cameras.
    """

    pipeline: str
    view: str
    same: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def auc(self) -> float | None:
        """How often a matching pair has the larger PCE of the two, ties counting half; None without pairs of a kind."""
        if not (self.same and self.other):
            return None
        same, other = (torch.tensor(values, dtype=torch.float64) for values in (self.same, self.other))
        return ((same[:, None] > other).double() + (same[:, None] == other) / 2).mean().item()

    def matches(self, threshold: float = PCE_THRESHOLD) -> Proportion:
        """True positives: photographs of the same camera above the threshold."""
        return Proportion(sum(value > threshold for value in self.same), len(self.same))

    def mistakes(self, threshold: float = PCE_THRESHOLD) -> Proportion:
        """False positives: photographs of other cameras above the threshold."""
        return Proportion(sum(value > threshold for value in self.other), len(self.other))

    @classmethod
    def pool(cls, attributions: Iterable[Self]) -> Self:
        """The pairs of several cameras as one. Raises ValueError unless all are of one pipeline and one view."""
        attributions = tuple(attributions)
        kinds = {(attribution.pipeline, attribution.view) for attribution in attributions}
        if len(kinds) != 1:
            raise ValueError(f"only attributions of one pipeline and one view can be pooled, not of {sorted(kinds)}")
        return cls(
            *kinds.pop(),
            same=tuple(itertools.chain(*(attribution.same for attribution in attributions))),
            other=tuple(itertools.chain(*(attribution.other for attribution in attributions))),
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `to_json` made, read again."""
        return cls(document["pipeline"], document["view"], tuple(document["same"]), tuple(document["other"]))

    def to_json(self) -> dict[str, Any]:
        """Every PCE, and what follows from them."""
        return {
            **asdict(self),
            "mean_same": sum(self.same) / len(self.same) if self.same else None,
            "mean_other": sum(self.other) / len(self.other) if self.other else None,
            "auc": self.auc,
            "threshold": PCE_THRESHOLD,
            "matches": self.matches().to_json(),
            "mistakes": self.mistakes().to_json(),
        }


def scores(
    photograph: Tensor, K: Mapping[str, Tensor], views: Mapping[str, View], settings: Settings
) -> dict[str, float]:
    """By view, the PCE of a photograph (1, 3, h, w) with the fingerprint of this view, aligned pixel by pixel.

    Raises ValueError for a photograph that differs in size from the fingerprint.
    """
    seen = {view: see(photograph) for view, see in views.items()}
    return {view: pce(K[view], image, residual(image, settings.sigma)).pce.item() for view, image in seen.items()}


def strangers(
    pipeline: str,
    others: Iterable[OtherCamera],
    settings: Settings,
    device: torch.device | str,
    advance: Callable[[], None],
) -> Iterator[Tensor]:
    """Photographs of other cameras, as far as they know the pipeline."""
    for other in others:
        if pipeline in other.develop:
            yield from photographs(other.develop[pipeline], other.images, settings, device, advance)


def attributions(
    pipeline: str, same: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]]
) -> list[Attribution]:
    """One of every view, from the scores of photographs of the same camera, of which there are some, and of others."""
    return [
        Attribution(pipeline, view, tuple(by[view] for by in same), tuple(by[view] for by in other)) for view in same[0]
    ]


# --- the whole experiment ---


@dataclass(frozen=True, eq=False)
class CameraResult:
    """What the experiment tells of one camera. All tensors are on the CPU.

    camera: its name. pipelines: the P names. images, settings: as given.
    fingerprints: (P, h, w) of developed photographs. correlations: (P, P) between them: Fig. 5a.
    f1: (P, P, n) best F1 score of camera models (rows) on photographs of pipelines (columns), for every evaluation
        image; their means over images are Fig. 5b.
    example: the first evaluation image, developed by the pipeline `example_pipeline`: Fig. 5c.
    attributions: of every pipeline, and of every view of it.
    recoveries: likewise; none of a camera whose true pattern nobody knows.
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

    @property
    def mean_f1(self) -> Tensor:
        """(P, P)"""
        return self.f1.mean(-1)

    def to_json(self) -> dict[str, Any]:
        """All but the pictures: matrices as nested lists, rows first."""
        return {
            "camera": self.camera,
            "pipelines": list(self.pipelines),
            "images": asdict(self.images),
            "settings": asdict(self.settings),
            "correlations": self.correlations.tolist(),
            "f1": self.f1.tolist(),
            "mean_f1": self.mean_f1.tolist(),
            "chance_f1": self.example.chance,
            "example_pipeline": self.example_pipeline,
            "attributions": [attribution.to_json() for attribution in self.attributions],
            "recoveries": [recovery.to_json() for recovery in self.recoveries],
        }


@torch.no_grad()
def experiment(
    camera: str,
    pipelines: Sequence[Pipeline],
    images: Split,
    others: Sequence[OtherCamera] = (),
    receive: View | None = None,
    example: str | None = None,
    settings: Settings = PAPER,
    device: torch.device | str = "cpu",
    on_progress: Progress = silent,
    truth: Mapping[str, Tensor] = UNKNOWN,
) -> CameraResult:
    """Everything that Fig. 5 shows of one camera, and PCE by pipeline, of the same camera and of others.

    Args:
        camera: its name.
        pipelines: all that are compared with each other.
        images: the same for all pipelines.
        others: where they know a pipeline, their photographs are compared with this camera's fingerprint by it. To
            learn whether a NIP leaves a fingerprint of its own, let them develop with this camera's NIP, not theirs.
        receive: the distribution channel on `device`, photograph (1, 3, h, w) -> (1, 3, h', w') in [0, 1], rounded to
            8 bits here. None leaves the view "received" out.
        example: pipeline of the example; the first one, if not named.
        settings: sizes.
        device: for all that is not development.
        on_progress: told after every developed image, and after every map.
        truth: where it is known, the sensor's pattern (h, w) as it lies in the crop, by view.

    Raises:
        ValueError: pipelines without a name of their own, an empty part of the split, an unknown pipeline, photographs
            of different sizes, or too small ones.
    """
    names = tuple(pipeline.name for pipeline in pipelines)
    example = names[0] if names and example is None else example
    _check(names, images, others, example)
    views = AS_DEVELOPED if receive is None else {**AS_DEVELOPED, RECEIVED: lambda sent: as_file(receive(sent))}
    if not truth.keys() <= views.keys():
        raise ValueError(f"a true pattern as {', '.join(truth)}, but photographs only as {', '.join(views)}")
    _check_sizes(camera, pipelines, images, others, settings)

    mine = len(names) * sum(len(part) for part in (images.estimation, images.prediction, images.evaluation))
    theirs = sum(len(other.develop) * len(other.images) for other in others)
    maps = len(names) ** 2 * len(images.evaluation)
    advance = steps(mine + theirs + maps, on_progress)

    truth = {view: K.to(device) for view, K in truth.items()}
    models = [enrol(pipeline, images, views, settings, device, advance, truth) for pipeline in pipelines]
    f1, shown, attributed = [], None, []
    for pipeline, model in zip(pipelines, models, strict=True):  # column by column
        column: list[Tensor] = []
        same: list[dict[str, float]] = []
        for photograph in photographs(pipeline.develop, images.evaluation, settings, device, advance):
            forgery = tamper(models, photograph, settings)
            if pipeline.name == example and not column:
                shown = forgery
            column.append(forgery.f1.cpu())
            same.append(scores(photograph, model.K, views, settings))
            for _ in models:
                advance()
        foreign = strangers(pipeline.name, others, settings, device, advance)
        other = [scores(photograph, model.K, views, settings) for photograph in foreign]
        f1.append(torch.stack(column, dim=1))  # (P, n)
        attributed += attributions(pipeline.name, same, other)

    K = torch.stack([model.K[DEVELOPED] for model in models])
    assert shown is not None and example is not None
    return CameraResult(
        camera=camera,
        pipelines=names,
        images=images,
        settings=settings,
        fingerprints=K.cpu(),
        correlations=correlations(K).cpu(),
        f1=torch.stack(f1, dim=1),
        example_pipeline=example,
        example=Forgery(**{name: tensor.cpu() for name, tensor in vars(shown).items()}),
        attributions=tuple(attributed),
        recoveries=tuple(recovery for model in models for recovery in model.recoveries),
    )


def _check(names: Sequence[str], images: Split, others: Sequence[OtherCamera], example: str | None) -> None:
    if not names or len(set(names)) < len(names):
        raise ValueError(f"pipelines need names of their own, not {', '.join(names) or 'none at all'}")
    for part, indices in asdict(images).items():
        if not indices:
            raise ValueError(f"the split leaves no image for {part}")
    for name in itertools.chain([example], *(other.develop for other in others)):
        if name not in names:
            raise ValueError(f"there is no pipeline {name!r}: there are {', '.join(names)}")


def _check_sizes(
    camera: str, pipelines: Sequence[Pipeline], images: Split, others: Sequence[OtherCamera], settings: Settings
) -> None:
    """Develops an image of every camera: rather refuse now than after all fingerprints."""

    def photograph(develop: Develop, images: tuple[int, ...]) -> Tensor:
        return next(photographs(develop, images, settings, "cpu"))

    mine = photograph(pipelines[0].develop, images.evaluation)
    height, width = mine.shape[-2:]
    forge(mine, settings.forgery)
    window_positions(height, width, settings.window, settings.stride)
    for other in others:
        if other.images and other.develop:
            theirs = photograph(next(iter(other.develop.values())), other.images)
            if theirs.shape != mine.shape:
                raise ValueError(
                    f"photographs of {camera} are {height}×{width}, those of {other.camera} "
                    f"{theirs.shape[-2]}×{theirs.shape[-1]}: choose fewer pixels, so that crops are of one size"
                )


# --- files ---


def save(path: str | os.PathLike[str], result: CameraResult) -> None:
    """Writes a result to one safetensors file, atomically."""
    tensors = {
        "fingerprints": result.fingerprints,
        "correlations": result.correlations,
        "f1": result.f1,
        **{f"example.{name}": tensor for name, tensor in vars(result.example).items()},
    }
    tensorfile.write(path, KIND, tensors, result.to_json())


def load(path: str | os.PathLike[str]) -> CameraResult:
    """The result in a file written by `save`. Raises ValueError when it is missing, damaged or something else."""
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
    )
