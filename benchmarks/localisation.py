"""Do maps of tampering probability accuse what cannot be known? Authentic photographs with a spoilt half; forgeries.

    python -m benchmarks.localisation [--scenes FOLDER] [--half 0|1|2] [--window 65] [--side 512] [--forgery 192]
        [--unweighted]

Scenes (`--scenes`: a folder of photographs, or dead-leaves) and bodies fall into two halves, so that a method can be
chosen on half 0 and reported on half 1 (2: further bodies and leaves; photographs of half 0 in other roles). Two models
of camera, each with 16 photographs for the fingerprint, 12 for the predictor and 10 to look at. Of these, the left half
is as it is, blown out, overexposed six times, lit by 2 %, a lit wall, or replaced by one colour. Printed for windows
whose centre lies in that half, and for those that lie wholly in it: the share that is called suspicious (probability
above 0.5). Then the mean best F1 of forgeries, and F1 at 0.5.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cameras.develop import develop
from cameras.scenes import scene_sources
from cameras.simulate import PRESETS, SimulatedCamera, capture, frame
from prnu import Accumulator, Predictor, best_f1, f1_curve, forge, localise
from prnu.predictor import train

ESTIMATION, PREDICTION, EVALUATION = 16, 12, 10
MODELS = ("sim-rggb", "sim-gbrg")
GREY = 0.18  # linear: a lit wall

HALVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # linear light -> linear light
    "as it is": lambda scene: scene,
    "blown out": lambda scene: scene + 1,
    "overexposed 6×": lambda scene: 6 * scene,
    "2 % of the light": lambda scene: 0.02 * scene,
    "a lit wall": lambda scene: np.full_like(scene, GREY),
}
ONE_COLOUR = "one colour"  # after the development


@dataclass(frozen=True, eq=False)
class Data:
    """Photographs of one camera: its fingerprint, those for the predictor, and by half those to look at."""

    K: Tensor
    prediction: list[Tensor]
    evaluation: dict[str, Tensor]  # (10, 3, side, side)


def shot(camera: SimulatedCamera, scene: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Take and develop a photograph in 8 bits, (1, 3, H, W)."""
    developed = np.rint(255 * develop(frame(camera, capture(camera, scene, rng)), "bilinear"))
    return torch.from_numpy(developed.astype(np.float32) / 255).movedim(-1, 0)[None]


def data(camera: SimulatedCamera, scenes: Iterator[np.ndarray], weighted: bool) -> Data:
    rng = np.random.default_rng(camera.identity)
    sums = Accumulator(weighted=weighted)
    for _ in range(ESTIMATION):
        sums.add(shot(camera, next(scenes), rng))
    prediction = [shot(camera, next(scenes), rng) for _ in range(PREDICTION)]
    taken: dict[str, list[Tensor]] = {name: [] for name in (*HALVES, ONE_COLOUR)}
    for _ in range(EVALUATION):
        scene = next(scenes)
        half = scene.shape[1] // 2
        for name, light in HALVES.items():
            taken[name].append(shot(camera, np.concatenate((light(scene[:, :half]), scene[:, half:]), axis=1), rng))
        replaced = taken["as it is"][-1].clone()
        replaced[..., :half] = replaced[..., :half].mean((-2, -1), keepdim=True).mul(255).round() / 255
        taken[ONE_COLOUR].append(replaced)
    return Data(sums.estimate(), prediction, {name: torch.cat(images) for name, images in taken.items()})


def cameras(half: int) -> Iterator[SimulatedCamera]:
    return (replace(PRESETS[name], body=1 + half) for name in MODELS)


def scenes_of(kind: str, half: int, side: int) -> Iterator[np.ndarray]:
    """Scenes of one half: every second photograph, or leaves by a seed of its own."""
    rng = np.random.default_rng((11, half))
    sources = list(scene_sources(kind).values())
    mine = sources[half::2] if len(sources) > 1 else sources
    for number in range(ESTIMATION + PREDICTION + EVALUATION):
        yield mine[number % len(mine)](side, side, rng)


def suspicious(images: Tensor, K: Tensor, predictor: Predictor, window: int) -> tuple[float, float, float]:
    """Share of suspicious windows with the centre in the left half, wholly in it; share that is exactly 0.5 there."""
    found = localise(images, K, predictor, window)
    middle = images.shape[-1] // 2
    centre, wholly = (found.probability[..., found.columns < edge] for edge in (middle, middle - window // 2))
    return _share(centre > 0.5), _share(wholly > 0.5), _share(centre == 0.5)


def _share(flags: Tensor) -> float:
    return flags.double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default="dead-leaves")
    parser.add_argument("--half", type=int, choices=(0, 1, 2), default=2)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--window", type=int, default=65)
    parser.add_argument("--forgery", type=int, default=192)
    parser.add_argument("--unweighted", action="store_true", help="fingerprints by ΣWI / ΣI²")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    for camera in cameras(settings.half):
        taken = data(camera, scenes_of(settings.scenes, settings.half, settings.side), not settings.unweighted)
        predictor = train(taken.prediction, taken.K, settings.window)
        print(f"{camera.name}, body {camera.body}: suspicious with the centre in the half, wholly in it; at 0.5")
        for name, images in taken.evaluation.items():
            print(
                "    {:20} {:6.1%} {:6.1%} {:6.1%}".format(
                    name, *suspicious(images, taken.K, predictor, settings.window)
                )
            )
        forged, truth = forge(taken.evaluation["as it is"], settings.forgery)
        found = localise(forged, taken.K, predictor, settings.window)
        inside = found.at_centres(truth)
        at_half = f1_curve(found.probability, inside, torch.tensor([0.5001]))
        print(
            f"    forgeries: best F1 {best_f1(found.probability, inside).mean():.3f}, at 0.5 {at_half.mean():.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
