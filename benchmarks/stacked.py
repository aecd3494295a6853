"""Several seeds of a trial trained as one model: their weights are stacked, and one step trains all of them.

NIPs and FANs are mapped over the stack by `torch.func`; manipulations and channel have no weights and see the
photographs of all seeds as one batch. Needs torch, numpy and safetensors alone.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from benchmarks.joint_step import LAMBDA, Joint
from forensics.joint import labels
from models.fidelity import squared_error
from models.precision import autocast

Weights = dict[str, Any]


class Stack:
    """Joint models of one architecture and several seeds.

    Args:
        seeds: with their models and batches; they are not changed.
    """

    def __init__(self, seeds: Sequence[Joint]) -> None:
        self.first, self.count = seeds[0], len(seeds)
        self.nips = stack_module_state([seed.model.nip for seed in seeds])
        self.fans = stack_module_state([seed.model.fan for seed in seeds])
        self.bayer = torch.stack([seed.batch.bayer for seed in seeds])  # (S,N,4,h,w)
        self.target = torch.stack([seed.batch.target for seed in seeds])
        weights = [*self.nips[0].values(), *self.fans[0].values()]
        self.adam = torch.optim.Adam(weights, lr=seeds[0].optimiser.param_groups[0]["lr"], fused=True)
        precision = self.first.model.precision
        self.develop = _mapped(self.first.model.nip, precision)
        self.classify = _mapped(self.first.model.fan, precision)

    def losses(self) -> Tensor:
        """The loss of every seed, (S,)."""
        developed = self.develop(*self.nips, self.bayer)  # (S,N,3,H,W)
        received = self.first.pure(developed.flatten(0, 1))  # (classes·S·N,…), class-major
        received = received.unflatten(0, (-1, self.count, self.bayer.shape[1])).transpose(0, 1).flatten(1, 2)
        logits = self.classify(*self.fans, received)  # (S, classes·N, classes), class-major
        truth = labels(logits[0]).repeat(self.count)
        fan = F.cross_entropy(logits.flatten(0, 1), truth, reduction="none").unflatten(0, (self.count, -1)).mean(1)
        nip = squared_error(developed.flatten(0, 1), self.target.flatten(0, 1)).unflatten(0, (self.count, -1)).mean(1)
        return fan + LAMBDA * nip

    def step(self) -> Tensor:
        """Make one step for every seed; returns their losses, detached."""
        losses = self.losses()
        self.adam.zero_grad()
        losses.sum().backward()  # no weight of a seed is in the loss of another
        self.adam.step()
        return losses.detach()


def _mapped(network: nn.Module, precision: str) -> Callable[[Weights, Weights, Tensor], Tensor]:
    """The network as a function of stacked weights, stacked buffers and stacked inputs."""
    skeleton = copy.deepcopy(network).to("meta")  # its own weights are not used

    def call(weights: Weights, buffers: Weights, x: Tensor) -> Tensor:
        return functional_call(skeleton, (weights, buffers), (x,))

    mapped = torch.vmap(call)

    def compute(weights: Weights, buffers: Weights, x: Tensor) -> Tensor:
        with autocast(x, precision), _mappable():
            return mapped(weights, buffers, x)

    return compute


@contextmanager
def _mappable() -> Iterator[None]:
    """Replace the two functions that have a gradient of their own, which vmap does not take, by equal ones."""

    def clip(y: Tensor) -> Tensor:
        return y + (y.clamp(0, 1) - y).detach()

    def pad(images: Tensor, left: int, right: int, top: int, bottom: int, mode: str) -> Tensor:
        return F.pad(images, (left, right, top, bottom), mode=mode)

    with patch("models.nip._Clip.apply", clip), patch("cameras.padding.PadInOrder.apply", pad):
        yield
