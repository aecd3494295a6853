"""Is a fingerprint in an image? Normalised cross-correlation and its peak-to-correlation energy (PCE).

    image I --> residual W --> clean --> W·I/σ² --> clean --> query --+
                                                                      +--> cross-correlation --> peak, PCE, p-value
    fingerprint K ----------------------------------------------------+

An image of the camera has W = I·K + Ξ (Chen et al., IEEE TIFS 2008). Let Ξ be Gaussian with a local variance σ², which
is much larger on texture and edges than on sky. Then the likelihood ratio of "with K" and "without K" depends on
Σ W·I·K/σ², the inner product of W·I/σ² with K: smooth places have more weight. The usual query W·I assumes a constant
σ², and therefore misses more photographs (NOTES.md). "Clean" removes what images of different cameras share: rows,
columns and everything periodic. The weighting brings some of it back, so the product is cleaned again.

In this form, a shift moves only K. This has three advantages. An image with unknown position in the sensor's frame (a
crop) gets the exact product at every shift. The transform of a fingerprint serves for any number of images. And the
values at wrong shifts, which show how large the value at the right shift may be by chance, keep bright or textured
places of W and I together, as in the value of another camera.

M. Goljan, J. Fridrich, T. Filler, "Large scale test of sensor fingerprint camera identification", SPIE 7254, 2009;
M. Goljan, J. Fridrich, "Camera identification from cropped and scaled images", SPIE 6819, 2008.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from prnu.residual import ROUNDED, grey, local_variance, wiener_dft, zero_mean
from prnu.residual import residual as noise_residual

NEIGHBOURHOOD = 11  # side of the square around the peak that does not count as noise
ROUNDING = 1e-6  # relative deviations up to this value are float32 rounding

# Customary threshold of PCE: false alarms in 2.4e-5 of the pairs (Goljan, Fridrich & Filler, SPIE 7254, 2009).
PCE_THRESHOLD = 60.0

PIXELS = (-2, -1)


@dataclass(frozen=True)
class Match:
    """The evidence for a fingerprint in each of N images.

    pce: (N,) float64, signed peak-to-correlation energy; around 1 for another camera.
    peak: (N, 2) int64, the position (dy, dx) of the image's top left corner in the fingerprint.
    correlation: (N,) in [−1, 1], of the residual W with I·K at the peak.
    log_pvalue: (N,) float64, natural logarithm of the probability of such a PCE, or a larger one, by chance.
    """

    pce: Tensor
    peak: Tensor
    correlation: Tensor
    log_pvalue: Tensor

    @property
    def pvalue(self) -> Tensor:
        """(N,) float64 in (0, 1]; not below the smallest normal number, unlike `log_pvalue`."""
        return self.log_pvalue.exp().clamp_min(torch.finfo(torch.float64).tiny)


def pce(
    fingerprint: Tensor,
    image: Tensor,
    residual: Tensor | None = None,
    shifts: Literal["none", "crop"] = "none",
    weighted: bool = True,
) -> Match:
    """Search for a fingerprint in images.

    Args:
        fingerprint: K, (H,W).
        image: (N,3,h,w) or (N,1,h,w) in [0,1].
        residual: `prnu.residual.residual(image)`, (N,h,w), if it was computed before. It is cleaned here.
        shifts: "none": image and fingerprint are aligned pixel by pixel and equally large; "crop": the image is a part
            of the sensor's frame, compared at all (H−h+1)·(W−w+1) positions where it lies wholly within.
        weighted: the query is W·I/σ²; otherwise it is W·I, as in the paper and in the code of its authors.

    A constant image or fingerprint gives no information: its PCE is 0, its correlation 0, its p-value 1.

    Raises:
        ValueError: sizes do not fit each other or are too small, or values are not finite.
    """
    if fingerprint.ndim != 2:
        raise ValueError(f"a fingerprint is (H, W), not {tuple(fingerprint.shape)}")
    W, I = _clean_residual(image, residual), grey(image)  # (N, h, w)  # noqa: E741 (the paper's symbol)
    (H, width), (h, w) = fingerprint.shape, W.shape[1:]
    if shifts not in ("none", "crop"):
        raise ValueError(f'unknown shifts {shifts!r}: use "none" or "crop"')
    if shifts == "none" and (h, w) != (H, width):
        raise ValueError(f'an image of {h}×{w} against a fingerprint of {H}×{width}: a part of it needs shifts="crop"')

    surface = cross_correlation(
        _query(W, I) if weighted else W * I, fingerprint
    )  # (N, H, W); ValueError for a larger image
    reach = (H - h, width - w)
    energy, peak = peak_to_correlation_energy(surface, reach)
    K = torch.stack([fingerprint[y : y + h, x : x + w] for y, x in peak.tolist()])
    empty = energy == 0
    log_p = log_pvalue(energy, positions=(reach[0] + 1) * (reach[1] + 1))
    return Match(energy, peak, correlation(W, I * K).masked_fill(empty, 0), log_p.masked_fill(empty, 0))


def query(image: Tensor, residual: Tensor | None = None) -> Tensor:
    """The query to compare with fingerprints: residual times intensity divided by the noise's local variance; cleaned.

    Args:
        image: (N,3,H,W) or (N,1,H,W) in [0,1].
        residual: as in `pce`.

    Returns:
        W·I/σ², (N,H,W), of any scale.
    """
    return _query(_clean_residual(image, residual), grey(image))


def pce_matrix(queries: Tensor, fingerprints: Tensor) -> Tensor:
    """The signed PCE of every query with every fingerprint, all aligned; equal to that of `pce`.

    Args:
        queries: (Q,H,W), each a `query`.
        fingerprints: (F,H,W).

    Returns:
        (Q,F) float64.

    Raises:
        ValueError: as `pce`.
    """
    if queries.ndim != 3 or fingerprints.ndim != 3 or queries.shape[1:] != fingerprints.shape[1:]:
        raise ValueError(
            "queries (Q, H, W) and fingerprints (F, H, W) differ in size: "
            f"{tuple(queries.shape)} and {tuple(fingerprints.shape)}"
        )
    size = fingerprints.shape[1:]
    matrix = torch.empty(len(queries), len(fingerprints), dtype=torch.float64, device=queries.device)
    spectra = torch.fft.rfft2(_centred(fingerprints))
    for row, one in zip(matrix, queries, strict=True):  # F surfaces at a time; PCE does not depend on their scale
        surface = torch.fft.irfft2(torch.fft.rfft2(_centred(one)).conj() * spectra, s=size)
        row.copy_(peak_to_correlation_energy(surface)[0])
    return matrix


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation over all pixels: (…,H,W), (…,H,W) -> (…) in [−1, 1]; 0 if either is constant."""
    if a.shape[-2:] != b.shape[-2:]:
        raise ValueError(f"{tuple(a.shape[-2:])} pixels against {tuple(b.shape[-2:])}: sizes differ")
    a, b = _centred(a), _centred(b)
    return (a * b).sum(PIXELS) / _norms(a, b)


