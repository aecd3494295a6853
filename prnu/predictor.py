"""How well should a part of an image match its camera's fingerprint? The expected correlation, by its content.

Bright, smooth parts show the fingerprint clearly; dark, textured and saturated parts hide it. A camera's correlation
predictor learns from authentic images which correlation to expect for which content. Then an unexpectedly low
correlation is a sign of tampering (Chen, Fridrich, Goljan & Lukáš, "Determining Image Origin and Integrity Using Sensor
Noise", IEEE TIFS 2008, section V).
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models import tensorfile
from prnu.denoise import SIGMA
from prnu.residual import grey
from prnu.residual import residual as noise_residual
from prnu.windows import image_correlation, window_mean, window_positions

KIND = "PRNU predictor"
TENSORS = ("coefficients", "lowest", "highest")  # of a predictor's file
FEATURES = 15  # 1, four features, and their ten products of second order

BASE = 4  # of the features: those that are no product
NO_NOISE = 0.05  # variance over 5×5 pixels, in squared levels of 255: a neighbourhood below it is constant
DARKEST = 0.02  # share of the windows in training, the darkest ones, that are too rare to be learnt from
FEWEST = 0.5  # share of a window's pixels that must show noise, or nothing can be told about the window

CRITICAL_INTENSITY, ATTENUATION = 250.0, 6.0  # I_crit and τ of att(I), for images in [0, 255]
FLATNESS = 0.03  # c: a neighbourhood whose deviation is below this share of I counts as flat


def features(image: Tensor, window: int = 129, stride: int = 8) -> Tensor:
    """Features of a window's content that show or hide the fingerprint (Chen et al. 2008, section V).

        f_I   intensity, attenuated near saturation: mean of att(I)
        f_T   smoothness: mean of 1/(1 + var₅(I_high))
        f_S   signal flattening: share of pixels with σ₅(I) < 0.03·I
        f_TI  intensity and smoothness: mean of att(I)/(1 + var₅(I_high))

    where I is the grey image in [0, 255], att(I) = I/250 up to 250 and exp(−(I − 250)²/6) above, var₅ and σ₅ are
    computed over 5×5 pixels, and I_high is I minus its smoothed version, by two passes of the B₃ spline (the second one
    dilated by 2): about the two finest octaves. The paper does not specify this filter. Korus & Huang remove the
    approximation of a two-level wavelet transform, whose result depends on a pixel's position.

    Pixels without any noise cannot show a fingerprint: those amid 5×5 equal ones, and those that are blown out in all
    channels. They do not count in the means. If the other pixels, a share s of the window, have the correlation ρ, all
    of them together have √s·ρ; so all features are multiplied by √s. In most photographs, s is 1.

    Args:
        image: (N, 3, H, W) or (N, 1, H, W) in [0, 1].

    Returns:
        (N, 15, h, w) float64: √s times 1, the four features and their products f_I², f_I·f_T, ... f_TI², in [0, 1].

    Raises:
        ValueError: other shapes or values; and as `window_positions`.
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
    variance = _variance(I)
    flat = variance.sqrt() < FLATNESS * I
    seen = (variance > NO_NOISE) & (255 * image.amin(1) < CRITICAL_INTENSITY + 0.5)
    maps = torch.stack((torch.ones_like(I), attenuated, smoothness, flat, attenuated * smoothness), 1) * seen[:, None]
    means = window_mean(maps, window, stride)  # (N, 5, h, w)
    share = means[:, :1].clamp(0, 1)
    share = torch.where(share * window**2 < 0.5, 0, share)  # less than one pixel is rounding
    return _products(torch.where(share > 0, means[:, 1:] / share, 0), share.sqrt())


def _products(base: Tensor, scale: Tensor) -> Tensor:
    """All features of the four base features (N, 4, ...) and √s (N, 1, ...): (N, 15, ...)."""
    f = base.unbind(1)
    products = [f[i] * f[j] for i, j in combinations_with_replacement(range(BASE), 2)]
    return torch.stack((torch.ones_like(f[0]), *f, *products), 1) * scale


