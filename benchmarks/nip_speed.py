"""Milliseconds of one forward and backward pass of each NIP: python benchmarks/nip_speed.py [INet UNet …]

Rows are batches of RAW patches, columns precision × memory layout × CPU threads. On a GPU: one thread column.
"""

import sys
import time

import torch

import models

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SHAPES = [(10, 32), (20, 32), (10, 64), (20, 64)]


def milliseconds(nip: models.NIP, bayer: torch.Tensor, precision: torch.dtype) -> float:
    """Fastest of several passes after one to warm up."""
    times = []
    while len(times) < 3 or sum(times) < 0.5:
        start = time.perf_counter()
        with torch.autocast(bayer.device.type, dtype=precision, enabled=precision != torch.float32):
            developed = nip(bayer)
        developed.square().mean().backward()
        if bayer.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[1:])


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
                cells.append(milliseconds(nip, bayer, PRECISIONS[precision]))
            print(f"{name:10} {batch:3} × {patch:2}²   " + "".join(f"{cell:20.1f}" for cell in cells), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["INet", "UNet", "DNet", "ClassicISP"])
