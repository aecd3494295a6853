"""operators and memory traffic outside convolutions and products of matrices, counted as for a GPU, RAW 128, batch 20

Counted on the meta device with :class:`forensics.metering.Meter`: nothing is computed, and the machine does not matter.
Forward and backward pass; the optimiser does not count.
"""

from collections.abc import Iterator

import torch

import models
from benchmarks.joint_step import build, count
from benchmarks.rows import Row
from forensics.metering import Cost, Meter


def rows(tiny: bool = False) -> Iterator[Row]:
    patch, batch = (16, 2) if tiny else (128, 20)
    for isp in models.NIPS:
        for precision in ("float32", "bfloat16"):
            yield _row(f"step of {isp}, {precision}", count(isp, precision, patch, batch).cost)
    joint = build("INet", "float32", patch, batch, torch.device("meta"))
    developed = torch.empty(batch, 3, 2 * patch, 2 * patch, device="meta", requires_grad=True)
    with Meter() as meter:
        received = joint.pure(developed)
    yield _row("manipulations and channel, forward", meter.cost)
    with meter:
        received.backward(torch.empty_like(received))
    yield _row("manipulations and channel, forward and backward", meter.cost)


def _row(what: str, cost: Cost) -> Row:
    return Row(what, cost.operators, "operators", figures={"GB": cost.bytes / 1e9})
