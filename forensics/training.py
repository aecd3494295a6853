"""The training of one trial (section 5.2): a plain function that knows neither a scheduler nor a tracker."""

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from cameras.feed import Data, Photographs, batches, patches_at
from cameras.pairs import Pairs
from cameras.patches import Patches
from channel import Manipulations
from channel.codecs.learning import LearningCodec
from forensics.averaging import averaged
from forensics.fan import FAN
from forensics.joint import JointModel, joint_model, loss_fan, loss_nip
from forensics.trial import Training, Trial
from forensics.validation import Measure, Scores, kept_for, mean_fidelity, slice_size, validate, validation_set
from models.checkpoint import StrPath, Write, load_checkpoint, load_history, save_checkpoint
from models.determinism import computing
from models.nip import NIP, move

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 2
DRAWS_VERSION = 2  # of how a training draws strengths, noise and channels: only where something is random
METRICS = {"accuracy", "psnr", "ssim", "ssim_paper", "loss_fan", "loss_nip"}  # of every validation
Rate = Callable[[int], float]  # learning rate after so many iterations
EXAMPLES = 6  # number of patches kept as pictures


@dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    Attributes:
        scores: of the last validation.
        test_scores: of the trained networks on the test images; None where the split has none.
        history: metrics of every validation, by iteration.
        nip, fan: the trained networks, as they were validated.
        codec: of the channel, if it has weights.
        classes: names of the FAN's classes, native first.
        examples: the first fidelity patches, uint8 (k,3,H,W): ``target``, ``native`` (developed by the NIP before
            training) and ``developed`` (by the NIP after training).
    """

    scores: Scores
    test_scores: Scores | None
    history: dict[int, dict[str, float]]
    nip: NIP
    fan: FAN
    codec: LearningCodec | None
    classes: tuple[str, ...]
    examples: dict[str, Tensor]


def build_model(trial: Trial, nip: NIP, codec: LearningCodec | None = None) -> JointModel:
    """Builds the joint model of a trial with copies of ``nip`` and ``codec``; the FAN starts from the trial's seed."""
    classes = Manipulations(trial.manipulations).classes
    fan = FAN(len(classes), generator=torch.Generator().manual_seed(trial.seed))
    nip = copy.deepcopy(nip).eval().requires_grad_(False)  # in eval mode, no image depends on its batch
    for parameter in nip.learning() if trial.joint else ():
        parameter.requires_grad_()
    model = joint_model(trial, nip, fan, copy.deepcopy(codec))
    model.channel.requires_grad_(trial.codec_learns)
    if model.channel.learned is not None:
        model.channel.learned.train(trial.codec_learns)
    return model


def parameter_groups(model: JointModel, training: Training) -> list[tuple[Rate, list[nn.Parameter]]]:
    """Returns all weights that learn, with their learning rate after so many iterations.

    Those of the NIP and of the codec come first if they have a rate of their own, then all others.
    """
    own: list[tuple[Rate, nn.Module]] = []
    if training.nip_has_own_rate:
        own.append((training.nip_learning_rate_at, model.nip))
    if training.codec_learning_rate is not None:
        own.append((training.codec_learning_rate_at, model.channel))
    groups = [(rate, [p for p in module.parameters() if p.requires_grad]) for rate, module in own]
    taken = {parameter for _, parameters in groups for parameter in parameters}
    rest = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter not in taken]
    return [*(group for group in groups if group[1]), (training.learning_rate_at, rest)]


def training_step(model: JointModel, batch: Patches, trial: Trial, draws: torch.Generator) -> Tensor:
    """Computes the gradients of one iteration; ``draws`` is for random manipulations and channels.

    Returns:
        The losses L, L_fan, L_nip and, where the codec learns, L_codec, (3,) or (4,), on the device: nothing waits.
    """
    model.zero_grad()
    logits, developed = model(batch.bayer, draws)
    l_fan, l_nip = loss_fan(logits), loss_nip(developed, batch.target, trial.training.nip_loss)
    loss = l_fan + float(trial.lam) * l_nip if trial.joint else l_fan  # eq. 2a
    losses = [l_fan, l_nip]
    if trial.training.codec_lambda is not None:
        l_codec = model.channel.aux_loss().to(loss.device)
        loss = loss + trial.training.codec_lambda * l_codec
        losses.append(l_codec)
    loss.backward()
    model.channel.report(l_fan)
    return torch.stack((loss, *losses)).detach()


