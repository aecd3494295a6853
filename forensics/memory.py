"""How much memory of a GPU a trial or a pre-training needs, counted on the meta device, where tensors have no content.

Counted is the code that trains: one step forward and backward, and one slice of a validation. Photographs on the device
(``data: device``) come on top: 20 bytes a Bayer pixel.

    python -c "from forensics.memory import *; from forensics import Trial; print(trial_memory(Trial('', 'UNet', 0.1)))"
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

import models
from cameras.feed import AHEAD, Photographs, at_once
from cameras.pairs import BYTES_PER_BAYER_PIXEL, BYTES_PER_CELL, Pairs
from cameras.patches import Patches, Places
from channel.learned import Autoencoder
from forensics.compression.pretraining import CodecPretraining, codec_step, shrunk
from forensics.metering import Meter
from forensics.training import build_model, training_step
from forensics.trial import Trial
from forensics.validation import ValidationSet, slice_size, tally
from models.fidelity import measure
from models.nip import develop, move
from models.pretrain import Pretraining, pretraining_step, validation_batch
from models.sizes import MOMENTS, size

META = torch.device("meta")
CONTEXT = 500_000_000  # of CUDA, with the kernels of PyTorch and its libraries
SCRATCH = 250_000_000  # of cuDNN's convolutions and cuBLAS
ROUNDING = 0.1  # of what is counted


@dataclass(frozen=True)
class Memory:
    """Bytes of a GPU.

    Attributes:
        weights: parameters and buffers, and their means where a trial averages them.
        optimiser: Adam's moments of the weights that learn.
        gradients_and_activations: the most that a step has alive at once beside weights and batch.
        batch: the running step's patches, and those that are prepared ahead.
        validation: the most that a validation has alive at once beside the weights; gradients are, too.
        workspace: what no tensor of ours holds: CUDA's own 0.5 GB, scratch space of convolutions, for which 0.25 GB are
            assumed, and a tenth of the rest for blocks that the allocator rounds up or cannot reuse. No GPU has
            measured it yet: ``pytest -m gpu`` compares.
    """

    weights: int
    optimiser: int
    gradients_and_activations: int
    batch: int
    validation: int
    workspace: int

    @property
    def total(self) -> int:
        step = self.gradients_and_activations + self.batch
        return self.weights + self.optimiser + max(step, self.validation) + self.workspace


def trial_memory(trial: Trial, width: int = CodecPretraining.width) -> Memory:
    """The memory that a trial needs, without photographs. Trials that differ in nothing of it are counted once.

    Args:
        width: of the pre-trained codec of the trial's channel, where it needs one.
    """
    training = replace(trial.training, codec_lambda=1.0 if trial.codec_learns else None)
    channel = replace(trial.channel, rate_weight=0.0)
    lam: Literal["fixed"] | float = 0.0 if trial.joint else "fixed"
    return _trial_memory(replace(trial, camera="", seed=0, lam=lam, training=training, channel=channel), width)


@cache
def _trial_memory(trial: Trial, width: int) -> Memory:
    training, draws = trial.training, torch.Generator()
    model = build_model(trial, models.build(trial.isp), _codec(trial, width))
    move(model, META, training.precision)
    batch = _batch(training.batch, training.patch)
    step = _peak(lambda: training_step(model, batch, trial, draws), (*_values(model), batch.bayer, batch.target))

    patch, slice_ = training.patch, slice_size(trial, META)
    numbers = (trial.validation.accuracy_patches, trial.validation.fidelity_patches)
    accuracy, fidelity = (_places(min(slice_, number * trial.split.validation)) for number in numbers)
    photographs = Photographs(_photograph(patch), META, _photograph(patch))
    validation = ValidationSet(accuracy, fidelity, patch)
    judged = _peak(lambda: tally(model, photographs, validation, slice_), _values(model))
    return _memory(training.copies * size(model), model, step, batch, judged + _ahead(slice_, patch))


def _codec(trial: Trial, width: int) -> Autoencoder | None:
    """A codec such as the trial's channel starts from; None where it needs none."""
    term = trial.channel.learning_codec
    return Autoencoder(term.qualities[0], width) if term is not None and trial.needs_codec else None


