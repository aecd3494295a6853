"""Results of PRNU experiments whose statistics are known beforehand, without a photograph developed."""

from collections.abc import Sequence

import torch

from prnu.experiment import DEVELOPED, RECEIVED, Attribution, CameraResult, Forgery, Settings, Split
from prnu.localise import best_f1
from prnu.lowlight import LowLight
from prnu.recovery import Recovery

PIPELINES = ("libraw", "standard", "INet", "UNet 1", "UNet 2", "UNet, λ = 0.05", "UNet, λ = 0.0005")
LAMBDAS = {"UNet, λ = 0.05": 0.05, "UNet, λ = 0.0005": 0.0005}
PHOTOGRAPHS = 10  # of the same camera; there are twice as many of others
LOST = "UNet, λ = 0.0005"  # its fingerprint does not survive, and every fourth photograph of another camera matches it


def camera(
    name: str,
    pipelines: Sequence[str] = PIPELINES,
    seed: int = 0,
    size: int = 192,
    images: int = 4,
    simulated: bool = False,
) -> CameraResult:
    """Correlations 0.9 / (1 + |i − j| / P); best F1 0.5 on the diagonal, 0.4 off it, plus 0.01 for every image.

    Where it is simulated, fingerprints follow the law a = 4, b = 60 in both views, but for the lost one.
    """
    P, generator = len(pipelines), torch.Generator().manual_seed(seed)
    place = torch.arange(P)
    apart = (place[:, None] - place).abs()
    f1 = torch.where(apart == 0, 0.5, 0.4).double()[..., None] + 0.01 * torch.arange(images)
    views = (DEVELOPED, RECEIVED)
    return CameraResult(
        camera=name,
        pipelines=tuple(pipelines),
        images=Split(tuple(range(9)), tuple(range(9, 12)), tuple(range(12, 12 + images))),
        settings=Settings(pixels=size * size, window=65, stride=8, forgery=64),
        fingerprints=torch.randn(P, size, size, generator=generator),
        correlations=torch.where(apart == 0, 1.0, 0.9 / (1 + apart / P)),
        f1=f1,
        example_pipeline=pipelines[0],
        example=forgery(P, size, generator),
        attributions=tuple(attribution(pipeline, view) for pipeline in pipelines for view in views),
        recoveries=tuple(recovery(pipeline, view, size) for pipeline in pipelines for view in views if simulated),
    )


def recovery(pipeline: str, view: str, size: int) -> Recovery:
    side = size if view == DEVELOPED else size // 2
    numbers = (1, 2, 4, 8, 9)
    return Recovery(
        pipeline,
        view,
        numbers,
        tuple(0.001 * (-1) ** N if pipeline == LOST else (4 + 60 / N) ** -0.5 for N in numbers),
        side**2,
    )


def attribution(pipeline: str, view: str) -> Attribution:
    """PCE from 100 (received: 40) upwards for the same camera, about 1 for others."""
    strength = 1 if pipeline == LOST else 100 if view == DEVELOPED else 40
    other = [-1.0, 1.0, 0.5, 80.0 if pipeline == LOST and view == DEVELOPED else 2.0]
    return Attribution(
        pipeline,
        view,
        same=tuple(strength * (1 + number / 10) for number in range(PHOTOGRAPHS)),
        other=tuple(other * (PHOTOGRAPHS // 2)),
    )


def forgery(P: int, size: int, generator: torch.Generator) -> Forgery:
    """A square in the middle of a shaded picture; the maps are the truth under growing noise."""
    quarter = slice(size // 3, size - size // 3)
    truth = torch.zeros(size, size, dtype=torch.bool)
    truth[quarter, quarter] = True
    rows = torch.arange(32, size - 32, 8)
    strength = torch.linspace(3, 0.5, P)[:, None, None]
    noise = torch.randn(P, len(rows), len(rows), generator=generator)
    probability = torch.sigmoid(strength * (2 * truth[rows[:, None], rows].float() - 1) + noise)
    shade = torch.linspace(30, 220, size).expand(3, size, size)
    return Forgery(
        image=shade.to(torch.uint8),
        truth=truth,
        probability=probability,
        rows=rows,
        columns=rows.clone(),  # a file takes no tensor twice
        f1=best_f1(probability, truth[rows[:, None], rows]),
    )


def low_light(name: str) -> LowLight:
    """Of eight photographs, all match, all but one, and none."""
    pipelines = ("libraw (long)", "libraw (short)", "UNet (short)")
    energies = ((500.0,) * 8, (300.0,) * 7 + (20.0,), (5.0,) * 8)
    return LowLight(
        camera=name,
        pipelines=pipelines,
        correlations=((1.0, 0.3, 0.2), (0.3, 1.0, 0.1), (0.2, 0.1, 1.0)),
        attributions=tuple(
            Attribution(pipeline, DEVELOPED, same, (1.0,) * 16, same_unweighted=tuple(pce / 2 for pce in same))
            for pipeline, same in zip(pipelines, energies, strict=True)
        ),
    )