def train(
    trial: Trial,
    pairs: Pairs,
    nip: NIP,
    device: str | torch.device = "cpu",
    *,
    codec: LearningCodec | None = None,
    data: Data = "auto",
    deterministic: bool = True,
    memory: int | None = None,
    at_end: Mapping[str, Measure] = {},
    on_step: Callable[[int], None] = lambda step: None,
    on_metrics: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None,
    on_checkpoint: Callable[[int, Write], None] = lambda step, write: None,
    resume: StrPath | None = None,
) -> Outcome:
    """Trains a trial to its end.

    Args:
        trial: the settings that decide the result.
        pairs: the camera's pairs on the host, best memory-mapped; of the images of the split alone anything is read.
        nip: the pre-trained NIP to start from; it is not changed.
        device: where to train.
        codec: the pre-trained codec that the channel starts from, where it needs one; it is not changed.
        data: where the photographs are: ``host``, ``device``, or ``auto``: on the host at first, and on a GPU after the
            first validation if they fit beside all that was needed until then. The result is the same.
        deterministic: whether a GPU shall give the same bits when the trial is repeated on the same kind of card.
        memory: bytes of a GPU that this process may use; None: all that is free.
        at_end: further measures of fidelity, by name, for which only the end of the training has the time.
        on_step: called after every iteration with the number of iterations made.
        on_metrics: called after every validation with the iteration and the metrics: ``accuracy``, ``psnr`` (dB) and
            ``ssim`` and ``ssim_paper`` on the fixed validation set, ``loss_fan`` and ``loss_nip`` as means over the
            iterations since the last validation, and ``loss_codec`` where the codec learns. On resuming, it is called
            again for earlier validations. At the end, it is called once more with the means of the measures ``at_end``
            and, where the split has test images, with ``test_accuracy``, ``test_psnr``, …, if there is any of these.
        on_checkpoint: called after ``on_metrics``, except at the end, with the iteration and a function that writes a
            checkpoint to a path.
        resume: a checkpoint to resume from. On a CPU with the same number of threads, the result is equal to the bit to
            that of an uninterrupted trial.

    Raises:
        FloatingPointError: a loss is NaN or infinite; the message names the iteration.
        CheckpointError: ``resume`` is damaged, or belongs to another trial.
        ValueError: data or NIP do not fit the trial (too few images, patches larger than an image, another NIP), or
            the channel's codec is missing.
    """
    if trial.needs_codec and codec is None:
        raise ValueError(f"the channel's codec {trial.channel.codec} has to be pre-trained: pass it as codec")
    if nip.name != trial.isp:
        raise ValueError(f"the trial is of {trial.isp}, but the NIP given is a {nip.name}")
    with computing(device, deterministic):
        training, device = trial.training, torch.device(device)
        train_images, validation_images, test_images = trial.split.images(pairs.names)
        used = torch.cat((train_images, validation_images))
        photographs = Photographs.open(pairs, used, device, data)
        validation = validation_set(trial, pairs, validation_images, device)
        size, kept = slice_size(trial, device), kept_for(trial, validation)
        model = build_model(trial, nip, codec)
        move(model, device, training.precision)
        shown = next(patches_at(photographs, validation.fidelity[:EXAMPLES], training.patch, EXAMPLES))
        native = _develop(model, shown, training.batch)

        groups = parameter_groups(model, training)
        learning = [{"params": parameters} for _, parameters in groups]
        adam = torch.optim.Adam(learning, lr=training.learning_rate, fused=True)
        # On the CPU, for the same patches on every device; of their own, so that patches can be drawn ahead.
        generator, draws = torch.Generator().manual_seed(trial.seed), draws_of(trial.seed)
        mean = averaged(model, training.average) if training.average is not None else None
        judged = cast(JointModel, mean.module) if mean is not None else model
        saved: dict[str, Any] = {
            "modules": {"nip": model.nip, "fan": model.fan, "channel": model.channel}
            | ({"mean": mean} if mean is not None else {}),
            "optimisers": {"adam": adam},
            "generators": {"patches": generator, "draws": draws},
            "identity": {"trial": asdict(trial), "pairs": pairs.data_hash},
        }
        done, history = 0, {}
        if resume is not None:
            validations = range(trial.validation.every, training.iterations, trial.validation.every)
            history = load_history(
                resume,
                load_checkpoint(resume, **saved),
                validations,
                METRICS | {f"loss_{name}" for name in losses_of(trial)},
            )
            done = max(history)
            for step, metrics in history.items():
                on_metrics(step, metrics)

        while done < training.iterations:
            steps = range(done, min(done + trial.validation.every, training.iterations))
            where = training.batch, training.patch, generator, training.textured
            losses = []  # stay on the device until the next validation
            for step, batch in zip(steps, batches(photographs, train_images, len(steps), *where), strict=True):
                for group, (rate, _) in zip(adam.param_groups, groups, strict=True):
                    group["lr"] = rate(step)
                losses.append(training_step(model, batch, trial, draws))
                adam.step()
                if mean is not None:
                    mean.update_parameters(model)
                on_step(step + 1)
            mean_losses = _finite_mean(torch.stack(losses), losses_of(trial), first=done + 1)
            done += len(losses)

            scores = validate(judged, photographs, validation, size, trial.validation.seed, kept)
            history[done] = scores.metrics() | mean_losses
            on_metrics(done, history[done])
            if done < training.iterations:
                on_checkpoint(done, partial(save_checkpoint, **saved, state={"history": history}))
            if data == "auto":
                photographs = photographs.settle(used, memory)

        last, test_scores = mean_fidelity(at_end, judged, photographs, validation, size), None
        if trial.split.test:
            tested, shown_once = validation_set(trial, pairs, test_images, device), Photographs(pairs, device)
            test_scores = validate(judged, shown_once, tested, size, trial.validation.seed)
            found = test_scores.metrics() | mean_fidelity(at_end, judged, shown_once, tested, size)
            last |= {f"test_{name}": value for name, value in found.items()}
        if last:
            on_metrics(done, last)
        return Outcome(
            scores=scores,
            test_scores=test_scores,
            history=history,
            nip=judged.nip,
            fan=judged.fan,
            codec=judged.channel.learned,
            classes=model.manipulations.classes,
            examples={
                "target": _to_uint8(shown.target),
                "native": _to_uint8(native),
                "developed": _to_uint8(_develop(judged, shown, training.batch)),
            },
        )


