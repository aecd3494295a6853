"""The gamma curve x^(1/2.2) out of a few hinges, for networks whose layers end in ReLU or leaky ReLU.

All hinges bend towards dark: relu(t − x) is steep and small in the shadows and zero elsewhere. So the steep ones add
nothing to bright pixels, where the rounding errors of bfloat16 would be multiplied by their slopes.
"""

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cameras.develop import GAMMA

SLOPE = 0.2  # of a leaky ReLU below zero
SAMPLES = 401  # of the curve, uniform in the output, where fidelity is measured
FITTING_STEPS = 20  # after 10, nothing changes any more


class Hinges(NamedTuple):
    """Two layers of two leaky hinges: x → c·φ(w·φ(a·x + b) + d) + e, where φ is the leaky ReLU.

    a, b, d, c: (2,). w: (2, 2), output × input. e: (1,). All float64.
    """

    a: Tensor
    b: Tensor
    w: Tensor
    d: Tensor
    c: Tensor
    e: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """x (n,) float64 → (n,)"""
        first = F.leaky_relu(self.a * x[:, None] + self.b, SLOPE)
        second = F.leaky_relu(first @ self.w.T + self.d, SLOPE)
        return second @ self.c + self.e


# Turning points b, weights w, thresholds d and level e near the best optimum that 540 random starts have found.
NEAR = (0.27, 0.06, -1.1, 2.6, 7.8, 4.0, 0.2, -2.3, 0.15)


@cache
def gamma_hinges() -> Hinges:
    """Returns the hinges that fit x^(1/2.2) on [0,1]: least squares by Levenberg and Marquardt, from `NEAR`.

    A leaky ReLU is homogeneous: what multiplies a hinge may divide it in the next layer. The fit is made with a = c =
    −1. Then the weights into a hinge and those out of it are made equally large, so that one learning rate suits both.
    """
    y = torch.linspace(0, 1, SAMPLES, dtype=torch.float64)
    x, p = y**GAMMA, torch.tensor(NEAR, dtype=torch.float64)
    error, damping = _hinges(p)(x) - y, 1e-3
    for _ in range(FITTING_STEPS):
        J = _jacobian(_hinges(p), x)
        step = torch.linalg.solve(J.T @ J + damping * torch.eye(len(p)), J.T @ error)
        error_there = _hinges(p - step)(x) - y
        if better := bool(error_there.square().sum() < error.square().sum()):
            p, error = p - step, error_there
        damping *= 0.2 if better else 5
    a, b, w, d, c, e = _hinges(p)
    inner = w.abs().amax(dim=0).sqrt()
    w = w / inner
    outer = w.abs().amax(dim=1).sqrt()
    return Hinges(a * inner, b * inner, w / outer[:, None], d / outer, c * outer, e)


def _hinges(p: Tensor) -> Hinges:
    """(9,) b, w, d, e → hinges that bend towards dark."""
    minus = -torch.ones(2, dtype=torch.float64)
    return Hinges(minus, p[:2], p[2:6].reshape(2, 2), p[6:8], minus, p[8:])


def _jacobian(hinges: Hinges, x: Tensor) -> Tensor:
    """Derivatives of the curve at x (n,) by b, w, d and e: (n, 9)."""
    before = hinges.a * x[:, None] + hinges.b
    first = F.leaky_relu(before, SLOPE)
    by_d = hinges.c * _slope(first @ hinges.w.T + hinges.d)
    by_w = by_d[:, :, None] * first[:, None, :]
    by_b = (by_d @ hinges.w) * _slope(before)
    return torch.cat((by_b, by_w.flatten(1), by_d, torch.ones_like(x)[:, None]), dim=1)


def _slope(before: Tensor) -> Tensor:
    return torch.where(before > 0, 1.0, SLOPE).double()


def gamma_chords(count: int) -> tuple[Tensor, Tensor]:
    """Returns thresholds t and weights c such that 1 − Σₖ cₖ·relu(tₖ − x) ≈ x^(1/2.2) on [0,1].

    The sum meets the curve where y is a multiple of 1/count, and is straight between.

    Returns:
        (count,), (count,) float64; all positive.
    """
    y = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    slopes = 1 / count / (y**GAMMA).diff()
    return y[1:] ** GAMMA, slopes - F.pad(slopes[1:], (0, 1))
