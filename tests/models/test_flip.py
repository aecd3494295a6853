"""FLIP of tensors is FLIP of the files that hold the same pictures."""

from pathlib import Path

import flip_evaluator  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from PIL import Image

from models.flip import flip


def test_as_of_png_files(tmp_path: Path) -> None:
    """The authors' program reads those itself: rows, columns and colours are where they belong."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 2, 40, 56, 3), dtype=np.uint8)  # reference and test, two of each
    pictures[1] = np.where(rng.random((2, 40, 56, 3)) < 0.5, pictures[0], pictures[1])
    expected = []
    for number in range(2):
        paths = [str(tmp_path / f"{side}-{number}.png") for side in range(2)]
        for side, path in enumerate(paths):
            Image.fromarray(pictures[side, number]).save(path)
        expected.append(flip_evaluator.evaluate(*paths, "LDR", applyMagma=False)[1])
    reference, test = torch.from_numpy(pictures).movedim(-1, 2).float() / 255
    found = flip(reference, test)
    assert found.dtype == torch.float32 and found.tolist() == pytest.approx(expected, rel=1e-5)
    assert 0 < expected[0] != expected[1]
    assert flip(reference, reference).tolist() == [0, 0]


def test_the_first_picture_is_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value does not tell: FLIP of pictures with 8 bits is symmetric."""
    original, seen = flip_evaluator.evaluate, []

    def evaluate(reference: np.ndarray, test: np.ndarray, *settings: str, **further: bool) -> object:
        seen.append((reference.max(), test.max()))
        return original(reference, test, *settings, **further)

    monkeypatch.setattr(flip_evaluator, "evaluate", evaluate)
    forth, back = (flip(torch.full((1, 3, 12, 12), a), torch.full((1, 3, 12, 12), 1 - a)) for a in (0.25, 0.75))
    assert seen == [(0.25, 0.75), (0.75, 0.25)]
    assert forth.item() == back.item() > 0.3
