"""Where does an image not carry its camera's fingerprint? A map of tampering probability.

    image ── residual W ─┐
      └──── I · K ───────┴─ correlation ρ of every window ─┐
      └──── features ─ predictor ─ expected ρ̂ ─────────────┴─ likelihood ratio ── probability at the window's centre

In an authentic window (H1) ρ is what the predictor expects, up to its error; in a tampered one (H0) it is what
unrelated noise gives. A sliding window tells of its central pixel. Where little is expected, in dark, textured or
saturated parts, the answer stays near 0.5. So it may in planes without any noise, such as synthetic ones: no authentic
photograph has taught the predictor what to expect of them.

M. Chen, J. Fridrich, M. Goljan, J. Lukáš, "Determining image origin and integrity using sensor noise", IEEE TIFS 2008;
P. Korus, J. Huang, "Multi-scale analysis strategies in PRNU-based tampering localization", IEEE TIFS 2017.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from prnu.predictor import Predictor, features, image_correlation, window_positions


@dataclass(frozen=True, eq=False)
class Map:
    """What sliding windows tell of N images.

    probability: (N, h, w) float32, that of tampering, in [0, 1]; about 0.5 where a window tells nothing.
    correlation, expected: (N, h, w) float32, measured and predicted.
    rows (h,), columns (w,): of the windows' centres, in pixels of the image.
    """

    probability: Tensor
    correlation: Tensor
    expected: Tensor
    rows: Tensor
    columns: Tensor

    def at_centres(self, mask: Tensor) -> Tensor:
        """The pixels of a mask (..., H, W) that the map tells of: (..., h, w)."""
        return mask[..., self.rows[:, None], self.columns]


def localise(
    image: Tensor,
    fingerprint: Tensor,
    predictor: Predictor,
    window: int = 129,
    stride: int = 8,
    residual: Tensor | None = None,
) -> Map:
    """Tampering probability at the centre of every window, authentic and tampered taken as equally likely before.

    Args:
        image: (N, 3, H, W) or (N, 1, H, W) in [0, 1].
        fingerprint: K (H, W) of the camera. predictor: of the same camera, trained for this size of window.
        residual: `prnu.residual.residual(image)`, (N, H, W), where it is at hand. It is cleaned in the process.

    Raises ValueError where sizes differ, where no window fits, and for a predictor of another window.
    """
    if predictor.window != window:
        raise ValueError(f"the predictor was trained for windows of {predictor.window} pixels, not of {window}")
    correlation = image_correlation(image, fingerprint, window, stride, residual)
    expected = predictor.predict(features(image, window, stride))
    probability = tampering_probability(correlation, expected, predictor.unrelated, predictor.error)
    rows, columns = window_positions(image.shape[-2], image.shape[-1], window, stride)
    return Map(probability, correlation, expected.float(), rows.to(image.device), columns.to(image.device))


def tampering_probability(correlation: Tensor, expected: Tensor, unrelated: float, error: float) -> Tensor:
    """P(H0 | ρ) = 1 / (1 + p(ρ|H1) / p(ρ|H0)) with H0: ρ ~ N(0, unrelated²), H1: ρ ~ N(expected, error²)."""
    rho, expected = correlation.double(), expected.double()
    ratio = (rho / unrelated) ** 2 / 2 + math.log(unrelated) - ((rho - expected) / error) ** 2 / 2 - math.log(error)
    return torch.sigmoid(-ratio).float()


# --- forgeries, and how well they are found ---


def forge(image: Tensor, size: int = 256) -> tuple[Tensor, Tensor]:
    """The paper's forgery: the central square flipped horizontally, real pixels at places where they never were.

    image (N, C, H, W) -> forged image, and where it was forged, (H, W) bool.
    Raises ValueError for a size below 2 and for one that does not fit.
    """
    height, width = image.shape[-2:]
    if not 2 <= size <= min(height, width):
        raise ValueError(f"a square of {size}×{size} pixels cannot be flipped in an image of {height}×{width}")
    top, left = (height - size) // 2, (width - size) // 2
    square = (..., slice(top, top + size), slice(left, left + size))
    forged, truth = image.clone(), torch.zeros(height, width, dtype=torch.bool, device=image.device)
    forged[square] = image[square].flip(-1)
    truth[square] = True
    return forged, truth


def f1_curve(probability: Tensor, truth: Tensor, thresholds: Tensor) -> Tensor:
    """F1 score of taking every pixel with probability >= threshold as tampered.

    Args:
        probability: (..., h, w). truth: (..., h, w) or (h, w) bool. thresholds: (T,).

    Returns (..., T) float64. Raises ValueError where sizes differ, for a probability that is no number, and where
    nothing is tampered: F1 has no meaning there.
    """
    positive, flagged, hits = _counts(probability, truth, thresholds)
    return 2 * hits / (positive + flagged)  # 2TP / (2TP + FN + FP)


def best_f1(probability: Tensor, truth: Tensor) -> Tensor:
    """The best F1 score over all thresholds, for each image: (..., h, w) -> (...) float64. Raises as `f1_curve`."""
    positive, flagged, hits = _counts(probability, truth, probability.flatten(-2))
    return (2 * hits / (positive + flagged)).amax(-1)


def _counts(probability: Tensor, truth: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tampered pixels (..., 1); pixels and tampered pixels with probability >= threshold (..., T)."""
    if probability.shape[-2:] != truth.shape[-2:]:
        raise ValueError(f"a map {tuple(probability.shape)} and a truth {tuple(truth.shape)} need the same size")
    if probability.isnan().any():
        raise ValueError("a map of tampering probability holds values that are no numbers")
    p = probability.flatten(-2)
    tampered = truth.expand_as(probability).flatten(-2)
    positive = tampered.sum(-1, keepdim=True)
    if (positive == 0).any():
        raise ValueError("F1 needs a truth in which something is tampered")
    thresholds = thresholds.to(p).expand(*p.shape[:-1], -1).contiguous()

    def at_least(values: Tensor) -> Tensor:
        return p.shape[-1] - torch.searchsorted(values.sort(-1).values, thresholds)

    return positive.double(), at_least(p).double(), at_least(p.masked_fill(~tampered, -torch.inf)).double()
