"""Pre-training: a NIP learns to develop as the standard pipeline does (paper §3.2)."""

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from cameras.feed import Data, Photographs, at_once, batches, patches_at
from cameras.pairs import Pairs
from cameras.patches import Patches, Places, fixed_places
from models.checkpoint import StrPath, Write, load_checkpoint, load_history, save_checkpoint
from models.determinism import computing
from models.fidelity import LOSSES, METRICS, Loss, evaluate
from models.nip import NIP, develop, move
from models.registry import build

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 1
CHOICES = {
    "loss": tuple(LOSSES),
    "start": ("random", "standard"),
    "decay": ("constant", "cosine"),
    "precision": ("float32", "bfloat16"),
}


@dataclass(frozen=True)
class Pretraining:
    """Settings of a pre-training. The defaults are the paper's, and its authors' code validated as often.

    Attributes:
        patch: side of a training patch in Bayer pixels; its RGB is twice as wide (paper: 128).
        batch: patches per iteration.
        loss: what the NIP learns to make small, one of `models.fidelity.LOSSES`; it also decides when the training
            stops, and which weights are the best.
        start: the starting weights: random ones, or those that `NIP.start_as_standard` makes of them, nearly the
            standard pipeline. INet and ClassicISP start so in any case.
        learning_rate: of Adam.
        warm_up: number of iterations over which the rate rises from zero.
        decay: constant, or falling to zero at `max_iterations` as a cosine does from 0 to π.
        max_iterations: at most; the default is 50,000 epochs of 120 images in batches of 20.
        check_every: iterations between validations; the default is 100 epochs.
        window: number of validations that the stopping rule averages.
        tolerance: relative change of the loss below which training has converged; None is the NIP's own, from the
            paper (`NIP.tolerance`).
        validation_patch: side of a validation patch in Bayer pixels (paper: 512 in RGB).
        validation_per_image: validation patches per image.
        textured: whether all patches must pass the paper's variance filter.
        precision: of the convolutions; weights, outputs and metrics are always float32.
        seed: decides which patches are drawn.

    Raises:
        ValueError: an impossible value, naming the field.
    """

    patch: int = 64
    batch: int = 20
    loss: Loss = "L2"
    start: Literal["random", "standard"] = "random"
    learning_rate: float = 1e-4
    warm_up: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    max_iterations: int = 300_000
    check_every: int = 600
    window: int = 5
    tolerance: float | None = None
    validation_patch: int = 256
    validation_per_image: int = 1
    textured: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"patch": 6, "validation_patch": 6, "warm_up": 0}  # 12 RGB pixels: SSIM needs 11
        for field in ("batch", "max_iterations", "check_every", "window", "validation_per_image", *least):
            if getattr(self, field) < least.get(field, 1):
                raise ValueError(f"{field} must be at least {least.get(field, 1)}: {getattr(self, field)}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, not {self.learning_rate}")
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance must be in [0, 1), not {self.tolerance}")
        for field, values in CHOICES.items():
            if getattr(self, field) not in values:
                raise ValueError(f"{field} must be {' or '.join(values)}, not {getattr(self, field)!r}")

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate of the iteration after `step` finished ones."""
        rate = self.learning_rate * min(1, (step + 1) / max(self.warm_up, 1))
        if self.decay == "cosine":
            rate *= (1 + math.cos(math.pi * step / self.max_iterations)) / 2
        return rate


@dataclass(frozen=True)
class Pretrained:
    """The result of a pre-training.

    Attributes:
        nip: with the weights of its best validation, in evaluation mode, statistics frozen.
        steps: number of iterations made.
        loss, psnr, ssim: of the best validation: the loss that it learned by, dB, and at most 1.
        reason: why it ended: "converged" by the paper's rule, or "max_iterations".
    """

    nip: NIP
    steps: int
    loss: float
    psnr: float
    ssim: float
    reason: Literal["converged", "max_iterations"]


def converged(losses: list[float], window: int, tolerance: float) -> bool:
    """Whether the newest loss changed the mean of the last `window` losses by less than `tolerance` of it."""
    before, now = sum(losses[-window - 1 : -1]), sum(losses[-window:])
    return len(losses) > window and abs(now - before) < tolerance * before


def starting_nip(isp: str, pairs: Pairs, settings: Pretraining) -> NIP:
    """Builds the NIP that a pre-training starts from, for the camera of `pairs`.

    Raises:
        ValueError: the NIP cannot start as the settings want.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    nip = build(isp, generator=generator, cfa=pairs.cfa, cam2srgb=pairs.cam2srgb.tolist())
    if settings.start == "standard":
        nip.start_as_standard()
    return nip


