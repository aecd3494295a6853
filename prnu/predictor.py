"""How well should this part of an image match its camera's fingerprint? Local correlation, measured and predicted.

Bright, smooth parts carry the fingerprint clearly; dark, textured and saturated ones hide it. A camera's correlation
predictor learns from the content of images that are known to be authentic which correlation to expect, so that an
unexpectedly low one tells of tampering (Chen, Fridrich, Goljan & Lukáš, "Determining Image Origin and Integrity Using
Sensor Noise", IEEE TIFS 2008, section V).

Everything is computed for all positions of a sliding window at once: a window's mean is the difference of two prefix
sums, whatever its size.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models import tensorfile
from prnu.denoise import SIGMA
from prnu.residual import grey, wiener_dft, zero_mean
from prnu.residual import residual as noise_residual

KIND = "PRNU predictor"
FEATURES = 15  # 1, four features, and their ten products of second order

CRITICAL_INTENSITY, ATTENUATION = 250.0, 6.0  # I_crit and τ of att(I), for images in [0, 255]
FLATNESS = 0.03  # c: below this share of I, a neighbourhood's deviation counts as flat


# --- sliding windows ---


def window_positions(height: int, width: int, window: int, stride: int) -> tuple[Tensor, Tensor]:
    """Central rows (h,) and columns (w,) of all windows that lie within an image.

    The first window lies in the top left corner; the last ones may leave up to stride − 1 pixels unseen.
    Raises ValueError for an even window, for a stride below 1, and where no window fits.
    """
    if window < 1 or window % 2 == 0 or stride < 1:
        raise ValueError(f"a window needs an odd size and a stride of at least 1, not {window} and {stride}")
    if min(height, width) < window:
        raise ValueError(f"no window of {window}×{window} pixels fits into an image of {height}×{width}")
    rows, columns = (torch.arange(window // 2, side - window // 2, stride) for side in (height, width))
    return rows, columns


def window_mean(x: Tensor, window: int, stride: int) -> Tensor:
    """Mean of every window: (..., H, W) -> (..., h, w) float64.

    Prefix sums of at most a row or a column in double precision leave an error of some 1e-13 of the largest value.
    Raises ValueError as `window_positions`.
    """
    window_positions(x.shape[-2], x.shape[-1], window, stride)
    for axis in (-1, -2):
        prefix = x.cumsum(axis, dtype=torch.float64)
        first = torch.arange(0, x.shape[axis] - window + 1, stride, device=x.device)
        within = prefix.index_select(axis, first + window - 1)
        within.narrow(axis, 1, len(first) - 1).sub_(prefix.index_select(axis, first[1:] - 1))
        x = within / window
    return x


def local_correlation(a: Tensor, b: Tensor, window: int = 129, stride: int = 8) -> Tensor:
    """Normalised correlation of a and b (..., H, W) within every window: (..., h, w) float32 in [−1, 1].

    It is 0 where a or b is constant. Raises ValueError for two sizes, for values that are not finite, and as
    `window_positions`.
    """
    if a.shape[-2:] != b.shape[-2:]:
        raise ValueError(f"{_size(a)} and {_size(b)} pixels cannot be correlated: crop one to the other")
    a, b = (x.double() - x.mean((-2, -1), keepdim=True, dtype=torch.float64) for x in (a, b))
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("a residual or a fingerprint holds values that are not finite")
    mean_a, mean_b = window_mean(a, window, stride), window_mean(b, window, stride)
    variance_a = window_mean(a**2, window, stride) - mean_a**2
    variance_b = window_mean(b**2, window, stride) - mean_b**2
    covariance = window_mean(a * b, window, stride) - mean_a * mean_b
    # Rounding leaves a constant window a variance of some 1e-13 of the image's largest square.
    seen_a, seen_b = (
        variance > 1e-11 * x.square().amax((-2, -1), keepdim=True) for variance, x in ((variance_a, a), (variance_b, b))
    )
    correlation = covariance / (variance_a * variance_b).clamp(min=torch.finfo(torch.float64).tiny).sqrt()
    return torch.where(seen_a & seen_b, correlation, 0).clamp(-1, 1).float()


# --- the correlation that is measured ---


def image_correlation(
    image: Tensor, fingerprint: Tensor, window: int = 129, stride: int = 8, residual: Tensor | None = None
) -> Tensor:
    """Correlation of an image's residual W with I·K, what its camera's fingerprint leaves in it, in every window.

    Args:
        image: (N, 3, H, W) or (N, 1, H, W) in [0, 1].
        fingerprint: K (H, W), or several (F, H, W).
        residual: `prnu.residual.residual(image)`, (N, H, W), where it is at hand. It is cleaned here.

    Returns (N, h, w) float32, or (N, F, h, w). Raises ValueError where sizes differ, and as `window_positions`.
    """
    if fingerprint.ndim not in (2, 3) or image.shape[-2:] != fingerprint.shape[-2:]:
        raise ValueError(
            f"images {tuple(image.shape)} need fingerprints (H, W) or (F, H, W) of their size, "
            f"not {tuple(fingerprint.shape)}: crop one to the other"
        )
    window_positions(image.shape[-2], image.shape[-1], window, stride)
    W = wiener_dft(zero_mean(noise_residual(image) if residual is None else residual))
    I = grey(image)  # noqa: E741 (the paper's symbol)
    if fingerprint.ndim == 3:
        W, I = W[:, None], I[:, None]  # noqa: E741
    return local_correlation(W, I * fingerprint.to(image.device), window, stride)


# --- the correlation that is predicted ---


def features(image: Tensor, window: int = 129, stride: int = 8) -> Tensor:
    """What in a window's content helps or hides the fingerprint (Chen et al. 2008, section V).

        f_I   intensity, attenuated towards saturation: mean of att(I)
        f_T   smoothness: mean of 1/(1 + var₅(I_high))
        f_S   signal flattening: share of pixels with σ₅(I) < 0.03·I
        f_TI  both at once: mean of att(I)/(1 + var₅(I_high))

    where I is the grey image in [0, 255], att(I) = I/250 up to 250 and exp(−(I − 250)²/6) above, var₅ and σ₅ are taken
    over 5×5 pixels, and I_high is I without what two smoothings by the B₃ spline (the second one spread by 2) leave:
    about the two finest octaves. The paper leaves this filter open; Korus & Huang drop the approximation of a
    two-level wavelet transform, which is not the same wherever a pixel lies.

    Args:
        image: (N, 3, H, W) or (N, 1, H, W) in [0, 1].

    Returns (N, 15, h, w) float64: 1, the four features, their products f_I², f_I·f_T, ... f_TI². All lie in [0, 1].
    Raises ValueError for other shapes and values, and as `window_positions`.
    """
    if image.ndim != 4 or image.shape[1] not in (1, 3):
        raise ValueError(f"an image is (N, 3, H, W) or (N, 1, H, W), not {tuple(image.shape)}")
    window_positions(image.shape[-2], image.shape[-1], window, stride)
    if not ((image >= 0) & (image <= 1)).all():
        raise ValueError("an image has values outside [0, 1]: divide 8-bit images by 255")
    I = 255 * grey(image.double())  # noqa: E741 (the paper's symbol)
    above = (I - CRITICAL_INTENSITY).clamp(min=0)
    attenuated = torch.where(above > 0, torch.exp(-(above**2) / ATTENUATION), I / CRITICAL_INTENSITY)
    smoothness = 1 / (1 + _variance(_high_pass(I)))
    flat = (_variance(I).sqrt() < FLATNESS * I).double()
    maps = torch.stack((attenuated, smoothness, flat, attenuated * smoothness), 1)  # (N, 4, H, W)
    f = window_mean(maps, window, stride).unbind(1)
    products = [f[i] * f[j] for i, j in combinations_with_replacement(range(4), 2)]
    return torch.stack((torch.ones_like(f[0]), *f, *products), 1)


def _high_pass(x: Tensor) -> Tensor:
    """x (N, H, W) without its local mean: two à-trous smoothings by the B₃ spline, mirrored at the border."""
    low = x
    for spread in (1, 2):
        low = F.pad(low, (2 * spread,) * 4, mode="reflect")
        for axis in (-2, -1, -2, -1, -2, -1, -2, -1):  # the spline (1, 4, 6, 4, 1)/16 is (1, 1)/2 four times
            inner = low.shape[axis] - spread
            low = (low.narrow(axis, 0, inner) + low.narrow(axis, spread, inner)) / 2
    return x - low


def _variance(x: Tensor) -> Tensor:
    """Variance of the 5×5 neighbourhood of every pixel, mirrored at the border: (N, H, W) -> (N, H, W)."""
    x = F.pad(x, (2, 2, 2, 2), mode="reflect")
    return (F.avg_pool2d(x**2, 5, stride=1) - F.avg_pool2d(x, 5, stride=1) ** 2).clamp(min=0)


@dataclass(frozen=True, eq=False)
class Predictor:
    """The correlation that a camera's fingerprint should show in an authentic window.

    coefficients: θ (15,) float64 of the features.
    error: standard deviation of measured minus predicted correlation.
    unrelated: standard deviation of the correlation with a fingerprint that is not in the window.
    window: size of the windows in pixels; another size needs another predictor.

    Raises ValueError where these make no sense: a fingerprint that is all zero, say, correlates with nothing.
    """

    coefficients: Tensor
    error: float
    unrelated: float
    window: int

    def __post_init__(self) -> None:
        if self.coefficients.shape != (FEATURES,) or not self.coefficients.isfinite().all():
            raise ValueError(f"a predictor needs {FEATURES} finite coefficients")
        if not (0 < self.error < math.inf and 0 < self.unrelated < math.inf):
            raise ValueError(
                f"a predictor needs positive deviations, not error={self.error} and unrelated={self.unrelated}: "
                "is the fingerprint all zero, or are the images constant?"
            )

    @classmethod
    def fit(
        cls, features: Tensor, correlations: Tensor, window: int = 129, unrelated: float | None = None
    ) -> "Predictor":
        """Least squares over windows of authentic images.

        Args:
            features: (N, 15, ...) as from `features`. correlations: (N, ...) measured in the same windows.
            unrelated: standard deviation of unrelated correlations; by default that of white noise, 1/window.

        Raises ValueError for other shapes and for fewer windows than coefficients.
        """
        if features.ndim < 2 or features.shape[1] != FEATURES or features[:, 0].shape != correlations.shape:
            raise ValueError(
                f"a predictor needs features (N, {FEATURES}, ...) and correlations (N, ...) of the same windows, "
                f"not {tuple(features.shape)} and {tuple(correlations.shape)}"
            )
        x = features.movedim(1, -1).reshape(-1, FEATURES).double().cpu()
        y = correlations.reshape(-1).double().cpu()
        if len(y) <= FEATURES:
            raise ValueError(f"{len(y)} windows are too few for {FEATURES} coefficients: give more or larger images")
        # Through singular values: where all images are alike, features depend on each other.
        coefficients = torch.linalg.lstsq(x, y[:, None], driver="gelsd").solution[:, 0]
        error = (y - x @ coefficients).square().sum() / (len(y) - FEATURES)
        return cls(coefficients, math.sqrt(error), 1 / window if unrelated is None else unrelated, window)

    def predict(self, features: Tensor) -> Tensor:
        """Expected correlation, not below 0: (N, 15, ...) -> (N, ...) float64."""
        expected = torch.einsum("nf...,f->n...", features, self.coefficients.to(features.device))
        return expected.clamp(min=0)


def train(
    images: Iterable[Tensor], fingerprint: Tensor, window: int = 129, stride: int = 16, sigma: float = SIGMA
) -> Predictor:
    """The predictor of a camera from authentic images of it, other ones than those its fingerprint is made of.

    Args:
        images: each (N, 3, H, W) or (N, 1, H, W) in [0, 1]; the paper takes 30.
        fingerprint: K (H, W).
        sigma: of the noise that the denoiser assumes, as in `prnu.residual.residual`.

    Correlations with the fingerprint cyclically shifted by half its sides measure what unrelated noise gives.
    Raises ValueError without images, and as `image_correlation` and `Predictor.fit`.
    """
    # An even shift keeps the Bayer phase, and with it what demosaicing alone makes alike.
    unrelated = fingerprint.roll(tuple(side // 4 * 2 for side in fingerprint.shape), (-2, -1))
    K = torch.stack((fingerprint, unrelated))
    contents, correlations = [], []
    for image in images:
        contents.append(features(image, window, stride).movedim(1, -1).reshape(-1, FEATURES).cpu())
        measured = image_correlation(image, K, window, stride, noise_residual(image, sigma))  # (N, 2, h, w)
        correlations.append(measured.movedim(1, -1).reshape(-1, 2).cpu())
    if not contents:
        raise ValueError("a predictor needs at least one image to be trained on")
    related, chance = torch.cat(correlations).double().unbind(1)
    return Predictor.fit(torch.cat(contents), related, window, chance.square().mean().sqrt().item())


def save(path: str | os.PathLike[str], predictor: Predictor, **provenance: Any) -> None:
    """Writes a predictor and JSON-able words on where it comes from to one file, atomically."""
    document = {
        "error": predictor.error,
        "unrelated": predictor.unrelated,
        "window": predictor.window,
        "provenance": provenance,
    }
    tensorfile.write(path, KIND, {"coefficients": predictor.coefficients}, document)


def load(path: str | os.PathLike[str]) -> tuple[Predictor, dict[str, Any]]:
    """The predictor of a file written by `save`, on the CPU, and its provenance.

    Raises ValueError when the file is missing, damaged or no predictor.
    """
    tensors, document = tensorfile.read(path, KIND)
    try:
        provenance = document.pop("provenance")
        return Predictor(tensors["coefficients"], **document), provenance
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: a predictor of another version: {error}") from error


def _size(x: Tensor) -> str:
    return f"{x.shape[-2]}×{x.shape[-1]}"
