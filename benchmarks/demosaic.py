"""Time of Menon 2007 and bilinear demosaicing per megapixel, here and in colour-demosaicing.

    python -m benchmarks.demosaic [--height 2000] [--width 3000] [--threads 2]

Best of several runs. colour-demosaicing runs on one core, whatever there are.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

from cameras import demosaic


def seconds(function: Callable[[], object], repeats: int) -> float:
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--height", type=int, default=2000)
    parser.add_argument("--width", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=2)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses a plotting library
        import colour_demosaicing as theirs

    mosaic = np.random.default_rng(0).random((settings.height, settings.width))
    tensor = torch.from_numpy(mosaic).float()[None, None]
    megapixels = mosaic.size / 1e6
    print(f"{settings.width}×{settings.height}, {settings.threads} threads; seconds per megapixel")
    print(f"{'':10}{'torch':>9}{'colour-demosaicing':>20}{'ratio':>8}")
    for name, ours, reference in (
        ("menon", demosaic.menon, theirs.demosaicing_CFA_Bayer_Menon2007),
        ("bilinear", demosaic.bilinear, theirs.demosaicing_CFA_Bayer_bilinear),
    ):
        a = seconds(lambda ours=ours: ours(tensor, "RGGB"), 5) / megapixels
        b = seconds(lambda reference=reference: reference(mosaic, "RGGB"), 2) / megapixels
        print(f"{name:10}{a:9.4f}{b:20.3f}{b / a:7.1f}×")


if __name__ == "__main__":
    main()