@cache
def pretraining_memory(isp: str, settings: Pretraining) -> Memory:
    """The memory that a pre-training needs, without photographs."""
    nip = models.build(isp)
    move(nip, META, settings.precision)
    nip.freeze_statistics(False).train()
    batch = _batch(settings.batch, settings.patch)
    step = _peak(lambda: pretraining_step(nip, batch, settings), (*_values(nip), batch.bayer, batch.target))

    slice_ = validation_batch(settings, META)
    shown = _batch(slice_, settings.validation_patch)
    with torch.no_grad():
        judged = _peak(
            lambda: measure(develop(nip.eval(), shown.bayer, settings.precision), shown.target, settings.loss),
            (*_values(nip), shown.bayer, shown.target),
        )
    judged += _bytes((shown.bayer, shown.target)) + _ahead(slice_, settings.validation_patch)
    return _memory(2 * size(nip), nip, step, batch, judged)  # with the best weights so far


@cache
def codec_pretraining_memory(settings: CodecPretraining) -> Memory:
    """The memory that the pre-training of a codec needs, without photographs."""
    codec = Autoencoder(settings.features, settings.width)
    move(codec, META, settings.precision)
    batch = _batch(settings.batch, settings.bayer_patch)
    step = _peak(lambda: codec_step(codec, batch, settings), (*_values(codec), batch.bayer, batch.target))

    slice_ = at_once(META, settings.bayer_patch, settings.batch)
    shown = _batch(slice_, settings.bayer_patch)
    with torch.no_grad():
        images = shrunk(shown, settings)
        judged = _peak(lambda: measure(codec.eval()(images), images), (*_values(codec), images))
    judged += _bytes((shown.bayer, shown.target, images)) + _ahead(slice_, settings.bayer_patch)
    return _memory(2 * size(codec), codec, step, batch, judged)  # with the best weights so far


def _memory(weights: int, model: nn.Module, step: int, batch: Patches, validation: int) -> Memory:
    learning = _bytes(parameter for parameter in model.parameters() if parameter.requires_grad)
    patch = batch.bayer.shape[-1]
    on_device = _bytes((batch.bayer, batch.target)) + _ahead(len(batch), patch)
    counted = Memory(weights, MOMENTS * learning, step, on_device, validation + learning, 0)
    return replace(counted, workspace=CONTEXT + SCRATCH + int(ROUNDING * counted.total))


def _peak(run: Callable[[], object], held: Iterable[Tensor]) -> int:
    """The most bytes that are alive at once while something runs, beside those that are ``held`` before."""
    held = list(held)
    with Meter(held) as meter:
        run()
    return meter.peak - _bytes(held)


def _ahead(count: int, patch: int) -> int:
    """Bytes of the batches of stored integers on their way: the newest, those ahead, and the one in use."""
    return (AHEAD["cuda"] + 2) * count * patch**2 * (BYTES_PER_BAYER_PIXEL + BYTES_PER_CELL)


def _values(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _batch(count: int, patch: int) -> Patches:
    bayer = torch.empty(count, 4, patch, patch, device=META)
    return Patches(bayer, torch.empty(count, 3, 2 * patch, 2 * patch, device=META))


def _places(count: int) -> Places:
    return Places(*(torch.zeros(count, dtype=torch.int64, device=META) for _ in range(3)))


def _photograph(patch: int) -> Pairs:
    """A photograph of one patch."""
    extent = torch.empty(1, dtype=torch.int64, device=META)
    return Pairs(
        bayer=torch.empty(patch**2, 4, dtype=torch.int16, device=META),
        target=torch.empty(4 * patch**2, 3, dtype=torch.uint8, device=META),
        offset=extent,
        height=extent,
        width=extent,
        names=("",),
        cfa="RGGB",
        cam2srgb=np.eye(3, dtype=np.float32),
        camera="",
        data_hash="",
    )
