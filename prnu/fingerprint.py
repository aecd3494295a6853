"""A camera's fingerprint: its PRNU pattern K, estimated from photographs and stored in a file.

A photograph I carries the noise residual W = I·K + Ξ (Chen, Fridrich, Goljan & Lukáš, "Determining image origin and
integrity using sensor noise", IEEE TIFS 2008). Let Ξ be Gaussian with a local variance σ², larger on texture and edges
than on sky. Then the most probable K, if its own standard deviation is s a priori, is

    K = Σ W·I/σ² / (Σ I²/σ² + 1/s²)

The last term limits the noise of pixels that were dark or textured in all photographs, which matters when there are
few photographs; a pixel that was never exposed has K = 0. The authors of this method assume the same σ everywhere.
Their own code computes

    K = Σ W·I / (Σ I² + 1)

which is here for comparison (`weighted=False`). With weights, more photographs are recognised and more forgeries found
(NOTES.md).
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from models import tensorfile
from prnu.denoise import SIGMA
from prnu.residual import channel_residual, check, grey, local_variance, saturation, wiener_dft, zero_mean

KIND = "PRNU fingerprint"
DEVIATION = 0.0037  # s: standard deviation of K a priori
PRIOR = 1.0  # without weights: variance of Ξ over that of K, for images in [0,1]


@dataclass
class Accumulator:
    """The two sums over any number of photographs; they need the memory of one.

    sigma: σ₀ of the denoiser. weighted: weigh every pixel by 1/σ². images: number of photographs added.
    WI, II: ΣWI/σ² and ΣI²/σ², or ΣWI and ΣI² without weights, (C,H,W), None at first.
    """

    sigma: float = SIGMA
    weighted: bool = True
    images: int = field(default=0, init=False)
    WI: Tensor | None = field(default=None, init=False, repr=False)
    II: Tensor | None = field(default=None, init=False, repr=False)

    @torch.no_grad()
    def add(self, image: Tensor) -> None:
        """Add photographs (N,3,H,W) or grey ones (N,1,H,W), float in [0,1]; saturated pixels do not count.

        Raises:
            ValueError: another size or number of channels than before; values outside [0,1]; all channels constant
                or saturated, so that they show no noise. Then nothing is added.
        """
        name = f"image {self.images + 1}"
        check(image, name)
        if self.WI is not None and self.WI.shape != image.shape[1:]:
            raise ValueError(
                f"{name} has (C,H,W) = {tuple(image.shape[1:])}, those before it {tuple(self.WI.shape)}: "
                "a fingerprint needs images of one size; crop them alike"
            )
        lowest, highest = image.flatten().aminmax()
        if not 0 <= float(lowest) <= float(highest) <= 1:
            raise ValueError(f"{name} has values outside [0,1]; divide 8-bit images by 255")
        seen = image.masked_fill(saturation(image), 0)  # I, (N,C,H,W)
        constant = seen.amin(dim=(2, 3)) == seen.amax(dim=(2, 3))
        if bool(constant.all(dim=1).any()):
            raise ValueError(f"{name} is constant or saturated all over and shows no noise; leave it out")
        noise = channel_residual(image, self.sigma)
        if self.WI is None or self.II is None:
            self.WI, self.II = torch.zeros_like(seen[0]), torch.zeros_like(seen[0])
        for W, I in zip(noise, seen, strict=True):  # noqa: E741 (the paper's symbol)
            weight = I / local_variance(W) if self.weighted else I
            self.WI.addcmul_(W, weight)
            self.II.addcmul_(I, weight)
        self.images += len(image)

    def estimate(self, clean: bool = True) -> Tensor:
        """Estimate K (H,W): in each channel, then grey by luma weights, as the authors' code does it.

        clean: remove what cameras of one model share, by `zero_mean` and `wiener_dft`.

        Raises:
            ValueError: no image was added. One image is enough for a poor estimate.
        """
        if self.WI is None or self.II is None:
            raise ValueError("a fingerprint needs at least one image")
        K = grey((self.WI / (self.II + (DEVIATION**-2 if self.weighted else PRIOR)))[None])[0]
        return wiener_dft(zero_mean(K)) if clean else K


def fingerprint(images: Iterable[Tensor], sigma: float = SIGMA, clean: bool = True) -> Tensor:
    """Estimate the fingerprint of the camera that took `images`.

    Args:
        images: each (N,3,H,W) or grey (N,1,H,W), float in [0,1], all of one size. They are read one by one.
        sigma: σ₀ of the denoiser.
        clean: as `Accumulator.estimate`.

    Returns:
        K (H,W)

    Raises:
        ValueError: no image, or as `Accumulator.add`.
    """
    sums = Accumulator(sigma)
    for image in images:
        sums.add(image)
    return sums.estimate(clean)


def save(
    path: str | os.PathLike[str],
    K: Tensor,
    *,
    camera: str,
    pipeline: str,
    images: int,
    sigma: float = SIGMA,
    **more: Any,
) -> None:
    """Write a fingerprint (H,W) and its provenance to one safetensors file, atomically.

    camera: the body. pipeline: by which its images were developed. images: their number. more: any other JSON values.

    Raises:
        ValueError: K is no fingerprint.
    """
    provenance = {
        "camera": camera,
        "pipeline": pipeline,
        "images": images,
        "sigma": sigma,
        "size": list(K.shape),
        **more,
    }
    _check(K, "K")
    tensorfile.write(path, KIND, {"K": K}, provenance)


def load(path: str | os.PathLike[str]) -> tuple[Tensor, dict[str, Any]]:
    """Read the fingerprint K (H,W) from a file of `save`, on the CPU, and its provenance (`size` is H and W).

    Raises:
        ValueError: the file is missing, damaged or no fingerprint.
    """
    tensors, provenance = tensorfile.read(path, KIND)
    if set(tensors) != {"K"}:
        raise ValueError(f"{path}: holds {', '.join(tensors)} where a fingerprint is one tensor, K")
    _check(tensors["K"], str(path))
    return tensors["K"], provenance


def _check(K: Tensor, name: str) -> None:
    if K.ndim != 2 or K.dtype != torch.float32 or not bool(K.isfinite().all()):
        raise ValueError(f"{name}: a fingerprint is finite float32 (H,W), not {tuple(K.shape)} {K.dtype}")
