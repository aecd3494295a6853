"""demosaicing, ms per megapixel; the peer runs on one core in float64"""

import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.rows import Row, is_installed
from benchmarks.timing import interleaved
from cameras import demosaic

PEER = "colour-demosaicing"


def rows(tiny: bool = False) -> Iterator[Row]:
    height, width = (32, 48) if tiny else (1000, 1500)
    mosaic = np.random.default_rng(0).random((height, width))
    tensor = torch.from_numpy(mosaic).float()[None, None]
    megapixels = mosaic.size / 1e6
    theirs = _peer()
    for name, ours in (("menon", demosaic.menon), ("bilinear", demosaic.bilinear)):
        works: dict[str, Callable[[], Any]] = {"ours": lambda ours=ours: ours(tensor, "RGGB")}  # type: ignore[misc]
        if theirs:
            reference = getattr(theirs, f"demosaicing_CFA_Bayer_{name.replace('menon', 'Menon2007')}")
            works["theirs"] = lambda reference=reference: reference(mosaic, "RGGB")  # type: ignore[misc]
        times = interleaved(works, repeats=1 if tiny else 3)
        yield Row(
            name,
            times["ours"] / megapixels,
            "ms/Mpx",
            PEER,
            times["theirs"] / megapixels if theirs else None,
            times.ratio("theirs", "ours") if theirs else None,
        )


def _peer() -> ModuleType | None:
    if not is_installed("colour_demosaicing"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a missing plotting library
        import colour_demosaicing

        return colour_demosaicing
