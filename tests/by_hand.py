"""A training written out by hand, as an oracle: photographs, split, draws of patches, losses and Adam are its own.

Validation images are poisoned: `poison` makes every pixel that is read from them NaN. So a loss, a weight or a
statistic that touches one of them shows it.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

import cameras.patches
from cameras.pairs import Pairs

Photograph = tuple[np.ndarray, np.ndarray]  # Bayer stack (h, w, 4) uint16 and target (2h, 2w, 3) uint8
CFA = "GBRG"
CAM2SRGB = np.array([[1.8, -0.6, -0.2], [-0.2, 1.6, -0.4], [0.0, -0.5, 1.5]], np.float32)
SIZES = ((20, 28), (24, 18), (17, 31), (22, 22), (26, 19))  # in Bayer pixels


def photographs(poisoned: Sequence[int]) -> list[Photograph]:
    """Five smooth photographs of different sizes; the poisoned ones hold the largest value everywhere."""
    rng = np.random.default_rng(11)
    images = []
    for number, (height, width) in enumerate(SIZES):
        y, x = np.mgrid[0 : 2 * height, 0 : 2 * width] / 9
        phase, tilt = rng.uniform(0, 6, (2, 3))
        light = 0.45 + 0.4 * np.sin(y[..., None] * np.cos(tilt) + x[..., None] * np.sin(tilt) + phase)  # (H, W, 3)
        g1, b, r, g2 = (light[i // 2 :: 2, i % 2 :: 2, "RGB".index(colour)] for i, colour in enumerate(CFA))
        bayer = (60_000 * np.stack((r, g1, g2, b), axis=2)).astype(np.uint16)
        target = (250 * (light @ CAM2SRGB.T).clip(0, 1) ** (1 / 2.2)).astype(np.uint8)
        if number in poisoned:
            bayer, target = np.full_like(bayer, 65535), np.full_like(target, 255)
        images.append((bayer, target))
    return images


def faded(seed: int, height: int, width: int) -> Photograph:
    """Noise whose contrast grows from left to right: the variance filter rejects places, keeps some, and keeps all."""
    rng = np.random.default_rng(seed)
    contrast = np.linspace(0, 0.9, 2 * width)[:, None]
    target = 255 * (0.5 + contrast * (rng.random((2 * height, 2 * width, 3)) - 0.5))
    return rng.integers(0, 65536, (height, width, 4), np.uint16), target.astype(np.uint8)


def pairs_of(images: Iterable[Photograph]) -> Pairs:
    return Pairs.from_images(images, CFA, CAM2SRGB, "test")


def poison(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype = torch.float32) -> None:
    """Turns each largest value in a patch into NaN, as only poisoned photographs have any; patches are of `dtype`."""
    for name in ("bayer_to_float", "target_to_float"):
        convert = getattr(cameras.patches, name)

        def poisoned(values: Tensor, convert: Callable[[Tensor], Tensor] = convert) -> Tensor:
            floats = convert(values)
            return floats.masked_fill(floats == 1, torch.nan).to(dtype)

        monkeypatch.setattr(cameras.patches, name, poisoned)


def divide(images: int, train: int, validation: int, seed: int) -> tuple[list[int], list[int]]:
    """The training and the validation images of a split."""
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[validation : validation + train], order[:validation]


def draw(
    images: Sequence[Photograph], numbers: Sequence[int], count: int, patch: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A random batch: for each patch an image, then one of all places in it, row by row."""
    chosen = torch.randint(len(numbers), (count,), generator=generator).tolist()
    drawn = torch.randint(1 << 62, (count,), generator=generator).tolist()
    stacks, targets = [], []
    for number, random in zip(chosen, drawn, strict=True):
        bayer, target = patch_of(images[numbers[number]], random, patch)
        stacks.append(bayer)
        targets.append(target)
    return torch.stack(stacks), torch.stack(targets)


