"""Time of one forward and backward pass of each NIP.

    python -m benchmarks.nip_speed [INet UNet …]

Medians in ms. Rows are batches of RAW patches, columns precision × memory layout × CPU threads (on a GPU one thread).
"""

import sys

import torch

import models
from benchmarks.timing import milliseconds
from models.precision import autocast

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PRECISIONS = ("float32", "bfloat16")
SHAPES = [(10, 32), (20, 32), (10, 64), (20, 64)]


def learn(nip: models.NIP, bayer: torch.Tensor, precision: str) -> None:
    """Runs both passes as training does, but in the memory layout that `nip` and `bayer` have."""
    with autocast(bayer, precision):
        developed = nip(bayer)
    developed.square().mean().backward()


def main(names: list[str]) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = [1] if device == "cuda" else [1, 2]
    columns = [(p, layout, t) for p in PRECISIONS for layout in LAYOUTS for t in threads]
    print(f"{'ms on ' + device:22}" + "".join(f"{f'{p} {layout[:8]} {t}':>20}" for p, layout, t in columns))
    for name in names:
        for batch, patch in SHAPES:
            cells = []
            for precision, layout, count in columns:
                torch.set_num_threads(count)
                nip = models.build(name).to(device, memory_format=LAYOUTS[layout])
                bayer = torch.rand(batch, 4, patch, patch, device=device)
                bayer = bayer.to(memory_format=LAYOUTS[layout])
                cells.append(milliseconds(lambda n=nip, b=bayer, p=precision: learn(n, b, p), repeats=5))
            print(f"{name:10} {batch:3} × {patch:2}²   " + "".join(f"{cell:20.1f}" for cell in cells), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(models.NIPS))
