"""iterations of joint training per second, with the paper's manipulations and channel, 20 patches a batch

Each step is timed in turn with a product of matrices: the share says how much of this machine's own rate it reaches,
whatever else the machine does at that time.
"""

from collections.abc import Iterator

import torch

import models
from benchmarks.joint_step import Product, build, count
from benchmarks.rows import Row
from benchmarks.timing import interleaved
from models.precision import in_bfloat16

PRECISIONS = ("float32", "bfloat16")
PATCHES = {64: 3, 128: 2}  # side of a RAW patch -> rounds
BATCH = 20
SIZE = 2048  # of the matrices


def rows(tiny: bool = False) -> Iterator[Row]:
    device = torch.device("cpu")
    here = [precision for precision in PRECISIONS if precision == "float32" or in_bfloat16(device, precision)]
    products = {precision: Product.build(precision, device, 64 if tiny else SIZE) for precision in here}
    batch, patches = (2, {16: 1}) if tiny else (BATCH, PATCHES)
    rates: dict[str, list[float]] = {precision: [] for precision in here}
    for patch, rounds in patches.items():
        for isp in models.NIPS:
            steps = {precision: build(isp, precision, patch, batch, device).step for precision in here}
            times = interleaved(steps | {f"matrix {name}": product for name, product in products.items()}, rounds)
            for precision in here:
                flop, product = count(isp, precision, patch, batch).dense.flop, products[precision]
                rates[precision].append(product.flop / times[f"matrix {precision}"] / 1e6)
                share = times.ratio(f"matrix {precision}", precision) * flop / product.flop
                yield Row(
                    f"{isp}, {precision}, RAW {patch}",
                    1000 / times[precision],
                    "it/s",
                    figures={"TFLOP": flop / 1e12, "% of the matrix rate": 100 * share},
                )
    for precision in here:
        yield Row(f"product of matrices, {precision}", sorted(rates[precision])[len(rates[precision]) // 2], "GFLOP/s")
    if "bfloat16" not in here:
        yield Row("bfloat16", None, note="this processor only emulates it")
