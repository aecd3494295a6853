"""the UNet's joint step on a GPU at the paper's setting (RAW 128, batch 20), and several trials on one card

Needs torch, numpy and safetensors alone. A measurement that fails is a row that says so, and the next one follows.
Each way of making a step starts from the same weights and has the same batch: losses after five steps must agree.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from benchmarks import joint_step, processes
from benchmarks.joint_step import Joint, Product
from benchmarks.patches import noise
from benchmarks.rows import FAILED, Row, attempt
from benchmarks.stacked import Stack
from benchmarks.timing import interleaved
from cameras.feed import Photographs, batches
from cameras.pairs import Pairs
from models.determinism import computing

PREPARING = 3  # steps before a CUDA graph is captured
CHECKED = 5  # steps after which losses are compared
TOLERANCE = 0.01
Step = Callable[[], Tensor]


@dataclass(frozen=True)
class Size:
    """How much is measured: matrices and patches, steps timed at once, seconds of several processes."""

    isp: str = "UNet"
    patch: int = 128
    batch: int = 20
    precisions: tuple[str, ...] = ("bfloat16", "float32")  # the first is the more important one: all time may be up
    matrix: int = 8192
    steps: int = 10
    repeats: int = 5
    seconds: float = 4.0
    together: tuple[int, ...] = (1, 2, 4, 8)
    images: int = 4
    megapixels: float = 12.0
    compiler: str = "inductor"


TINY = Size("INet", 16, 2, ("bfloat16",), 32, 1, 1, 0.1, (1, 2), 2, 0.1, "aot_eager")


def rows(tiny: bool = False, device: torch.device | None = None) -> Iterator[Row]:
    if device is None:
        if not torch.cuda.is_available():
            yield Row("everything", None, note="there is no CUDA device here")
            return
        device = torch.device("cuda")
    size = TINY if tiny else Size()
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        yield Row(card.name, card.total_memory / 1e9, "GB", note=f"{card.multi_processor_count} multiprocessors")
    first, *others = size.precisions
    with computing(device):
        yield from _ways(first, size, device)
        yield from _host_and_device(size, device)
        yield from _seeds(size, device)
    for count in size.together:
        yield attempt(f"{count} processes, bfloat16", partial(_processes, count, size, device))
    with computing(device):
        for precision in others:
            yield from _ways(precision, size, device)


# --- Ways to make a step ---


def eager(joint: Joint, size: Size) -> tuple[Step, int]:
    """Returns a function that makes a step, and the number of steps made already."""
    return joint.step, 0


def compiled(joint: Joint, size: Size) -> tuple[Step, int]:
    """The whole loss, forward and backward, through torch.compile."""
    loss = torch.compile(joint.loss, backend=size.compiler, dynamic=False)
    return lambda: joint.step(loss), 0


def pure_compiled(joint: Joint, size: Size) -> tuple[Step, int]:
    """Manipulations and channel alone through torch.compile."""
    pure = torch.compile(joint.pure, backend=size.compiler, dynamic=False)
    return lambda: joint.step(lambda: joint.loss(pure)), 0


def graph(joint: Joint, size: Size, way: Callable[[Joint, Size], tuple[Step, int]] = eager) -> tuple[Step, int]:
    """The whole step of another way, optimiser included, as one CUDA graph."""
    step, _ = way(joint, size)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(PREPARING):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    joint.optimiser.zero_grad()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):  # nothing is computed while it is captured
        loss = step()

    def replay() -> Tensor:
        captured.replay()
        return loss

    return replay, PREPARING


Way = Callable[[Joint, Size], tuple[Step, int]]
WAYS: dict[str, Way] = {
    "eager": eager,
    "manipulations and channel compiled": pure_compiled,
    "compiled": compiled,
}
GRAPHS: dict[str, Way] = {
    "CUDA graph": graph,
    "CUDA graph, manipulations and channel compiled": partial(graph, way=pure_compiled),
    "CUDA graph, compiled": partial(graph, way=compiled),
}


def _ways(precision: str, size: Size, device: torch.device) -> Iterator[Row]:
    product = Product.build(precision, device, size.matrix)
    rate = interleaved({"": product}, size.repeats)
    yield Row(f"product of matrices, {precision}", product.flop / rate[""] / 1e9, "TFLOP/s")
    flop = joint_step.count(size.isp, precision, size.patch, size.batch).dense.flop

    losses: list[float] = []  # after CHECKED steps; the first is the eager one

    def measure(what: str, way: Way, capturable: bool) -> Row:
        torch.compiler.reset()
        _forget_peak(device)
        joint = joint_step.build(size.isp, precision, size.patch, size.batch, device, capturable=capturable)
        start = time.perf_counter()
        step, made = way(joint, size)
        for _ in range(CHECKED - made):
            loss = float(step())
        losses.append(loss)
        figures = {"loss": loss, "s until warm": time.perf_counter() - start}
        times = interleaved({"steps": lambda: [step() for _ in range(size.steps)], "matrix": product}, size.repeats)
        share = times.ratio("matrix", "steps") * size.steps * flop / product.flop
        row = _row(what, times["steps"] / size.steps, device, {"% of the matrix rate": 100 * share, **figures})
        return row if abs(loss / losses[0] - 1) < TOLERANCE else replace(row, note=f"{FAILED} another loss than eager")

    for name, way in WAYS.items():
        what = f"{name}, {precision}"
        yield attempt(what, partial(measure, what, way, False))
    with computing(device, deterministic=False):
        what = f"eager, not deterministic, {precision}"
        yield attempt(what, partial(measure, what, eager, False))
    for name, way in GRAPHS.items() if device.type == "cuda" else ():
        what = f"{name}, {precision}"
        yield attempt(what, partial(measure, what, way, True))


# --- Where photographs lie; several trials ---


def _host_and_device(size: Size, device: torch.device) -> Iterator[Row]:
    """A step with the drawing of its batch, for photographs in the host's memory and on the device."""
    images = torch.arange(size.images)
    pairs = Pairs.from_images(noise(size.images, size.megapixels), "RGGB", torch.eye(3).numpy(), "noise")

    def measure(what: str, data: str) -> Row:
        _forget_peak(device)
        joint = joint_step.build(size.isp, "bfloat16", size.patch, size.batch, device)
        photographs = Photographs.open(pairs, images, device, data)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(0)
        drawn = batches(photographs, images, 10**9, size.batch, size.patch, generator, False)

        def steps() -> None:
            for _ in range(size.steps):
                joint.step(lambda: joint.loss(batch=next(drawn)))

        try:
            times = interleaved(
                {"fed": steps, "same batch": lambda: [joint.step() for _ in range(size.steps)]}, size.repeats
            )
        finally:
            drawn.close()  # type: ignore[attr-defined]  # its thread draws no further
        return _row(what, times["fed"] / size.steps, device, {"× the step alone": times.ratio("fed", "same batch")})

    for data in ("host", "device"):
        what = f"eager, bfloat16, photographs on the {data}"
        yield attempt(what, partial(measure, what, data))


def _seeds(size: Size, device: torch.device) -> Iterator[Row]:
    """Seeds stacked in one process."""

    def measure(what: str, count: int) -> Row:
        _forget_peak(device)
        build = partial(joint_step.build, size.isp, "bfloat16", size.patch, size.batch, device)
        stack = Stack([build(seed=seed) for seed in range(count)])
        times = interleaved({"steps": lambda: [stack.step() for _ in range(size.steps)]}, size.repeats)
        alone = times["steps"] / size.steps / count
        return Row(what, 1000 / alone, "it/s of all", figures=_row("", alone, device, {}).figures)

    for count in size.together:
        what = f"{count} seeds stacked, bfloat16"
        yield attempt(what, partial(measure, what, count))


def _processes(count: int, size: Size, device: torch.device) -> Row:
    rate = processes.throughput(count, size.isp, "bfloat16", size.patch, size.batch, device, size.seconds)
    return Row(f"{count} processes, bfloat16", rate, "it/s of all")


def _row(what: str, milliseconds: float, device: torch.device, figures: dict[str, float]) -> Row:
    if device.type == "cuda":
        figures = figures | {"GB at most": torch.cuda.max_memory_allocated(device) / 1e9}
    return Row(what, milliseconds, "ms/it", figures=figures)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
