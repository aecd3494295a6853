"""iterations of joint training per second, with the paper's manipulations and channel, 20 patches a batch

Each step is timed in turn with a product of matrices: the share says how much of this machine's own rate it reaches,
whatever else the machine does at that time. FLIP, which ends every trial of a study, is timed in turn with a step of
the demo's size: validations and the verdict make its share of a trial smaller still.
"""

from collections.abc import Iterator

import torch

import models
from benchmarks.joint_step import Product, build, count
from benchmarks.rows import Row, is_installed
from benchmarks.timing import interleaved
from models.flip import flip
from models.precision import in_bfloat16

PRECISIONS = ("float32", "bfloat16")
PATCHES = {64: 3, 128: 2}  # side of a RAW patch -> rounds
BATCH = 20
SIZE = 2048  # of the matrices
DEMO = {"patch": 48, "batch": 4, "iterations": 600, "judged": 48}  # the last: patches of validation and test
FLIP = "FLIP at the end of the demo's trial"


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
    yield _flip({"patch": 16, "batch": 2, "iterations": 1, "judged": 2} if tiny else DEMO, here[-1], device)


def _flip(demo: dict[str, int], precision: str, device: torch.device) -> Row:
    if not is_installed("flip_evaluator"):
        return Row(FLIP, None, note="flip_evaluator: not installed")
    step = build("UNet", precision, demo["patch"], demo["batch"], device).step
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, demo["judged"], 3, 2 * demo["patch"], 2 * demo["patch"], generator=generator)
    times = interleaved({"step": step, "flip": lambda: flip(*pictures)}, repeats=3)
    share = 100 / (times.ratio("step", "flip") * demo["iterations"])
    return Row(FLIP, times["flip"], "ms", figures={f"% of its {demo['iterations']} steps": share})
