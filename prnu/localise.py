"""Where is the camera's fingerprint missing in an image? A map of the probability of tampering.

    image ── residual W ─┐
      └──── I · K ───────┴─ correlation ρ of every window ─┐
      └──── features ─ predictor ─ expected ρ̂ ─────────────┴─ likelihood ratio ── probability at the window's centre

In an authentic window (H1), ρ has the expected value, up to the predictor's error; in a tampered window (H0), ρ is
that of unrelated noise. The result of a sliding window applies to its central pixel. The smaller the expected ρ is, in
dark or textured parts, the more the two cases resemble each other, and the nearer to 0.5 is the probability. It is
exactly 0.5 where nothing can be told (`Predictor.knows`): where pixels have no noise, as in blown-out or synthetic
areas, and where darker than almost everywhere in the photographs that the predictor was trained on.

M. Chen, J. Fridrich, M. Goljan, J. Lukáš, "Determining image origin and integrity using sensor noise", IEEE TIFS 2008;
P. Korus, J. Huang, "Multi-scale analysis strategies in PRNU-based tampering localization", IEEE TIFS 2017.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from prnu.predictor import Predictor, features
from prnu.windows import image_correlation, window_positions


@dataclass(frozen=True, eq=False)
class Map:
    """Results of sliding windows in N images.

    probability: (N, h, w) float32 in [0, 1], of tampering; exactly 0.5 where a window gives no information.
    known: (N, h, w) bool, false in such windows.
    correlation, expected: (N, h, w) float32, measured and predicted.
    rows (h,), columns (w,): of the windows' centres, in pixels of the image.
    """

    probability: Tensor
    known: Tensor
    correlation: Tensor
    expected: Tensor
    rows: Tensor
    columns: Tensor

    def at_centres(self, mask: Tensor) -> Tensor:
        """The pixels of a mask (..., H, W) at the centres of the windows: (..., h, w)."""
        return mask[..., self.rows[:, None], self.columns]


def localise(
    image: Tensor,
    fingerprint: Tensor,
    predictor: Predictor,
    window: int = 129,
    stride: int = 8,
    residual: Tensor | None = None,
) -> Map:
    """Compute the tampering probability at the centre of every window; both cases are equally likely a priori.

    Args:
        image: (N, 3, H, W) or (N, 1, H, W) in [0, 1].
        fingerprint: K (H, W) of the camera. predictor: of the same camera, trained for this size of window.
        residual: `prnu.residual.residual(image)`, (N, H, W), if it was computed before. It is cleaned here.

    Raises:
        ValueError: sizes differ, no window fits, or the predictor is for another window.
    """
    if predictor.window != window:
        raise ValueError(f"the predictor was trained for windows of {predictor.window} pixels, not of {window}")
    correlation = image_correlation(image, fingerprint, window, stride, residual)
    content = features(image, window, stride)
    expected, known = predictor.predict(content), predictor.knows(content)
    probability = tampering_probability(correlation, content, predictor)
    rows, columns = window_positions(image.shape[-2], image.shape[-1], window, stride)
    return Map(probability, known, correlation, expected.float(), rows.to(image.device), columns.to(image.device))


def tampering_probability(correlation: Tensor, features: Tensor, predictor: Predictor) -> Tensor:
    """The probability of tampering by the correlations (N, ...) and features (N, 15, ...) of windows: (N, ...) float32.

    It is exactly 0.5 where the predictor knows nothing.
    """
    expected = predictor.predict(features)
    probability = likelihood_ratio(correlation, expected, predictor.unrelated, predictor.spread(expected))
    return torch.where(predictor.knows(features), probability, 0.5)


def likelihood_ratio(correlation: Tensor, expected: Tensor, unrelated: float, spread: Tensor) -> Tensor:
    """P(H0 | ρ) = 1 / (1 + p(ρ|H1) / p(ρ|H0)) with H0: ρ ~ N(0, unrelated²), H1: ρ ~ N(expected, spread²)."""
    rho, expected = correlation.double(), expected.double()
    ratio = (rho / unrelated) ** 2 / 2 + math.log(unrelated) - ((rho - expected) / spread) ** 2 / 2 - spread.log()
    return torch.sigmoid(-ratio).float()


# --- forgeries, and scores of their maps ---


def forge(image: Tensor, size: int = 256) -> tuple[Tensor, Tensor]:
    """Make the paper's forgery: flip the central square horizontally, which puts real pixels in wrong places.

    image (N, C, H, W) -> the forged image, and the mask of the forgery, (H, W) bool.
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
    """F1 score if every pixel with probability >= threshold counts as tampered.

    Args:
        probability: (..., h, w). truth: (..., h, w) or (h, w) bool. thresholds: (T,).

    Returns:
        (..., T) float64

    Raises:
        ValueError: sizes differ, a probability is no number, or nothing is tampered: then F1 has no meaning.
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
