"""Pre-training of the learned codec, on the photographs that a study's channel would compress."""

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
from channel import quantization, shrink
from channel.distribution import RATE_WEIGHT
from channel.downsampling import KERNELS, MEAN
from channel.learned import Autoencoder, codebook
from channel.learned.transform import LEAST_WIDTH, start_as_dct
from models.checkpoint import StrPath, Write, load_checkpoint, load_history, save_checkpoint
from models.determinism import computing
from models.fidelity import psnr, squared_error, ssim
from models.nip import layout, move
from models.precision import autocast

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 1
METRICS = ("loss_codec", "psnr", "ssim", "bpp")


@dataclass(frozen=True)
class CodecPretraining:
    """Settings of a pre-training.

    Attributes:
        features, width: of the codec (:class:`channel.learned.Autoencoder`); 128 is the toolbox's width.
        rate_weight: β, squared error on the 8-bit scale that a bit per pixel may cost.
        factor, kernel: by which photographs are shrunk first (:func:`channel.shrink`).
        patch: side in pixels of a patch after shrinking.
        batch: patches per iteration.
        start: the starting weights: random ones, or those by which the codec is the DCT of JPEG
            (:mod:`channel.learned.transform`).
        learning_rate: of Adam. It falls to zero at the last iteration as a cosine does from 0 to π.
        warm_up: number of iterations over which the rate rises from zero.
        iterations: in all.
        check_every: iterations between validations.
        validation_patches: per photograph.
        precision: of the convolutions; weights, quantisation, rate and pixels are always float32.
        seed: decides about the starting weights, and which patches are drawn.

    Raises:
        ValueError: an impossible value, naming the field.
    """

    features: int = 32
    width: int = 128
    rate_weight: float = RATE_WEIGHT
    factor: float = 2
    kernel: str = MEAN
    patch: int = 128
    batch: int = 16
    start: Literal["random", "standard"] = "random"
    learning_rate: float = 1e-3
    warm_up: int = 100
    iterations: int = 2000
    check_every: int = 250
    validation_patches: int = 2
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"patch": 16, "warm_up": 0}  # SSIM needs 11 pixels
        for field in ("batch", "iterations", "check_every", "validation_patches", *least):
            if getattr(self, field) < least.get(field, 1):
                raise ValueError(f"{field} must be at least {least.get(field, 1)}: {getattr(self, field)}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, not {self.learning_rate}")
        if not 0 <= self.rate_weight < math.inf:
            raise ValueError(f"rate_weight must be a number from 0 on, not {self.rate_weight}")
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, not {self.kernel!r}")
        if not 1 <= self.factor < math.inf or (self.kernel == MEAN and self.factor != int(self.factor)):
            raise ValueError(f"factor must be at least 1, and whole for means, not {self.factor}")
        if self.start not in ("random", "standard"):
            raise ValueError(f"start must be random or standard, not {self.start!r}")
        if self.start == "standard" and self.width < LEAST_WIDTH:
            raise ValueError(f"start: standard needs a width of at least {LEAST_WIDTH}, not {self.width}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, not {self.precision!r}")

    @property
    def bayer_patch(self) -> int:
        """Side in Bayer pixels of what is shrunk to a patch: of the targets, which are twice as wide."""
        return math.ceil(self.patch * self.factor / 2)

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate of the iteration after `step` finished ones."""
        rising = min(1, (step + 1) / max(self.warm_up, 1))
        return self.learning_rate * rising * (1 + math.cos(math.pi * step / self.iterations)) / 2


@dataclass(frozen=True)
class CodecPretrained:
    """The result of a pre-training.

    Attributes:
        codec: with the weights of its best validation, in evaluation mode.
        steps: number of iterations made.
        loss, psnr, ssim, bpp: of the best validation: mean((255·Δ)²) + β·bpp, dB, at most 1, bits per pixel.
    """

    codec: Autoencoder
    steps: int
    loss: float
    psnr: float
    ssim: float
    bpp: float


def starting_codec(settings: CodecPretraining) -> Autoencoder:
    """Builds the codec that a pre-training starts from.

    Raises:
        ValueError: features or a width that the codec cannot have.
    """
    codec = Autoencoder(settings.features, settings.width, torch.Generator().manual_seed(settings.seed))
    if settings.start == "standard":
        start_as_dct(codec, settings.rate_weight)
    return codec


def pretrain(
    codec: Autoencoder,
    pairs: Pairs,
    train_images: Tensor,
    validation_images: Tensor,
    settings: CodecPretraining,
    device: torch.device | str = "cpu",
    *,
    data: Data = "auto",
    deterministic: bool = True,
    memory: int | None = None,
    on_step: Callable[[int], None] = lambda step: None,
    on_metrics: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    on_checkpoint: Callable[[int, Write], None] = lambda step, write: None,
    resume: StrPath | None = None,
) -> CodecPretrained:
    """Trains `codec` in place with L_codec on the targets of a camera's pairs, and keeps the best weights.

    Args:
        codec: best of :func:`starting_codec`; is moved to the device.
        pairs: of the camera, on the host, best memory-mapped; of the images given alone anything is read.
        train_images, validation_images: (n,) int64, indices into `pairs`.
        settings: how to train.
        device: where to train.
        data, deterministic, memory, on_step, on_checkpoint: as :func:`models.pretrain.pretrain` takes them.
        on_metrics: called after every validation, the first of which precedes all training, with the number of
            iterations and the metrics `loss_codec`, `psnr` (dB), `ssim`, `bpp` (the cross-entropy of the codes, which
            is the size of a file but for its header) and, from the second validation on, `loss_train`, the mean over
            the iterations since the last one. On resuming, it is called again for earlier validations.
        resume: a checkpoint to continue from. With the same kind of device and number of threads, the result is equal
            to the bit to that of an uninterrupted training.

    Raises:
        ValueError: an image is smaller than a patch.
        CheckpointError: `resume` is damaged, or belongs to another pre-training.
        FloatingPointError: a loss is NaN or infinite, naming the step.
    """
    with computing(device, deterministic):
        device = torch.device(device)
        used = torch.cat((train_images, validation_images))
        photographs = Photographs.open(pairs, used, device, data)
        move(codec, device, settings.precision)
        codec.rate_weight = settings.rate_weight
        best = copy.deepcopy(codec)
        adam = torch.optim.Adam(codec.parameters(), lr=settings.learning_rate, fused=True)
        generator = torch.Generator().manual_seed(settings.seed)  # on the CPU, for the same patches on every device
        validation = _validation(pairs, validation_images, settings, generator, device)

        identity = {
            "codec": [codec.name, codec.settings],
            "settings": asdict(settings),
            "pairs": pairs.data_hash,
            "images": [train_images.tolist(), validation_images.tolist()],
        }
        history: dict[int, dict[str, float]] = {}  # metrics of every validation, by step
        parts = ({"codec": codec, "best": best}, {"adam": adam}, {"patches": generator}, identity)

        def check(step: int, loss_train: dict[str, float]) -> None:
            metrics = _evaluate(codec, photographs, validation, settings)
            _require_finite(metrics["loss_codec"], step)
            if metrics["loss_codec"] < min((past["loss_codec"] for past in history.values()), default=math.inf):
                best.load_state_dict(codec.state_dict())
            history[step] = metrics | loss_train
            on_metrics(step, history[step])
            on_checkpoint(step, lambda path: save_checkpoint(path, *parts, {"history": history}))

        if resume is None:
            check(0, {})
        else:
            validations = [*range(0, settings.iterations, settings.check_every), settings.iterations]
            state = load_checkpoint(resume, *parts)
            history |= load_history(resume, state, validations, set(METRICS), later={"loss_train"})
            for step, metrics in history.items():
                on_metrics(step, metrics)

        while steps := min(settings.check_every, settings.iterations - (made := max(history))):
            codec.train()
            losses: list[Tensor] = []  # stay on the device until the next validation
            where = settings.batch, settings.bayer_patch, generator, False
            for batch in batches(photographs, train_images, steps, *where):
                adam.param_groups[0]["lr"] = settings.learning_rate_at(made + len(losses))
                losses.append(codec_step(codec, batch, settings))
                adam.step()
                on_step(made + len(losses))
            values = torch.stack(losses).tolist()
            for step, value in enumerate(values, start=made + 1):
                _require_finite(value, step)
            check(made + steps, {"loss_train": sum(values) / steps})
            if data == "auto":
                photographs = photographs.settle(used, memory)

        codec.load_state_dict(best.state_dict())
        codec.eval()
        metrics = min(history.values(), key=lambda metrics: metrics["loss_codec"])  # the first of equals, as in `best`
        return CodecPretrained(codec, max(history), *(metrics[name] for name in METRICS))


def codec_step(codec: Autoencoder, batch: Patches, settings: CodecPretraining) -> Tensor:
    """Computes the gradients of one iteration; returns the loss on the device, and nothing waits for it."""
    codec.zero_grad()
    images = shrunk(batch, settings)
    with autocast(images, settings.precision):
        codec(images)
    loss = codec.aux_loss()
    loss.backward()
    return loss.detach()


def fidelity(
    codec: Autoencoder,
    pairs: Pairs,
    images: Tensor,
    settings: CodecPretraining,
    device: torch.device | str = "cpu",
    deterministic: bool = True,
) -> dict[str, float]:
    """Measures a codec on images that neither trained it nor chose its weights.

    Args:
        codec: on the device.
        pairs: on the host; of the images given alone anything is read.
        images: (n,) int64, indices into `pairs`.
        settings: its β, its validation patches, how they are shrunk, its seed and precision.
        device: where to compute.
        deterministic: as in `pretrain`.

    Returns:
        `loss_codec`, `psnr`, `ssim` and `bpp`, as in `pretrain`.
    """
    device = torch.device(device)
    with computing(device, deterministic):
        generator = torch.Generator().manual_seed(settings.seed)
        places = _validation(pairs, images, settings, generator, device)
        return _evaluate(codec, Photographs(pairs, device), places, settings)


def _validation(
    pairs: Pairs, images: Tensor, settings: CodecPretraining, generator: torch.Generator, device: torch.device
) -> Places:
    side = settings.bayer_patch
    return fixed_places(pairs, images, settings.validation_patches, side, generator, False, device)


@torch.no_grad()
def _evaluate(
    codec: Autoencoder, photographs: Photographs, validation: Places, settings: CodecPretraining
) -> dict[str, float]:
    codec.eval()
    size = at_once(photographs.device, settings.bayer_patch, settings.batch)
    found = [
        _measure(codec, shrunk(patches, settings), settings)
        for patches in patches_at(photographs, validation, settings.bayer_patch, size)
    ]
    return dict(zip(METRICS, torch.cat(found, dim=1).mean(dim=1).tolist(), strict=True))


def _measure(codec: Autoencoder, images: Tensor, settings: CodecPretraining) -> Tensor:
    """Returns a row for each of METRICS, (4, N) float64 on the CPU, of images (N,3,p,p)."""
    with autocast(images, settings.precision):
        codes = codec.codes(images)
        decoded = codec.decode(codebook.to_values(codes), *images.shape[-2:])
    bpp = codec.bits(codes) / (images.shape[-2] * images.shape[-1])
    error, *others = (metric(decoded, images).cpu().double() for metric in (squared_error, psnr, ssim))
    return torch.stack([error + settings.rate_weight * bpp, *others, bpp])


def shrunk(patches: Patches, settings: CodecPretraining) -> Tensor:
    """What the channel hands to its codec of the targets: (N,3,p,p) of 8 bits, in the memory layout of the codec."""
    images = quantization.store(shrink(patches.target, settings.factor, settings.kernel))
    images = images[..., : settings.patch, : settings.patch]
    return images.contiguous(memory_format=layout(images.device, settings.precision))


def _require_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the pre-training loss of the codec is {loss} at step {step}")
