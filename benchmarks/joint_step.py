"""A joint training step on random patches, and the rate of products of matrices that it is measured by.

Needs torch, numpy and safetensors alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import models
from cameras.patches import Patches
from forensics.joint import JointModel, loss_fan, loss_nip
from forensics.metering import Meter
from forensics.training import build_model
from forensics.trial import Training, Trial
from models.nip import move

LAMBDA = 0.1
Pure = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Joint:
    """A joint model with its optimiser and one batch. The patches' content does not matter for time."""

    model: JointModel
    optimiser: torch.optim.Optimizer
    batch: Patches

    def pure(self, developed: Tensor) -> Tensor:
        """Manipulations and channel: (N,3,H,W) → (classes·N,3,H/k,W/k). Nothing here learns."""
        return self.model.channel(self.model.manipulations(developed))

    def loss(self, pure: Pure | None = None, batch: Patches | None = None) -> Tensor:
        """Loss of the batch, eq. 2a, with another function in place of :meth:`pure`, or of another batch."""
        batch = batch or self.batch
        developed = self.model.develop(batch.bayer)
        logits = self.model.classify((pure or self.pure)(developed))
        return loss_fan(logits) + LAMBDA * loss_nip(developed, batch.target)

    def step(self, loss: Callable[[], Tensor] | None = None) -> Tensor:
        """Make one step of the optimiser; returns the loss, detached."""
        value = (loss or self.loss)()
        self.optimiser.zero_grad()
        value.backward()
        self.optimiser.step()
        return value.detach()


def trial(isp: str, precision: str, patch: int, batch: int) -> Trial:
    """A trial with the paper's manipulations and channel."""
    return Trial("camera", isp, LAMBDA, training=Training(patch=patch, batch=batch, precision=precision))  # type: ignore[arg-type]


def build(
    isp: str, precision: str, patch: int, batch: int, device: torch.device, seed: int = 0, capturable: bool = False
) -> Joint:
    """Build a joint model and its batch on a device.

    Args:
        patch: side of a RAW patch.
        seed: decides the starting weights and the batch.
        capturable: whether the optimiser's step can be part of a CUDA graph.
    """
    model = build_model(trial(isp, precision, patch, batch), models.build(isp, torch.Generator().manual_seed(seed)))
    move(model, device, precision)
    generator = torch.Generator().manual_seed(seed)
    bayer = torch.rand(batch, 4, patch, patch, generator=generator)
    target = torch.rand(batch, 3, 2 * patch, 2 * patch, generator=generator)
    fused = device.type != "meta"  # which has no kernel for it
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, fused=fused, capturable=capturable)
    return Joint(model, adam, Patches(bayer.to(device), target.to(device)))


def count(isp: str, precision: str, patch: int, batch: int) -> Meter:
    """Cost of forward and backward pass, counted on the meta device, which stands for a GPU. Without the optimiser."""
    joint = build(isp, precision, patch, batch, torch.device("meta"))
    with Meter() as meter:
        joint.loss().backward()
    return meter


@dataclass(frozen=True, eq=False)
class Product:
    """A product of two square matrices: what a device computes at most."""

    a: Tensor
    b: Tensor
    repeats: int

    @classmethod
    def build(cls, precision: str, device: torch.device, size: int) -> "Product":
        generator = torch.Generator().manual_seed(0)
        a, b = torch.rand(2, size, size, generator=generator).to(device, getattr(torch, precision))
        return cls(a, b, repeats=20 if device.type == "cuda" else 1)

    @property
    def flop(self) -> int:
        return self.repeats * 2 * len(self.a) ** 3

    def __call__(self) -> None:
        for _ in range(self.repeats):
            torch.matmul(self.a, self.b)
