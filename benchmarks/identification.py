"""Which body of one camera model took a photograph? How well PCE answers this, and how much each step contributes.

    python -m benchmarks.identification [--scenes FOLDER] [--half 0|1] [--side 384] [--known 22] [--unknown 16]

Three simulated bodies take the same scenes (`--scenes`: a folder of photographs, or dead-leaves): `--known` scenes for
the fingerprints, `--unknown` scenes to recognise the bodies. Three cases: column gains and JPEG (quality 75 to 90) that
all bodies share, a PRNU three times weaker, and both at half the PRNU. Rows: fingerprints with and without weights, and
the query that is compared with them. Columns: AUC over all pairs of photograph and fingerprint, share of own
photographs above the threshold of 60, share above all other pairs, largest PCE of another body.

With `--half`, every second photograph and three bodies that are in no other half: choose on half 0, report on half 1.
"""

import argparse
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cameras.develop import develop
from cameras.scenes import scene_sources
from cameras.simulate import PRESETS, SimulatedCamera, capture, frame
from prnu import Accumulator, correlation, pce_matrix, query, residual, wiener_dft, zero_mean
from prnu.experiment import Attribution
from prnu.match import PCE_THRESHOLD
from prnu.residual import grey

BODIES = 3
MODEL = PRESETS["sim-rggb"]


def shot(camera: SimulatedCamera, scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take and develop a photograph, (H, W, 3) uint8."""
    return np.rint(255 * develop(frame(camera, capture(camera, scene, rng)), "bilinear")).astype(np.uint8)


def shared_shot(camera: SimulatedCamera, scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take a photograph with column amplifiers that are equal in all bodies, as a JPEG file."""
    column = np.arange(scene.shape[1])
    gain = 1 + 0.01 * np.cos(2 * np.pi * column / 8) + 0.008 * np.cos(2 * np.pi * column / 6)
    gain = gain + np.random.default_rng(99).normal(0, 0.01, len(column))
    file = io.BytesIO()
    Image.fromarray(shot(camera, scene * gain[:, None], rng)).save(file, "JPEG", quality=int(rng.integers(75, 91)))
    return np.array(Image.open(file))


@dataclass(frozen=True)
class Case:
    name: str
    prnu: float
    take: Callable[[SimulatedCamera, np.ndarray, np.random.Generator], np.ndarray]


CASES = (
    Case("shared columns, JPEG", MODEL.prnu, shared_shot),
    Case("weak PRNU", 0.3 * MODEL.prnu, shot),
    Case("weak PRNU, shared columns, JPEG", 0.5 * MODEL.prnu, shared_shot),
)

QUERIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "PCE, nothing cleaned": lambda image, W: W * grey(image),
    "PCE, as in the paper: W·I": lambda image, W: wiener_dft(zero_mean(W)) * grey(image),
    "PCE, as here: W·I/σ²": query,
}


FINGERPRINTS = {"ΣWI / ΣI²": False, "ΣWI/σ² / ΣI²/σ²": True}


def measure(case: Case, scenes: Iterator[np.ndarray], known: int, unknown: int, half: int) -> None:
    rng = np.random.default_rng(2 + half)
    cameras = [replace(MODEL, prnu=case.prnu, body=body) for body in range(1 + BODIES * half, 1 + BODIES * (half + 1))]
    sums = {name: [Accumulator(weighted=weighted) for _ in cameras] for name, weighted in FINGERPRINTS.items()}
    queries = []
    for number in range(known + unknown):
        scene = next(scenes)
        for body, camera in enumerate(cameras):
            image = torch.from_numpy(case.take(camera, scene, rng)).movedim(-1, 0)[None] / 255
            if number < known:
                for estimates in sums.values():
                    estimates[body].add(image)
            else:
                queries.append(image)
    images, own = torch.cat(queries), torch.eye(BODIES, dtype=torch.bool).repeat(unknown, 1)
    residuals = torch.cat([residual(image) for image in queries])
    print(f"{case.name}: {own.sum()} own pairs, {(~own).sum()} others")
    W, I = wiener_dft(zero_mean(residuals)), grey(images)  # noqa: E741 (the paper's symbol)
    for kind, estimates in sums.items():
        K, raw = (torch.stack([its.estimate(clean) for its in estimates]) for clean in (True, False))
        for name, compared in QUERIES.items():
            scores = pce_matrix(compared(images, residuals), raw if "nothing" in name else K)
            found = Attribution(name, "", tuple(scores[own].tolist()), tuple(scores[~own].tolist()))
            print(
                f"    {kind:16} {name:28} {found.auc:.4f}  {found.matches().share:5.0%} > {PCE_THRESHOLD:g}"
                f"  {found.matches(max(found.other)).share:5.0%} > {max(found.other):6.1f}"
            )
        rho = torch.stack([correlation(W, I * one) for one in K], dim=1)
        auc = Attribution("", "", tuple(rho[own].tolist()), tuple(rho[~own].tolist())).auc
        print(f"    {kind:16} {'correlation':28} {auc:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default="dead-leaves")
    parser.add_argument("--half", type=int, choices=(0, 1), default=1)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--known", type=int, default=22)
    parser.add_argument("--unknown", type=int, default=16)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    sources = list(scene_sources(settings.scenes).values())
    sources = sources[settings.half :: 2] if len(sources) > 1 else sources
    for case in CASES:
        rng = np.random.default_rng(1 + settings.half)
        scenes = (
            sources[number % len(sources)](settings.side, settings.side, rng)
            for number in range(settings.known + settings.unknown)
        )
        measure(case, scenes, settings.known, settings.unknown, settings.half)


if __name__ == "__main__":
    main()