def _base(features: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `_products`: the four base features, 0 where nothing is seen, and √s."""
    scale = features[:, :1]
    return torch.where(scale > 0, features[:, 1 : 1 + BASE] / scale, 0), scale


def _apart(base: Tensor) -> Tensor:
    """f_I, f_T, f_S and f_TI − f_I·f_T of base features (N, 4, ...): f_TI alone hardly says more than f_I·f_T."""
    return torch.cat((base[:, :3], base[:, 3:] - base[:, :1] * base[:, 1:2]), 1)


def _together(apart: Tensor) -> Tensor:
    """The inverse of `_apart`."""
    return torch.cat((apart[:, :3], apart[:, 3:] + apart[:, :1] * apart[:, 1:2]), 1)


def _high_pass(x: Tensor) -> Tensor:
    """x (N, H, W) minus its local mean: two à-trous smoothings by the B₃ spline, mirrored at the border."""
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
    """The correlation that a camera's fingerprint should show in an authentic window, and what it was trained on.

    coefficients: θ (15,) float64 of the features.
    lowest, highest: (4,) float64, ranges in training of f_I, f_T, f_S and f_TI − f_I·f_T.
    error: standard deviation of measured minus predicted correlation, in training.
    unrelated: standard deviation of the correlation with a fingerprint that is not in the window.
    relative: standard deviation of the part of the error that is proportional to the prediction, relative to it.
    darkest: f_I that 2 % of the windows in training had less of. most: the largest prediction in training.
    window: size of the windows in pixels; another size needs another predictor.

    Raises ValueError for impossible values, for example from a fingerprint that is all zero.
    """

    coefficients: Tensor
    lowest: Tensor
    highest: Tensor
    error: float
    unrelated: float
    relative: float
    darkest: float
    most: float
    window: int

    def __post_init__(self) -> None:
        if self.coefficients.shape != (FEATURES,) or not self.coefficients.isfinite().all():
            raise ValueError(f"a predictor needs {FEATURES} finite coefficients")
        if self.lowest.shape != (BASE,) or self.highest.shape != (BASE,) or not (self.lowest <= self.highest).all():
            raise ValueError(f"a predictor needs the ranges of {BASE} features")
        if not (0 < self.error < math.inf and 0 < self.unrelated < math.inf and 0 <= self.relative < math.inf):
            raise ValueError(
                f"a predictor needs positive deviations, not error={self.error} and unrelated={self.unrelated}: "
                "is the fingerprint all zero, or are the images constant?"
            )

    @classmethod
    def fit(
        cls, features: Tensor, correlations: Tensor, window: int = 129, unrelated: float | None = None
    ) -> "Predictor":
        """Fit by least squares over windows of authentic images; windows in which too little shows noise do not count.

        The error has two parts: that of chance, which is there without any fingerprint, too, and one proportional to
        the prediction.

        Args:
            features: (N, 15, ...) from `features`. correlations: (N, ...) measured in the same windows.
            unrelated: standard deviation of unrelated correlations; by default that of white noise, 1/window.

        Raises:
            ValueError: other shapes, or not more windows than coefficients.
        """
        if features.ndim < 2 or features.shape[1] != FEATURES or features[:, 0].shape != correlations.shape:
            raise ValueError(
                f"a predictor needs features (N, {FEATURES}, ...) and correlations (N, ...) of the same windows, "
                f"not {tuple(features.shape)} and {tuple(correlations.shape)}"
            )
        x = features.movedim(1, -1).reshape(-1, FEATURES).double().cpu()
        y = correlations.reshape(-1).double().cpu()
        telling = x[:, 0] ** 2 >= FEWEST
        x, y = x[telling], y[telling]
        if len(y) <= FEATURES:
            raise ValueError(f"{len(y)} windows are too few for {FEATURES} coefficients: give more or larger images")
        # By singular values, because the features of very similar images depend on each other.
        coefficients = torch.linalg.lstsq(x, y[:, None], driver="gelsd").solution[:, 0]
        base, _ = _base(x)
        error = (y - x @ coefficients).square().sum().item() / (len(y) - FEATURES)
        chance = 1 / window if unrelated is None else unrelated
        predicted = (x @ coefficients).clamp(min=0).square().mean().item()
        relative = math.sqrt(max(0.0, error - chance**2) / predicted) if predicted > 0 else 0.0
        darkest = np.quantile(base[:, 0].numpy(), DARKEST).item()  # torch's takes no more than 16 million values
        ranges = _apart(base).aminmax(dim=0)
        most = max(0.0, (x @ coefficients).max().item())
        return cls(coefficients, *ranges, math.sqrt(error), chance, relative, darkest, most, window)

    def predict(self, features: Tensor) -> Tensor:
        """Expected correlation, not below 0: (N, 15, ...) -> (N, ...) float64.

        Features beyond those of the training count as the nearest ones of the training, and no prediction is larger
        than the largest one there.
        """
        base, scale = _base(features)
        shape = (BASE, *(1,) * (features.ndim - 2))
        lowest, highest = (edge.to(features.device).view(shape) for edge in (self.lowest, self.highest))
        within = _products(_together(_apart(base).clamp(lowest, highest)), scale)
        expected = torch.einsum("nf...,f->n...", within, self.coefficients.to(features.device))
        return expected.clamp(0, self.most)

    def knows(self, features: Tensor) -> Tensor:
        """Whether anything can be told about a window: (N, 15, ...) -> (N, ...) bool.

        Nothing can be told if half of its pixels show no noise; if it is darker than 98 % of the windows in training
        (by f_I, so it may be blown out, too); or if its expected correlation is no larger than one by chance.
        Windows that are brighter or smoother than all in training show the fingerprint even more clearly.
        """
        base, scale = _base(features)
        return (scale[:, 0] ** 2 >= FEWEST) & (base[:, 0] >= self.darkest) & (self.predict(features) > self.unrelated)

    def spread(self, expected: Tensor) -> Tensor:
        """Standard deviation of the correlation in an authentic window, by the expected one (...): (...) float64.

        It is that of unrelated noise where nothing is expected.
        """
        return (self.unrelated**2 + (self.relative * expected.double()) ** 2).sqrt()


def train(
    images: Iterable[Tensor], fingerprint: Tensor, window: int = 129, stride: int = 16, sigma: float = SIGMA
) -> Predictor:
    """Train the predictor of a camera on authentic images of it, not on those of its fingerprint.

    Correlations with the fingerprint, cyclically shifted by half its sides, measure the effect of unrelated noise.

    Args:
        images: each (N, 3, H, W) or (N, 1, H, W) in [0, 1]; the paper takes 30.
        fingerprint: K (H, W).
        sigma: of the noise that the denoiser assumes, as in `prnu.residual.residual`.

    Raises:
        ValueError: there are no images; and as `image_correlation` and `Predictor.fit`.
    """
    # An even shift keeps the Bayer phase, and so the correlation that comes from demosaicing alone.
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
    """Write a predictor and its provenance, JSON values, to one file, atomically."""
    document = {
        "error": predictor.error,
        "unrelated": predictor.unrelated,
        "relative": predictor.relative,
        "darkest": predictor.darkest,
        "most": predictor.most,
        "window": predictor.window,
        "provenance": provenance,
    }
    tensorfile.write(path, KIND, {name: getattr(predictor, name) for name in TENSORS}, document)


def load(path: str | os.PathLike[str]) -> tuple[Predictor, dict[str, Any]]:
    """Read the predictor from a file of `save`, on the CPU, and its provenance.

    Raises ValueError if the file is missing, damaged or no predictor.
    """
    tensors, document = tensorfile.read(path, KIND)
    try:
        provenance = document.pop("provenance")
        coefficients, lowest, highest = (tensors[name] for name in TENSORS)
        return Predictor(coefficients, lowest, highest, **document), provenance
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: a predictor of another version: {error}") from error
