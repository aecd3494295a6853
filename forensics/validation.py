"""Validation of both networks on patches that are fixed before training begins (section 5.2).

Their places are fixed; the patches themselves are gathered anew by every validation, slice by slice. A NIP that does
not learn develops them only once: its photographs are kept on the host, as far as KEPT_BYTES allow.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cameras.feed import Photographs, at_once, bayer_at, moved, patches_at
from cameras.pairs import Pairs
from cameras.patches import Places, fixed_places
from forensics.joint import JointModel
from forensics.trial import Trial
from models.fidelity import METRICS, measure

Measure = Callable[[Tensor, Tensor], Tensor]  # of targets and photographs (n,3,H,W) in [0,1] -> (n,)
KEPT_BYTES = 5 * 2**29  # the paper's 3,000 photographs of 256×256 pixels are 2.2 GiB


@dataclass(frozen=True)
class ValidationSet:
    """Places of the validation patches: all of the first validation image, then all of the second, …

    Attributes:
        accuracy: to be developed and classified.
        fidelity: to be developed and compared with their targets.
        patch: side of the patches in Bayer pixels.
    """

    accuracy: Places
    fidelity: Places
    patch: int


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


@dataclass
class Kept:
    """What the first validation leaves to the next ones where the NIP does not learn.

    Attributes:
        developed: photographs for accuracy, slice by slice, on the host.
        fidelity: means of METRICS, on the device.
    """

    developed: list[Tensor] = field(default_factory=list)
    fidelity: Tensor | None = None


def kept_for(trial: Trial, patches: ValidationSet) -> Kept | None:
    """Where to keep photographs; None where the NIP learns, or where they are more than KEPT_BYTES."""
    size = len(patches.accuracy) * 3 * (2 * patches.patch) ** 2 * torch.float32.itemsize
    return None if trial.joint or size > KEPT_BYTES else Kept()


def validation_set(trial: Trial, pairs: Pairs, images: Tensor, device: str | torch.device = "cpu") -> ValidationSet:
    """Draws the validation patches: the same for all trials with the same data, split and validation settings.

    Args:
        trial: its validation settings and its patch size decide.
        pairs: the camera's pairs, on the host.
        images: (k,) indices of the validation images.
        device: where textured places are looked for.

    Raises:
        ValueError: an image is smaller than a patch, or has no textured place.
    """
    settings, patch = trial.validation, trial.training.patch
    generator = torch.Generator().manual_seed(settings.seed)
    accuracy, fidelity = (
        fixed_places(pairs, images, per_image, patch, generator, settings.textured, device)
        for per_image in (settings.accuracy_patches, settings.fidelity_patches)
    )
    return ValidationSet(accuracy, fidelity, patch)


def slice_size(trial: Trial, device: torch.device) -> int:
    """Number of patches that a validation develops and classifies at a time."""
    return at_once(device, max(trial.training.patch, trial.received), trial.training.batch)


def validate(
    model: JointModel,
    photographs: Photographs,
    patches: ValidationSet,
    batch: int,
    seed: int = 0,
    kept: Kept | None = None,
) -> Scores:
    """Develops, classifies and compares the whole set, ``batch`` patches at a time. The host waits once, at the end.

    Args:
        model: on the device of ``photographs``.
        batch: decides the memory needed, and no result but by the last bits of sums: a convolution may add in another
            order for another batch. Random manipulations draw once a batch.
        seed: decides what random manipulations and channels draw, so that two validations of one model agree.
        kept: of a NIP that does not learn, the same at every validation.
    """
    counts, fidelity = tally(model, photographs, patches, batch, seed, kept)
    numbers = torch.cat((counts.flatten(), fidelity.double())).tolist()
    confusion = torch.tensor(numbers[: counts.numel()], dtype=torch.float64).reshape(counts.shape)
    confusion = confusion / confusion.sum(dim=1, keepdim=True)
    named = dict(zip(METRICS, numbers[counts.numel() :], strict=True))
    return Scores(confusion.diagonal().mean().item(), named["psnr"], named["ssim"], named["ssim_paper"], confusion)


@torch.no_grad()
def tally(
    model: JointModel,
    photographs: Photographs,
    patches: ValidationSet,
    batch: int,
    seed: int = 0,
    kept: Kept | None = None,
) -> tuple[Tensor, Tensor]:
    """Computes what `validate` reads: decisions (classes, classes) and means of METRICS (4,), on the device."""
    generator = torch.Generator().manual_seed(seed)
    fidelity = None if kept is None else kept.fidelity
    if kept is not None and fidelity is not None:
        developed = moved(kept.developed, photographs.device)
    else:
        developed = map(model.develop, bayer_at(photographs, patches.accuracy, patches.patch, batch))
        developed = developed if kept is None else _keeping(developed, kept.developed)
    counts = [confusion_counts(model.analyse(images, generator)) for images in developed]
    if fidelity is None:
        parts = patches_at(photographs, patches.fidelity, patches.patch, batch)
        fidelity = torch.cat([measure(model.develop(part.bayer), part.target) for part in parts], dim=1).mean(dim=1)
    if kept is not None:
        kept.fidelity = fidelity
    return torch.stack(counts).sum(dim=0), fidelity


@torch.no_grad()
def mean_fidelity(
    measures: Mapping[str, Measure], model: JointModel, photographs: Photographs, patches: ValidationSet, batch: int
) -> dict[str, float]:
    """Develops the fidelity patches, ``batch`` at a time, and returns the mean of every measure by its name."""
    found: dict[str, list[Tensor]] = {name: [] for name in measures}
    for part in patches_at(photographs, patches.fidelity, patches.patch, batch) if measures else ():
        developed = model.develop(part.bayer)
        for name, measure_of in measures.items():
            found[name].append(measure_of(part.target, developed).double().cpu())
    return {name: torch.cat(values).mean().item() for name, values in found.items()}


def _keeping(images: Iterable[Tensor], kept: list[Tensor]) -> Iterator[Tensor]:
    """The images, of which copies on the host are appended to ``kept``."""
    for image in images:
        kept.append(image.cpu())
        yield image


def confusion_counts(logits: Tensor) -> Tensor:
    """Counts decisions from class-major logits (classes·N, classes) → (classes, classes): a row per true class."""
    classes = logits.shape[1]
    decided = logits.argmax(dim=1).reshape(classes, -1, 1)  # (true class, N, 1)
    return (decided == torch.arange(classes, device=logits.device)).sum(dim=1).double()