def patch_of(image: Photograph, random: int, patch: int) -> tuple[Tensor, Tensor]:
    """The patch of a photograph at a drawn one of all its places, row by row."""
    bayer, target = image
    columns = bayer.shape[1] - patch + 1
    y, x = divmod(random % ((bayer.shape[0] - patch + 1) * columns), columns)
    stack = torch.tensor(bayer[y : y + patch, x : x + patch] / 65535).permute(2, 0, 1)
    shown = torch.tensor(target[2 * y :][: 2 * patch, 2 * x :][:, : 2 * patch] / 255).permute(2, 0, 1)
    return stack.float(), shown.float()


def fidelity_loss(developed: Tensor, target: Tensor) -> Tensor:
    """Mean squared error on the scale of 8 bits."""
    return ((255 * developed - 255 * target) ** 2).sum() / target.numel()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """By torchmetrics, which pads by reflection, over the places where the window fits in."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, everywhere = structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)
    return everywhere[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))


def ms_ssim(a: Tensor, b: Tensor, scales: int) -> Tensor:
    """Of torchmetrics' parts: as a whole it counts the padded border of the coarsest scale."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)[:scales]
    found = torch.ones(len(a), dtype=a.dtype)
    for weight in weights[:-1]:
        contrast = multiscale_structural_similarity_index_measure(
            a, b, data_range=1.0, betas=(1.0, 0.0), reduction="none"
        )
        found = found * contrast ** (weight / sum(weights))
        a, b = (torch.nn.functional.avg_pool2d(images, 2) for images in (a, b))
    return found * ssim(a, b) ** (weights[-1] / sum(weights))


FIDELITY_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "L2": fidelity_loss,
    "L1": lambda developed, target: (255 * developed - 255 * target).abs().sum() / target.numel(),
    "SSIM": lambda developed, target: (1 - ssim(developed, target)).sum() / len(target),
    "MS-SSIM": lambda developed, target: (1 - ms_ssim(developed, target, 2)).sum() / len(target),  # of 22 to 43 pixels
}


def class_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of class-major logits (classes·N, classes)."""
    total, classes = logits.shape
    rows = range(total)
    true = [row * classes // total for row in rows]
    return (torch.logsumexp(logits, dim=1) - logits[rows, true]).sum() / total


class Adam:
    """Kingma & Ba 2015, algorithm 1, in float64."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.m = [torch.zeros_like(p, dtype=torch.float64) for p in self.parameters]
        self.v = [torch.zeros_like(p, dtype=torch.float64) for p in self.parameters]
        self.t = 0

    @torch.no_grad()
    def step(self, loss: Tensor, learning_rate: float | Sequence[float]) -> None:
        """One rate for all parameters, or one for each."""
        rates = [learning_rate] * len(self.parameters) if isinstance(learning_rate, float) else learning_rate
        self.t += 1
        gradients = torch.autograd.grad(loss, self.parameters)
        for p, g, m, v, rate in zip(self.parameters, gradients, self.m, self.v, rates, strict=True):
            m.copy_(0.9 * m + 0.1 * g.double())
            v.copy_(0.999 * v + 0.001 * g.double() ** 2)
            corrected_m, corrected_v = m / (1 - 0.9**self.t), v / (1 - 0.999**self.t)
            p.copy_(p.double() - rate * corrected_m / (corrected_v.sqrt() + 1e-8))


def assert_same_weights(trained: torch.nn.Module, by_hand: torch.nn.Module, learning_rate: float) -> None:
    """All finite, and 99 % of them equal to a tenth of a step.

    Adam divides a gradient by its own size: where it is nearly zero, the rounding errors of float32 count as much as
    any other gradient, and a ReLU may take the other side. How many weights that moves depends on the processor; 0.1 %
    were seen. A wrong λ moves two thirds of INet's, a wrong learning rate half of the FAN's.
    """
    differences = []
    for key, expected in by_hand.state_dict().items():
        weight = trained.state_dict()[key]
        assert weight.isfinite().all(), key
        differences.append((weight.double() - expected.double()).abs().flatten() / learning_rate)
    different = (torch.cat(differences) > 0.1).double().mean()
    assert different < 0.01, f"{different:.1%} of the weights of {type(trained).__name__} differ"
