"""Time of Menon 2007 and bilinear demosaicing per megapixel, in this project and in colour-demosaicing.

    python -m benchmarks.demosaic [--height 2000] [--width 3000] [--threads 2]

Medians of several runs. colour-demosaicing always runs on one core.
"""

import argparse
import warnings

import numpy as np
import torch

from benchmarks.timing import milliseconds
from cameras import demosaic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--height", type=int, default=2000)
    parser.add_argument("--width", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=2)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a missing plotting library
        import colour_demosaicing as theirs

    mosaic = np.random.default_rng(0).random((settings.height, settings.width))
    tensor = torch.from_numpy(mosaic).float()[None, None]
    megapixels = mosaic.size / 1e6
    print(f"{settings.width}×{settings.height}, {settings.threads} threads; ms per megapixel")
    print(f"{'':10}{'torch':>9}{'colour-demosaicing':>20}{'ratio':>8}")
    for name, ours, reference in (
        ("menon", demosaic.menon, theirs.demosaicing_CFA_Bayer_Menon2007),
        ("bilinear", demosaic.bilinear, theirs.demosaicing_CFA_Bayer_bilinear),
    ):
        a = milliseconds(lambda ours=ours: ours(tensor, "RGGB"), 5) / megapixels
        b = milliseconds(lambda reference=reference: reference(mosaic, "RGGB"), 2) / megapixels
        print(f"{name:10}{a:9.1f}{b:20.0f}{b / a:7.1f}×")


if __name__ == "__main__":
    main()
