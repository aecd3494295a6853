"""The joint model and its objective (section 4, eq. 2): one network develops, another detects manipulations.

bayer ─ NIP ─ developed ─┬─ native ──────┐
                         ├─ manipulation ┼─ channel d ─ received (─ window) ─ FAN ─ logits
                         └─ manipulation ┘
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channel import Channel, Manipulations
from channel.codecs.learning import LearningCodec
from forensics.fan import FAN
from forensics.trial import Trial
from models.fidelity import LOSSES
from models.nip import NIP, develop, layout
from models.precision import autocast


class JointModel(nn.Module):
    """Acquisition, manipulation, distribution and analysis as one differentiable function.

    Args:
        nip: develops Bayer stacks (N,4,h,w) into photographs (N,3,2h,2w).
        manipulations: turns N photographs into classes·N, class-major, native first.
        channel: distributes photographs.
        fan: classifies received photographs.
        joint: whether the NIP learns, too (F+N); otherwise only the FAN learns (F).
        precision: of the convolutions of NIP and FAN, ``float32`` or ``bfloat16``. Manipulations, channel and losses
            are always float32.
        window: side in pixels of what the FAN gets of every received photograph; None: all of it.
    """

    def __init__(
        self,
        nip: NIP,
        manipulations: Manipulations,
        channel: Channel,
        fan: FAN,
        joint: bool = True,
        precision: str = "float32",
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.nip = nip
        self.manipulations = manipulations
        self.channel = channel
        self.fan = fan
        self.joint = joint
        self.precision = precision
        self.window = window

    def forward(self, bayer: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Bayer stacks (N,4,h,w) → logits (classes·N, classes), class-major, and photographs (N,3,2h,2w).

        ``generator`` is for manipulations that draw a strength or noise, then for a channel that draws, then for the
        place of a window; the paper's draw nothing.
        """
        developed = self.develop(bayer)
        return self.analyse(developed, generator), developed

    def analyse(self, developed: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Photographs (N,3,2h,2w) → logits (classes·N, classes), as in ``forward``."""
        stored = self.channel.store(developed)
        return self.classify(self.receive(self.manipulations(stored, generator), generator))

    def receive(self, photographs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Photographs (N,3,2h,2w) → what the FAN gets of them (N,3,H,W): distributed, then a window of each."""
        return cut(self.channel(photographs, generator), self.window, generator)

    def develop(self, bayer: Tensor) -> Tensor:
        """Develops photographs (N,3,2h,2w); in mode *fixed* without a graph."""
        with nullcontext() if self.joint else torch.no_grad():
            return develop(self.nip, bayer, self.precision)

    def classify(self, received: Tensor) -> Tensor:
        """Returns the FAN's logits (N, classes) of received photographs (N,3,H,W)."""
        with autocast(received, self.precision):
            return self.fan(received.contiguous(memory_format=layout(received.device, self.precision)))


def joint_model(trial: Trial, nip: NIP, fan: FAN, codec: LearningCodec | None = None) -> JointModel:
    """The model of a trial, with these networks, and with a codec that has weights where its channel has one.

    Raises:
        ValueError: the channel has no place for the codec.
    """
    training, manipulations, channel = trial.training, Manipulations(trial.manipulations), trial.channel.build()
    if codec is not None:
        channel.use(codec)
    return JointModel(nip, manipulations, channel, fan, trial.joint, training.precision, training.window)


def cut(received: Tensor, side: int | None, generator: torch.Generator | None = None) -> Tensor:
    """Cuts a window (N,3,side,side) out of images (N,3,H,W), at a place that is drawn for all of them; None: no cut.

    In a photograph a window lies anywhere. A FAN that always sees whole patches learns where in them a pattern of the
    NIP and the blocks of JPEG begin, and fails elsewhere.
    """
    if side is None:
        return received
    top, left = (int(torch.randint(extent - side + 1, (), generator=generator)) for extent in received.shape[-2:])
    return received[..., top : top + side, left : left + side]


def loss_fan(logits: Tensor) -> Tensor:
    """Cross-entropy of class-major logits (classes·N, classes): eq. 2b, with the minus sign that is missing there."""
    return F.cross_entropy(logits, labels(logits))


def loss_nip(developed: Tensor, target: Tensor, loss: str = "L2") -> Tensor:
    """Mean of a loss of `models.fidelity.LOSSES`; the paper's is L2, eq. 2c: 255² · mean(Δ²)."""
    if loss == "L2":  # not `squared_error`, which rounds otherwise: finished trials are repeated to the bit
        return 255**2 * F.mse_loss(developed, target)
    return LOSSES[loss](developed, target).mean()


def labels(logits: Tensor) -> Tensor:
    """Returns the true classes (classes·N,) of class-major logits (classes·N, classes): 0…0 1…1 …"""
    total, classes = logits.shape
    return torch.arange(classes, device=logits.device).repeat_interleave(total // classes)
