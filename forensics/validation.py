"""How good both networks are, on patches fixed before training begins (section 5.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cameras.pairs import Pairs
from cameras.patches import Patches, fixed, fixed_places, gather
from forensics.joint import JointModel, labels
from forensics.trial import Trial
from models.fidelity import evaluate

SLICE = 100  # patches gathered at once


@dataclass(frozen=True)
class ValidationSet:
    """``inputs`` (n,4,p,p) to develop and classify; ``fidelity`` patches to compare with their targets.

    Both are image-major: all patches of the first validation image, then of the second, …
    """

    inputs: Tensor
    fidelity: Patches


@dataclass(frozen=True)
class Scores:
    """``confusion`` (classes, classes): rows are true classes and sum to 1; accuracy is the mean of its diagonal.

    ``psnr`` in dB and ``ssim`` are means over the fidelity patches.
    """

    accuracy: float
    psnr: float
    ssim: float
    confusion: Tensor


def validation_set(trial: Trial, pairs: Pairs, images: Tensor, reads: str = "bayer") -> ValidationSet:
    """The patches that every trial with the same data, split and validation settings is judged by.

    Args:
        trial: its validation settings and its patch size count.
        pairs: where the patches are taken from, and on whose device they are.
        images: (k,) indices of the validation images.
        reads: which part of a patch the NIP takes as input (:attr:`models.NIP.reads`).

    Raises:
        ValueError: an image is smaller than a patch, or has no textured place.
    """
    settings, patch = trial.validation, trial.training.patch
    generator = torch.Generator().manual_seed(settings.seed)
    places = fixed_places(pairs, images, settings.accuracy_patches, patch, generator, settings.textured)
    # Only what the NIP reads is kept, slice by slice: with their targets, the paper's 3,000 would take 3 GB.
    slices = (gather(pairs, places[start : start + SLICE], patch) for start in range(0, len(places), SLICE))
    inputs = torch.cat([getattr(patches, reads) for patches in slices])
    fidelity = fixed(pairs, images, settings.fidelity_patches, patch, generator, settings.textured)
    return ValidationSet(inputs, fidelity)


@torch.no_grad()
def validate(model: JointModel, patches: ValidationSet, batch: int, seed: int = 0) -> Scores:
    """Classify and compare the whole set, ``batch`` patches at a time.

    ``seed`` fixes the noise of manipulations that draw any, so that two validations of one model agree.
    """
    generator = torch.Generator().manual_seed(seed)
    counts: Tensor | int = 0
    for inputs in patches.inputs.split(batch):
        logits, _ = model(inputs, generator)
        counts = counts + confusion_counts(logits)
    assert isinstance(counts, Tensor)
    confusion = counts / counts.sum(dim=1, keepdim=True)

    fidelity = evaluate(model.nip, patches.fidelity, model.precision, batch)
    return Scores(
        accuracy=confusion.diagonal().mean().item(),
        psnr=fidelity["psnr"],
        ssim=fidelity["ssim"],
        confusion=confusion.cpu(),
    )


def confusion_counts(logits: Tensor) -> Tensor:
    """Class-major logits (classes·N, classes) → (classes, classes) counts: true class by row."""
    classes = logits.shape[1]
    cells = labels(logits) * classes + logits.argmax(dim=1)
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes).double()


@torch.no_grad()
def develop(model: JointModel, patches: Patches, batch: int) -> Tensor:
    """Photographs (n,3,2p,2p) of all patches, ``batch`` at a time."""
    return torch.cat([model.develop(part) for part in getattr(patches, model.nip.reads).split(batch)])
