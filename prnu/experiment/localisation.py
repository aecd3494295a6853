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
    probability: (P, m, n), probability of tampering by every model, at the pixels rows (m,) × columns (n,); exactly 0.5
        where nothing can be told.
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

    @property
    def unknown(self) -> list[float]:
        """For every model, the share of windows in which nothing can be told."""
        return (self.probability == 0.5).double().mean((-2, -1)).tolist()

    @property
    def f1_with_rim(self) -> Tensor:
        """`f1` over the whole photograph: pixels where no window is centred are like the nearest window's centre."""
        down, across = (
            _continued(centres, side) for centres, side in zip((self.rows, self.columns), self.truth.shape, strict=True)
        )
        probability = self.probability[:, down[1][:, None], across[1]]
        return best_f1(probability, self.truth[down[0][:, None], across[0]])


def _continued(centres: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Positions from edge to edge, as far apart as the windows' centres, and the nearest centre's number."""
    stride = int(centres[1] - centres[0]) if len(centres) > 1 else side
    positions = torch.arange(int(centres[0]) % stride, side, stride, device=centres.device)
    return positions, (positions[:, None] - centres).abs().argmin(1)


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
            tampering_probability(measured[None], content, predictor)[0]
            for measured, predictor in zip(rho, predictors, strict=True)
        ]
    )
    rows, columns = window_positions(truth.shape[0], truth.shape[1], settings.window, settings.stride)
    f1 = best_f1(probability, truth[rows[:, None], columns])  # (P,)
    return Forgery((forged[0] * 255).round().to(torch.uint8), truth, probability, rows, columns, f1)