def draws_of(seed: int) -> torch.Generator:
    """Returns a generator for strengths and noise, seeded by a hash of the trial's seed, which itself seeds patches."""
    digest = hashlib.sha256(f"draws {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))  # it uses 32 bits


@torch.no_grad()
def _develop(model: JointModel, patches: Patches, batch: int) -> Tensor:
    """Develops all patches into photographs (n,3,2p,2p), ``batch`` at a time."""
    return torch.cat([model.develop(bayer) for bayer in patches.bayer.split(batch)])


def losses_of(trial: Trial) -> tuple[str, ...]:
    """Names of the losses that make up L, in the order of :func:`training_step`."""
    return ("fan", "nip", "codec") if trial.codec_learns else ("fan", "nip")


def _finite_mean(losses: Tensor, names: Sequence[str], first: int) -> dict[str, float]:
    """Means over iterations of losses (k,1+n): L, then those by ``names``; the first row is of iteration ``first``."""
    rows = losses.double().tolist()
    for step, (loss, *parts) in enumerate(rows, start=first):
        if not all(map(math.isfinite, (loss, *parts))):
            found = ", ".join(f"L_{name} = {part:g}" for name, part in zip(names, parts, strict=True))
            raise FloatingPointError(f"loss is not finite at iteration {step}: L = {loss:g}, {found}")
    return {f"loss_{name}": sum(row[i] for row in rows) / len(rows) for i, name in enumerate(names, start=1)}


def _to_uint8(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).to(torch.uint8).cpu().contiguous()
