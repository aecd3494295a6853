"""The joint objective (section 4, eq. 2): one network develops, the other tells what happened afterwards.

bayer ─ NIP ─ developed ─┬─ native ──────┐
                         ├─ manipulation ┼─ channel d ─ received ─ FAN ─ logits
                         └─ manipulation ┘
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from channel import Channel, Manipulations
from forensics.fan import FAN
from models.fidelity import squared_error
from models.nip import NIP, autocast, develop, layout


class JointModel(nn.Module):
    """Acquisition, manipulation, distribution and analysis as one differentiable function.

    Args:
        nip: develops Bayer stacks (N,4,h,w) into photographs (N,3,2h,2w).
        manipulations: turns N photographs into classes·N, class-major, native first.
        channel: what distribution does to a photograph.
        fan: classifies what arrives.
        joint: gradients reach the NIP (F+N); otherwise only the FAN learns (F) and the NIP is a constant.
        precision: ``float32``, or ``bfloat16`` for the convolutions of NIP and FAN. Manipulations, channel and
            losses are always float32.
    """

    def __init__(
        self,
        nip: NIP,
        manipulations: Manipulations,
        channel: Channel,
        fan: FAN,
        joint: bool = True,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.nip = nip
        self.manipulations = manipulations
        self.channel = channel
        self.fan = fan
        self.joint = joint
        self.precision = precision

    def forward(self, bayer: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Bayer stacks (N,4,h,w) → logits (classes·N, classes), class-major, and photographs (N,3,2h,2w).

        ``generator`` feeds manipulations that draw a strength or noise; the paper's four need none.
        """
        developed = self.develop(bayer)
        received = self.channel(self.manipulations(developed, generator))
        return self.classify(received), developed

    def develop(self, bayer: Tensor) -> Tensor:
        """Photographs (N,3,2h,2w); without a graph in mode *fixed*."""
        with nullcontext() if self.joint else torch.no_grad():
            return develop(self.nip, bayer, self.precision)

    def classify(self, received: Tensor) -> Tensor:
        """The FAN's logits (N, classes) of what arrived (N,3,H,W)."""
        with autocast(received, self.precision):
            return self.fan(received.contiguous(memory_format=layout(received.device, self.precision)))


def loss_fan(logits: Tensor) -> Tensor:
    """Cross-entropy of class-major logits (classes·N, classes): eq. 2b with its minus sign."""
    return F.cross_entropy(logits, labels(logits))


def loss_nip(developed: Tensor, target: Tensor) -> Tensor:
    """Mean squared error on the 8-bit scale, eq. 2c: 255² · mean(Δ²)."""
    return squared_error(developed, target).mean()


def labels(logits: Tensor) -> Tensor:
    """True classes of class-major logits (classes·N, classes): 0…0 1…1 …"""
    total, classes = logits.shape
    return torch.arange(classes, device=logits.device).repeat_interleave(total // classes)
