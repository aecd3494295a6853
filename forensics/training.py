"""Train one trial: a plain function that knows neither a scheduler nor a tracker (section 5.2)."""

import copy
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cameras.pairs import Pairs, split
from cameras.patches import Patches, sample
from channel import Manipulations
from forensics.fan import FAN
from forensics.joint import JointModel, loss_fan, loss_nip
from forensics.trial import Trial
from forensics.validation import Scores, develop, validate, validation_set
from models.checkpoint import load_checkpoint, load_history, save_checkpoint
from models.nip import NIP, move

FIGURES = {"accuracy", "psnr", "ssim", "loss_fan", "loss_nip"}  # of a validation
EXAMPLES = 6  # patches kept to look at

Write = Callable[[str | os.PathLike[str]], None]


@dataclass(frozen=True)
class Outcome:
    """What a trial leaves behind.

    ``history`` maps an iteration to the figures of its validation; ``examples`` are the first fidelity patches as uint8
    (k,3,H,W): ``target``, ``native`` (by the NIP before training) and ``developed`` (by the NIP after it).
    """

    scores: Scores
    history: dict[int, dict[str, float]]
    nip: NIP
    fan: FAN
    classes: tuple[str, ...]
    examples: dict[str, Tensor]


def build_model(trial: Trial, nip: NIP) -> JointModel:
    """The joint model of a trial around a private copy of ``nip``; the FAN starts from the trial's seed."""
    manipulations = Manipulations(trial.manipulations)
    fan = FAN(len(manipulations.classes), generator=torch.Generator().manual_seed(trial.seed))
    nip = copy.deepcopy(nip).eval().requires_grad_(trial.joint)  # eval: an image never depends on its batch
    return JointModel(nip, manipulations, trial.channel.build(), fan, trial.joint, trial.training.precision)


def train(
    trial: Trial,
    pairs: Pairs,
    nip: NIP,
    device: str | torch.device = "cpu",
    *,
    on_step: Callable[[int], None] = lambda step: None,
    on_metrics: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None,
    on_checkpoint: Callable[[int, Write], None] = lambda step, write: None,
    resume: str | os.PathLike[str] | None = None,
) -> Outcome:
    """Run a trial to its end.

    Args:
        trial: the settings that decide the result.
        pairs: the camera's pairs; they are moved to ``device`` once.
        nip: the pre-trained pipeline to start from; it is not changed.
        device: where to train.
        on_step: called with the number of finished iterations after each.
        on_metrics: called with (iteration, figures) after each validation, and on resuming once more for those before:
            ``accuracy``, ``psnr`` (dB) and ``ssim`` on the fixed validation set, ``loss_fan`` and ``loss_nip`` as means
            over training since the last one.
        on_checkpoint: called after ``on_metrics``, but for the last, with the iteration and a function that writes a
            checkpoint to a path, if wanted.
        resume: a checkpoint to go on from. On CPU with the same number of threads, a resumed trial ends bit-identical
            to one that was never stopped.

    Raises:
        FloatingPointError: the loss was NaN or infinite; the message names the iteration.
        CheckpointError: ``resume`` is damaged or belongs to another trial.
        ValueError: data or NIP do not fit the trial (too few images, patches larger than an image, another ISP).
    """
    if nip.name != trial.isp:
        raise ValueError(f"the trial is of {trial.isp}, but the NIP given is a {nip.name}")
    training = trial.training
    images = split(pairs.names, trial.split.train, trial.split.validation, trial.split.seed)
    pairs = pairs.to(device)
    train_images, validation_images = (chosen.to(device) for chosen in images)
    patches = validation_set(trial, pairs, validation_images, nip.reads)
    model = build_model(trial, nip)
    move(model, device, training.precision)
    shown = Patches(patches.fidelity.bayer[:EXAMPLES], patches.fidelity.target[:EXAMPLES])
    native = develop(model, shown, training.batch)

    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = torch.optim.Adam(learnt, lr=training.learning_rate, fused=True)
    generator = torch.Generator().manual_seed(trial.seed)  # on the CPU: the same patches whatever the device
    kept: dict[str, Any] = {
        "modules": {"nip": model.nip, "fan": model.fan},
        "optimisers": {"adam": adam},
        "generators": {"patches": generator},
        "identity": {"trial": asdict(trial), "pairs": pairs.data_hash},
    }
    done, history = 0, {}
    if resume is not None:
        validations = range(trial.validation.every, training.iterations, trial.validation.every)
        history = load_history(resume, load_checkpoint(resume, **kept), validations, FIGURES)
        done = max(history)
        for step, figures in history.items():
            on_metrics(step, figures)

    while done < training.iterations:
        losses = []  # they stay on the device until the next validation
        for step in range(done, min(done + trial.validation.every, training.iterations)):
            batch = sample(pairs, train_images, training.batch, training.patch, generator, training.textured)
            logits, developed = model(getattr(batch, nip.reads), generator)
            l_fan, l_nip = loss_fan(logits), loss_nip(developed, batch.target)
            loss = l_fan + float(trial.lam) * l_nip if trial.joint else l_fan  # eq. 2a
            adam.param_groups[0]["lr"] = training.learning_rate_at(step)
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(torch.stack((loss, l_fan, l_nip)).detach())
            on_step(step + 1)
        mean_losses = _finite_mean(torch.stack(losses), first=done + 1)
        done += len(losses)

        scores = validate(model, patches, training.batch)
        history[done] = {"accuracy": scores.accuracy, "psnr": scores.psnr, "ssim": scores.ssim, **mean_losses}
        on_metrics(done, history[done])
        if done < training.iterations:
            on_checkpoint(done, partial(save_checkpoint, **kept, state={"history": history}))

    return Outcome(
        scores=scores,
        history=history,
        nip=model.nip,
        fan=model.fan,
        classes=model.manipulations.classes,
        examples={
            "target": _to_uint8(shown.target),
            "native": _to_uint8(native),
            "developed": _to_uint8(develop(model, shown, training.batch)),
        },
    )


def _finite_mean(losses: Tensor, first: int) -> dict[str, float]:
    """Means over iterations of (k,3) losses L, L_fan, L_nip, the first of which is of iteration ``first``."""
    rows = losses.double().tolist()
    for step, row in enumerate(rows, start=first):
        if not all(map(math.isfinite, row)):
            raise FloatingPointError(
                f"loss is not finite at iteration {step}: L = {row[0]:g}, L_fan = {row[1]:g}, L_nip = {row[2]:g}"
            )
    return {name: sum(row[i] for row in rows) / len(rows) for i, name in ((1, "loss_fan"), (2, "loss_nip"))}


def _to_uint8(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).to(torch.uint8).cpu().contiguous()