def pretraining_step(nip: NIP, batch: Patches, settings: Pretraining) -> Tensor:
    """Computes the gradients of one iteration; returns the loss on the device, and nothing waits for it."""
    nip.zero_grad()
    loss = LOSSES[settings.loss](develop(nip, batch.bayer, settings.precision), batch.target).mean()
    loss.backward()
    return loss.detach()


def pretrain(
    nip: NIP,
    pairs: Pairs,
    train_images: Tensor,
    validation_images: Tensor,
    settings: Pretraining,
    device: torch.device | str = "cpu",
    *,
    data: Data = "auto",
    deterministic: bool = True,
    memory: int | None = None,
    on_step: Callable[[int], None] = lambda step: None,
    on_metrics: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    on_checkpoint: Callable[[int, Write], None] = lambda step, write: None,
    resume: StrPath | None = None,
) -> Pretrained:
    """Trains `nip` in place until the paper's rule stops it, and keeps the best weights; the paper's loss is L2.

    Args:
        nip: is moved to the device, and its weights to the fastest memory layout there.
        pairs: of the camera, on the host, best memory-mapped; of the images given alone anything is read.
        train_images, validation_images: (n,) int64, indices into `pairs`.
        settings: how to train.
        device: where to train.
        data: where the photographs are: host, device, or auto: on the host at first, and on a GPU after the first
            steps and their validation if they fit beside all that was needed until then. The result is the same.
        deterministic: whether a GPU shall give the same bits when the training is repeated on the same kind of card.
        memory: bytes of a GPU that this process may use; None: all that is free.
        on_step: called after every iteration with the number of iterations made.
        on_metrics: called after every validation, the first of which precedes all training, with the number of
            iterations and the metrics `loss_nip` (the loss of the settings), `psnr` (dB), `ssim`, `ssim_paper` and,
            from the second validation on, `loss_train`, the mean over the iterations since the last one. On resuming,
            it is called again for earlier validations.
        on_checkpoint: called after `on_metrics` with the number of iterations and a function that writes a checkpoint
            to a path.
        resume: a checkpoint to continue from. With the same kind of device and number of threads, the result is equal
            to the bit to that of an uninterrupted training.

    Raises:
        ValueError: the NIP has no weights.
        CheckpointError: `resume` is damaged, or belongs to another pre-training.
        FloatingPointError: a loss is NaN or infinite, naming the step.
    """
    if not list(nip.parameters()):
        raise ValueError(f"{nip.name} has no weights to train")
    with computing(device, deterministic):
        device = torch.device(device)
        used = torch.cat((train_images, validation_images))
        photographs = Photographs.open(pairs, used, device, data)
        move(nip, device, settings.precision)
        best = copy.deepcopy(nip)
        adam = torch.optim.Adam(nip.parameters(), lr=settings.learning_rate, fused=True)
        generator = torch.Generator().manual_seed(settings.seed)  # on the CPU, for the same patches on every device
        validation = _validation(pairs, validation_images, settings, generator, device)
        tolerance = nip.tolerance if settings.tolerance is None else settings.tolerance

        identity = {
            "nip": [nip.name, nip.settings],
            "settings": asdict(settings),
            "pairs": pairs.data_hash,
            "images": [train_images.tolist(), validation_images.tolist()],
        }
        history: dict[int, dict[str, float]] = {}  # metrics of every validation, by step
        parts = ({"nip": nip, "best": best}, {"adam": adam}, {"patches": generator}, identity)

        def check(step: int, loss_train: dict[str, float]) -> None:
            metrics = _evaluate(nip, photographs, validation, settings)
            _require_finite(metrics["loss_nip"], step)
            if metrics["loss_nip"] < min(_losses(history), default=math.inf):
                best.load_state_dict(nip.state_dict())
            history[step] = metrics | loss_train
            on_metrics(step, history[step])
            state = {"history": history}
            on_checkpoint(step, lambda path: save_checkpoint(path, *parts, state))

        if resume is None:
            check(0, {})
        else:
            validations = [*range(0, settings.max_iterations, settings.check_every), settings.max_iterations]
            state = load_checkpoint(resume, *parts)
            history |= load_history(resume, state, validations, set(METRICS), later={"loss_train"})
            for step, metrics in history.items():
                on_metrics(step, metrics)

        while not (done := converged(_losses(history), settings.window, tolerance)):
            made = max(history)
            steps = min(settings.check_every, settings.max_iterations - made)
            if steps == 0:
                break
            nip.freeze_statistics(False).train()
            where = settings.batch, settings.patch, generator, settings.textured
            losses: list[Tensor] = []  # stay on the device until the next validation
            for batch in batches(photographs, train_images, steps, *where):
                adam.param_groups[0]["lr"] = settings.learning_rate_at(made + len(losses))
                losses.append(pretraining_step(nip, batch, settings))
                adam.step()
                on_step(made + len(losses))
            values = torch.stack(losses).tolist()
            for step, value in enumerate(values, start=made + 1):
                _require_finite(value, step)
            check(made + steps, {"loss_train": sum(values) / steps})
            if data == "auto":
                photographs = photographs.settle(used, memory)

        nip.load_state_dict(best.state_dict())
        nip.freeze_statistics().eval()
        metrics = min(history.values(), key=lambda metrics: metrics["loss_nip"])  # the first of equals, as in `best`
        reason: Literal["converged", "max_iterations"] = "converged" if done else "max_iterations"
        return Pretrained(nip, max(history), metrics["loss_nip"], metrics["psnr"], metrics["ssim"], reason)