def cross_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Normalised cross-correlation at every circular shift: the value at (dy, dx) puts a(y, x) on b(y+dy, x+dx).

    Args:
        a: (…,h,w); if smaller than b, its mean is subtracted and zeros are added below and to the right. Then a lies
            wholly within b at dy ≤ H−h, dx ≤ W−w.
        b: (…,H,W).

    Returns:
        (…,H,W) in [−1, 1]; 0 if either is constant.

    Raises:
        ValueError: a is larger than b.
    """
    size = b.shape[-2:]
    if any(side > whole for side, whole in zip(a.shape[-2:], size, strict=True)):
        raise ValueError(f"{tuple(a.shape[-2:])} pixels do not fit into {tuple(size)}")
    a, b = _centred(a), _centred(b)
    product = torch.fft.rfft2(a, s=size).conj() * torch.fft.rfft2(b)
    return torch.fft.irfft2(product, s=size) / _norms(a, b)[..., None, None]


def peak_to_correlation_energy(surface: Tensor, reach: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor]:
    """PCE: the squared peak divided by the mean square outside the 11×11 circular neighbourhood of the peak.

    Args:
        surface: cross-correlation, (…,H,W), of any scale.
        reach: the peak is the largest value at shifts 0 … reach[0] down and 0 … reach[1] across.

    Returns:
        (…) float64 with the sign of the peak, and (…,2) int64, its (dy, dx). If the peak is 0, the PCE is 0.

    Raises:
        ValueError: no pixel lies outside the neighbourhood, the reach exceeds the surface, or a value is not finite.
    """
    H, W = surface.shape[-2:]
    if max(H, W) <= NEIGHBOURHOOD:
        raise ValueError(f"PCE needs more than {NEIGHBOURHOOD}×{NEIGHBOURHOOD} pixels, not {H}×{W}")
    if not (0 <= reach[0] < H and 0 <= reach[1] < W):
        raise ValueError(f"shifts up to {reach} exceed a correlation surface of {H}×{W}")
    stack = surface.reshape(-1, H, W)
    height, best = stack[:, : reach[0] + 1, : reach[1] + 1].flatten(1).max(dim=1)
    peak = torch.stack((best // (reach[1] + 1), best % (reach[1] + 1)), dim=1)  # (n, 2)

    rows, columns = (_around(peak[:, axis], side) for axis, side in enumerate((H, W)))
    images = torch.arange(len(stack), device=stack.device)
    near = stack[images[:, None, None], rows[:, :, None], columns[:, None, :]]  # (n, 11, 11), or a narrow surface's
    near_energy, energy = (torch.linalg.vector_norm(x, dim=PIXELS, dtype=torch.float64).square() for x in (near, stack))
    if not energy.isfinite().all():
        raise ValueError("an image, a residual or a fingerprint holds values that are not finite")
    noise = (energy - near_energy).clamp_min(0) / (H * W - near[0].numel())
    height = height.double()
    value = torch.where(height == 0, 0.0, height * height.abs() / noise)
    return value.reshape(surface.shape[:-2]), peak.reshape(*surface.shape[:-2], 2)


def log_pvalue(pce: Tensor, positions: int = 1) -> Tensor:
    """log(1 − (1 − Q(√PCE))^k): the log-probability that noise alone exceeds the PCE at one or more of k positions.

    Q is the upper tail of the standard normal distribution, and √ keeps the sign. The computation in logarithms stays
    finite and exact to rounding, even if the probability is far below the smallest float or almost 1.

    It assumes the same noise at every shift. JPEG files with one block grid deviate from this: at shifts by whole
    blocks, their cross-correlation has about twice the mean square of other shifts, so their probabilities are too
    small. For such files, use the customary threshold PCE 60, whose margin covers this, instead of a probability.

    Args:
        pce: (…) signed.
        positions: k, the number of shifts at which the peak was searched.

    Returns:
        (…) float64, at most 0.
    """
    z = pce.double().sign() * pce.double().abs().sqrt()
    union = torch.special.log_ndtr(-z) + math.log(positions)  # log k·Q, which equals log p if it is small
    log_none = positions * torch.special.log_ndtr(z)  # log (1 − Q)^k
    p = torch.where(log_none > -0.5, (-torch.expm1(log_none)).log(), torch.log1p(-log_none.exp()))
    return torch.where(union < -25, union, p)


def _query(W: Tensor, I: Tensor) -> Tensor:  # noqa: E741 (the paper's symbol)
    """W·I/σ² of a cleaned residual (N,h,w), cleaned again."""
    return wiener_dft(zero_mean(W * I * (ROUNDED / local_variance(W))))


def _clean_residual(image: Tensor, residual: Tensor | None) -> Tensor:
    """The noise residual without the artefacts that images of different cameras share: rows, columns, periodic ones."""
    W = noise_residual(image) if residual is None else residual
    if W.shape != (len(image), *image.shape[2:]):
        raise ValueError(f"a residual of {tuple(W.shape)} is not that of images {tuple(image.shape)}")
    W = wiener_dft(zero_mean(W))
    empty = torch.linalg.vector_norm(W, dim=PIXELS, keepdim=True) <= ROUNDING * W[0].numel() ** 0.5  # I is in [0,1]
    return W.masked_fill(empty, 0)


def _centred(x: Tensor) -> Tensor:
    """x minus its mean over the pixels; exactly 0 if only rounding errors would remain."""
    centred = x - x.mean(PIXELS, keepdim=True)
    left, whole = (torch.linalg.vector_norm(part, dim=PIXELS, keepdim=True) for part in (centred, x))
    return centred.masked_fill(left <= ROUNDING * whole, 0)


def _norms(a: Tensor, b: Tensor) -> Tensor:
    """‖a‖·‖b‖, (…), never 0, so that a quotient of 0 stays 0."""
    norms = torch.linalg.vector_norm(a, dim=PIXELS) * torch.linalg.vector_norm(b, dim=PIXELS)
    return norms.clamp_min(torch.finfo(norms.dtype).tiny)


def _around(centre: Tensor, side: int) -> Tensor:
    """The neighbourhood of (n,) positions along a circular axis: (n, 11), or all of a shorter axis."""
    offset = torch.arange(min(NEIGHBOURHOOD, side), device=centre.device) - NEIGHBOURHOOD // 2
    return (centre[:, None] + offset) % side
