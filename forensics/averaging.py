"""The mean of a model's newest weights, which is what is judged and kept where a trial asks for it.

At a rate at which a NIP learns quickly, its weights wander about: their mean lies closer to the target. The mean fades
out old weights by polynomial decay (Shamir & Zhang 2013, section 4), so that it never needs to know how long the
training will be. After t iterations with weights w₁ … wₜ and for a share s of them::

    w̄₁ = w₁        w̄ₜ = w̄ₜ₋₁ + (wₜ − w̄ₜ₋₁) / (1 + s·(t − 1))

With s = 1 this is the plain mean of all; with s = 0.1 most of it is the newest tenth.
"""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(model: nn.Module, share: float) -> AveragedModel:
    """Returns a copy of a model, ``.module``, that follows its weights: call ``update_parameters`` after every step."""

    def newer(mean: Tensor, weights: Tensor, steps: Tensor | int) -> Tensor:
        return mean + (weights - mean) / (1 + share * steps)

    return AveragedModel(model, avg_fn=newer)
