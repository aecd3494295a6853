"""FLIP: how different two pictures look to someone who sees one after the other on the same spot."""

import torch
from torch import Tensor


def flip(reference: Tensor, test: Tensor) -> Tensor:
    """Mean LDR-FLIP of each picture, by its authors' own program; not differentiable.

    Source: P. Andersson, J. Nilsson, T. Akenine-Möller, M. Oskarsson, K. Åström, M. D. Fairchild, FLIP: A Difference
    Evaluator for Alternating Images, HPG 2020. Viewed at its standard distance: 67 pixels per degree.

    Args:
        reference, test: (N,3,H,W) in [0,1], sRGB.

    Returns:
        (N,) float32 on the CPU, from 0 (equal) to 1.
    """
    import flip_evaluator  # type: ignore[import-untyped]

    found = []
    for pair in zip(reference.detach().cpu(), test.detach().cpu(), strict=True):
        pictures = (picture.float().movedim(0, -1).contiguous().numpy() for picture in pair)
        _, mean, _ = flip_evaluator.evaluate(*pictures, "LDR", applyMagma=False)
        found.append(mean)
    return torch.tensor(found, dtype=torch.float32)
