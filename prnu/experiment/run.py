"""The whole experiment for one camera."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from prnu.experiment.attribution import Score, attributions, photographs_of_others, scores
from prnu.experiment.camera_model import correlations, enrol
from prnu.experiment.inputs import (
    AS_DEVELOPED,
    DEVELOPED,
    PAPER,
    RECEIVED,
    UNKNOWN,
    Develop,
    OtherCamera,
    Pipeline,
    Progress,
    Settings,
    Split,
    View,
    as_file,
    photographs,
    silent,
    steps,
)
from prnu.experiment.localisation import Forgery, tamper
from prnu.experiment.result import CameraResult
from prnu.localise import forge
from prnu.windows import window_positions


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
    """Compute everything in Fig. 5 for one camera, and PCE by pipeline for this camera and for others.

    Args:
        camera: its name.
        pipelines: all pipelines to compare with each other.
        images: the same for all pipelines.
        others: their photographs are compared with this camera's fingerprint by the pipelines that they have. To find
            out whether a NIP leaves its own fingerprint, let them develop with this camera's NIP, not theirs.
        receive: the distribution channel on `device`, photograph (1, 3, h, w) -> (1, 3, h', w') in [0, 1], rounded to
            8 bits here. Without it, there is no view "received".
        example: pipeline of the example; by default the first one.
        settings: sizes.
        device: of all computations except the development.
        on_progress: called after every developed image, and after every map.
        truth: if known, the sensor's pattern (h, w) as it lies in the crop, by view.

    Raises:
        ValueError: two pipelines with one name, an empty part of the split, an unknown pipeline, photographs of
            different sizes, or too small ones.
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
    f1, f1_with_rim, shown, attributed = [], [], None, []
    for pipeline, model in zip(pipelines, models, strict=True):  # column by column
        column: list[Tensor] = []
        with_rim: list[Tensor] = []
        same: list[dict[str, Score]] = []
        for photograph in photographs(pipeline.develop, images.evaluation, settings, device, advance):
            forgery = tamper(models, photograph, settings)
            if pipeline.name == example and not column:
                shown = forgery
            column.append(forgery.f1.cpu())
            with_rim.append(forgery.f1_with_rim.cpu())
            same.append(scores(photograph, model.K, views, settings))
            for _ in models:
                advance()
        theirs_developed = photographs_of_others(pipeline.name, others, settings, device, advance)
        other = [scores(photograph, model.K, views, settings) for photograph in theirs_developed]
        f1.append(torch.stack(column, dim=1))  # (P, n)
        f1_with_rim.append(torch.stack(with_rim, dim=1))
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
        f1_with_rim=torch.stack(f1_with_rim, dim=1),
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
    """Develop one image of every camera, to refuse wrong sizes before the work and not after it."""

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