def fidelity(
    nip: NIP,
    pairs: Pairs,
    images: Tensor,
    settings: Pretraining,
    device: torch.device | str = "cpu",
    deterministic: bool = True,
) -> dict[str, float]:
    """Measures a NIP on images that neither trained it nor stopped its training.

    Args:
        nip: on the device.
        pairs: on the host; of the images given alone anything is read.
        images: (n,) int64, indices into `pairs`.
        settings: its validation patches, seed and precision.
        device: where to develop.
        deterministic: as in `pretrain`.

    Returns:
        The metrics of `models.fidelity.evaluate`.
    """
    device = torch.device(device)
    with computing(device, deterministic):
        validation = _validation(pairs, images, settings, torch.Generator().manual_seed(settings.seed), device)
        return _evaluate(nip, Photographs(pairs, device), validation, settings)


def _validation(
    pairs: Pairs, images: Tensor, settings: Pretraining, generator: torch.Generator, device: torch.device
) -> Places:
    patch = settings.validation_patch
    return fixed_places(pairs, images, settings.validation_per_image, patch, generator, settings.textured, device)


def _evaluate(nip: NIP, photographs: Photographs, validation: Places, settings: Pretraining) -> dict[str, float]:
    patch, batch = settings.validation_patch, validation_batch(settings, photographs.device)
    return evaluate(nip.eval(), patches_at(photographs, validation, patch, batch), settings.precision, settings.loss)


def validation_batch(settings: Pretraining, device: torch.device) -> int:
    """Returns the number of validation patches developed at a time: on a CPU about as many pixels as in training."""
    as_training = settings.batch * settings.patch**2 // settings.validation_patch**2
    return at_once(device, settings.validation_patch, max(1, as_training))


def _losses(history: dict[int, dict[str, float]]) -> list[float]:
    return [metrics["loss_nip"] for metrics in history.values()]


def _require_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the pre-training loss is {loss} at step {step}")
