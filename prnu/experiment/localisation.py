"""Forged photographs, and what every camera model finds in them (Fig. 5b, c)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prnu.experiment.camera_model import CameraModel
from prnu.experiment.inputs import DEVELOPED, Settings
from prnu.localise import best_f1, forge, tampering_probability
from prnu.predictor import features
from prnu.residual import residual
from prnu.windows import image_correlation, window_positions


@dataclass(frozen=True, eq=False)
class Forgery:
    """A forged photograph, and the maps of all camera models: Fig. 5c.

    image: (3, h, w) uint8. truth: (h, w) bool, true where it is forged.
    probability: (P, m, n), probability of tampering by every model, at the pixels rows (m,) × columns (n,).
    f1: (P,) float64, the best over all thresholds.
    """

    image: Tensor
    truth: Tensor
    probability: Tensor
    rows: Tensor
    columns: Tensor
    f1: Tensor

    @property
    def chance(self) -> float:
        """The F1 score of a map that marks everything as forged: the least value that `f1` can have."""
        forged = self.truth[self.rows[:, None], self.columns].double().mean().item()
        return 2 * forged / (1 + forged)


def tamper(models: Sequence[CameraModel], photograph: Tensor, settings: Settings) -> Forgery:
    """Forge a photograph (1, 3, h, w) and search for the forgery with every model.

    Its residual and its features are computed once for all models.
    Raises ValueError for a photograph of another size, or one that is too small for the forgery or the window.
    """
    forged, truth = forge(photograph, settings.forgery)
    K = torch.stack([model.K[DEVELOPED] for model in models])  # (P, h, w)
    W, content = residual(forged, settings.sigma), features(forged, settings.window, settings.stride)
    rho = image_correlation(forged, K, settings.window, settings.stride, W)[0]  # (P, m, n)
    predictors = [model.predictor for model in models]
    probability = torch.stack(
        [
            tampering_probability(measured, predictor.predict(content)[0], predictor.unrelated, predictor.error)
            for measured, predictor in zip(rho, predictors, strict=True)
        ]
    )
    rows, columns = window_positions(truth.shape[0], truth.shape[1], settings.window, settings.stride)
    f1 = best_f1(probability, truth[rows[:, None], columns])  # (P,)
    return Forgery((forged[0] * 255).round().to(torch.uint8), truth, probability, rows, columns, f1)
