"""Validation of both networks on patches that are fixed before training begins (section 5.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cameras.pairs import Pairs
from cameras.patches import Patches, fixed, fixed_places, gather
from forensics.joint import JointModel, labels
from forensics.trial import Trial
from models.fidelity import evaluate

SLICE = 100  # number of patches gathered at once


@dataclass(frozen=True)
class ValidationSet:
    """The validation patches: all of the first validation image, then all of the second, …

    Attributes:
        bayer: (n,4,p,p), to be developed and classified.
        fidelity: to be developed and compared with their targets.
    """

    bayer: Tensor
    fidelity: Patches


@dataclass(frozen=True)
class Scores:
    """The result of a validation.

    Attributes:
        accuracy: 0 to 1, mean of the diagonal of ``confusion``.
        psnr, ssim, ssim_paper: means over the fidelity patches; PSNR in dB, SSIM by Wang et al. 2004 and as the paper's
            authors compute it.
        confusion: (classes, classes) float64; rows are true classes and sum to 1.
    """

    accuracy: float
    psnr: float
    ssim: float
    ssim_paper: float
    confusion: Tensor

    def metrics(self, prefix: str = "") -> dict[str, float]:
        """Its numbers by name."""
        return {f"{prefix}{name}": getattr(self, name) for name in ("accuracy", "psnr", "ssim", "ssim_paper")}


def validation_set(trial: Trial, pairs: Pairs, images: Tensor) -> ValidationSet:
    """Draws the validation patches: the same for all trials with the same data, split and validation settings.

    Args:
        trial: its validation settings and its patch size decide.
        pairs: the camera's pairs; the patches are on their device.
        images: (k,) indices of the validation images.

    Raises:
        ValueError: an image is smaller than a patch, or has no textured place.
    """
    settings, patch = trial.validation, trial.training.patch
    generator = torch.Generator().manual_seed(settings.seed)
    places = fixed_places(pairs, images, settings.accuracy_patches, patch, generator, settings.textured)
    # Targets are dropped slice by slice: with them, the paper's 3,000 patches would take 3 GB.
    slices = (gather(pairs, places[start : start + SLICE], patch) for start in range(0, len(places), SLICE))
    bayer = torch.cat([patches.bayer for patches in slices])
    fidelity = fixed(pairs, images, settings.fidelity_patches, patch, generator, settings.textured)
    return ValidationSet(bayer, fidelity)


@torch.no_grad()
def validate(model: JointModel, patches: ValidationSet, batch: int, seed: int = 0) -> Scores:
    """Develops, classifies and compares the whole set, ``batch`` patches at a time.

    ``seed`` decides what random manipulations draw, so that two validations of one model agree.
    """
    generator = torch.Generator().manual_seed(seed)
    counts: Tensor | int = 0
    for bayer in patches.bayer.split(batch):
        logits, _ = model(bayer, generator)
        counts = counts + confusion_counts(logits)
    assert isinstance(counts, Tensor)
    confusion = counts / counts.sum(dim=1, keepdim=True)

    fidelity = evaluate(model.nip, patches.fidelity, model.precision, batch)
    return Scores(
        accuracy=confusion.diagonal().mean().item(),
        psnr=fidelity["psnr"],
        ssim=fidelity["ssim"],
        ssim_paper=fidelity["ssim_paper"],
        confusion=confusion.cpu(),
    )


def confusion_counts(logits: Tensor) -> Tensor:
    """Counts decisions from class-major logits (classes·N, classes) → (classes, classes): a row per true class."""
    classes = logits.shape[1]
    cells = labels(logits) * classes + logits.argmax(dim=1)
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes).double()


@torch.no_grad()
def develop(model: JointModel, patches: Patches, batch: int) -> Tensor:
    """Develops all patches into photographs (n,3,2p,2p), ``batch`` at a time."""
    return torch.cat([model.develop(bayer) for bayer in patches.bayer.split(batch)])
