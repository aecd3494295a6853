"""Evaluation of a finished trial: behind real encoders, and by decisions about images instead of single patches.

    patches ─ NIP ─ manipulations ─┬─ the trial's channel d (dJPEG) ──────────────────────────┬─ FAN ─ posteriors
                                   └─ 8 bits ─ down-sampling ─ 8 bits ─ a real codec, 8 bits ─┘

In training everything is differentiable and nothing is stored. Here the manipulated photograph is stored with 8 bits,
down-sampled as in the trial's channel, stored again, and compressed by a real encoder. Development and manipulations
(also the one called jpeg) are those of the training, so that only the distribution differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cameras.feed import Photographs, bayer_at
from cameras.pairs import Pairs
from channel import encode, shrink
from channel.codecs import Encoder
from channel.codecs.learning import LearningCodec
from channel.quantization import to_levels
from forensics.fan import FAN
from forensics.joint import cut, joint_model
from forensics.trial import Trial
from forensics.validation import confusion_counts, slice_size, validation_set
from models.determinism import computing
from models.nip import NIP, move

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 1
DIFFERENTIABLE = "dJPEG"  # the trial's own channel, among the names of codecs
RULES = ("mean_log_probability", "majority")


@dataclass(frozen=True)
class Evaluation:
    """The FAN's posteriors of every patch of a fixed set, behind every codec.

    Attributes:
        classes: their names, native first.
        posteriors: by codec, log-probabilities (images, patches, true classes, classes), float64 on the CPU: element
            (i, p, t, c) is the FAN's belief that patch p of image i, manipulated as class t, is of class c.
    """

    classes: tuple[str, ...]
    posteriors: dict[str, Tensor]

    def confusion(self, codec: str) -> Tensor:
        """Confusion matrix (classes, classes): rows are true classes and sum to 1."""
        counts = confusion_counts(self.posteriors[codec].permute(2, 0, 1, 3).flatten(0, 2))
        return counts / counts.sum(dim=1, keepdim=True)

    def accuracy(self, codec: str) -> float:
        """Accuracy of single patches, 0 to 1; all classes have equal weight."""
        return self.confusion(codec).diagonal().mean().item()


@torch.no_grad()
def evaluate(
    trial: Trial,
    pairs: Pairs,
    nip: NIP,
    fan: FAN,
    codecs: Sequence[str],
    device: str | torch.device = "cpu",
    on_patches: Callable[[int], None] = lambda done: None,
    on_test: bool = False,
    deterministic: bool = True,
    codec: LearningCodec | None = None,
) -> Evaluation:
    """Evaluates a finished trial behind each codec, on the same patches.

    Args:
        trial: settings of the trial: validation set, manipulations, channel (real encoders replace its codec) and
            precision.
        pairs: the camera's pairs, on the host; of the images to judge by alone anything is read.
        nip, fan: the trained networks; they are moved to ``device``.
        codecs: as :func:`channel.encode` takes them, e.g. ``jpeg:50``, ``jpeg:50:4:2:0``, ``webp:50``; or ``dJPEG`` for
            the trial's own channel. Real encoders run on the CPU.
        device: where to compute. On the device of the trial, ``dJPEG`` repeats the trial's last validation exactly.
        on_patches: called after every batch with the number of finished patches.
        on_test: use patches of the test images instead of the validation images.
        deterministic: as in :func:`forensics.train`.
        codec: of the trial's channel, if it has weights.

    Raises:
        ValueError: an unknown codec, or data or networks that do not fit the trial.
    """
    for named in codecs:
        if named != DIFFERENTIABLE:
            Encoder.parse(named)  # refuses an unknown codec before the work begins
    model = joint_model(trial, nip.eval(), fan, codec and codec.eval())
    classes = len(model.manipulations.classes)
    if (nip.name, fan.settings["classes"]) != (trial.isp, classes):
        raise ValueError(
            f"the trial is of {trial.isp} and {classes} classes, but {nip.name} and a FAN of "
            f"{fan.settings['classes']} classes were given"
        )
    device = torch.device(device)
    move(model, device, model.precision)
    _, validation, test = trial.split.images(pairs.names)
    images = test if on_test else validation
    patches = validation_set(trial, pairs, images, device)
    size = slice_size(trial, device)

    generator = torch.Generator().manual_seed(trial.validation.seed)  # for the same draws as in the trial's validations
    places = {named: torch.Generator().manual_seed(trial.validation.seed) for named in codecs}  # the same windows
    parts: dict[str, list[Tensor]] = {named: [] for named in codecs}
    done = 0
    with computing(device, deterministic):
        for batch in bayer_at(Photographs(pairs, device), patches.accuracy, patches.patch, size):
            photographs = model.manipulations(model.channel.store(model.develop(batch)), generator)
            stored = store(photographs, trial.channel.largest_factor, trial.channel.kernel).cpu()
            for named, posteriors in parts.items():
                own = named == DIFFERENTIABLE
                if own:
                    received = model.receive(photographs, generator)
                else:
                    received = cut(encode(stored, named).to(device) / 255, model.window, places[named])
                log_probabilities = model.classify(received).double().log_softmax(dim=1).cpu()
                posteriors.append(log_probabilities.unflatten(0, (classes, -1)))
            done += len(batch)
            on_patches(done)
    return Evaluation(
        model.manipulations.classes,
        {
            # (classes, images·patches, classes) -> (images, patches, classes, classes)
            named: torch.cat(posteriors, dim=1).unflatten(1, (len(images), -1)).permute(1, 2, 0, 3).contiguous()
            for named, posteriors in parts.items()
        },
    )


def store(photographs: Tensor, factor: float, kernel: str = "mean") -> Tensor:
    """Stores photographs with 8 bits, shrinks them 1:f, and stores them with 8 bits again (halves to even).

    (N,3,H,W) in [0,1] -> (N,3,⌊H/f⌋,⌊W/f⌋) uint8, see :func:`channel.shrink`. Of a channel that draws f, it is the
    largest.
    """
    return shrink(to_levels(photographs.float()), factor, kernel).round().clamp(0, 255).to(torch.uint8)


# --- Image-level decisions ---


class Estimate(NamedTuple):
    """An accuracy and its 95 % interval."""

    accuracy: float
    low: float
    high: float


def fused_accuracy(
    posteriors: Tensor, rule: str, generator: torch.Generator, permutations: int = 20, resamples: int = 2000
) -> dict[int, Estimate]:
    """Accuracy of one decision per photograph, made from k of its patches, for k = 1, 2, 5, 10, 20, 50, … and all.

    All patches of a photograph are manipulated alike, and one decision is made for every class. The accuracy is the
    mean over photographs, classes and random choices of k different patches: all windows of k neighbours in
    ``permutations`` random circular orders, in which every patch occurs equally often. So k = 1 gives the accuracy of
    single patches, and for all patches there is one choice.

    The interval is a percentile bootstrap over photographs, the sampling unit: it draws ``resamples`` sets of equally
    many photographs with replacement, each photograph with its accuracy over all choices and classes. Patches and
    classes are not resampled, since those of one photograph are not independent. The interval is about other
    photographs of the same camera, for the networks of this trial. It is too narrow for few photographs, and [0, 1] for
    a single one.

    Args:
        posteriors: (images, patches, true classes, classes) log-probabilities, as in :class:`Evaluation`.
        rule: ``mean_log_probability``: the class with the largest mean log-probability over the patches;
            ``majority``: the class of most patches, and among equals the one with the largest mean.
        generator: on the CPU; draws the choices of patches and the resamples.
        permutations, resamples: see above.

    Returns:
        An estimate by k.

    Raises:
        ValueError: another rule.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}: choose one of {', '.join(RULES)}")
    images, patches, classes, _ = posteriors.shape
    votes = torch.nn.functional.one_hot(posteriors.argmax(dim=3), classes)
    order = torch.rand(permutations, images, patches, generator=generator).argsort(dim=2)
    drawn = torch.randint(images, (resamples, images), generator=generator)
    truth = torch.arange(classes)
    estimates = {}
    for k in numbers(patches):
        beliefs = _windows(posteriors, order, k)
        if rule == "majority":
            counts = _windows(votes, order, k)
            beliefs = beliefs.masked_fill(counts < counts.amax(dim=-1, keepdim=True), -torch.inf)
        right = (beliefs.argmax(dim=-1) == truth).double().mean(dim=(0, 2, 3))  # (images,)
        low, high = right[drawn].mean(dim=1).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
        estimates[k] = Estimate(right.mean().item(), *((low, high) if images > 1 else (0.0, 1.0)))
    return estimates


def numbers(patches: int) -> list[int]:
    """Returns 1, 2, 5, 10, 20, 50, … below ``patches``, and ``patches``."""
    steps = (digit * 10**power for power in range(len(str(patches))) for digit in (1, 2, 5))
    return [*(k for k in steps if k < patches), patches]


def _windows(values: Tensor, order: Tensor, k: int) -> Tensor:
    """Sums values (images, patches, …) over all windows of k circular neighbours in ``order``.

    ``order`` is (permutations, images, patches); the sums are (permutations, images, patches, …).
    """
    ordered = values[torch.arange(len(values))[:, None], order]  # (permutations, images, patches, …)
    sums = torch.cat((torch.zeros_like(ordered[:, :, :1]), ordered, ordered), dim=2).cumsum(dim=2)
    patches = order.shape[2]
    return sums[:, :, k : k + patches] - sums[:, :, :patches]
