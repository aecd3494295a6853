"""Several processes that train on one device at the same time. Needs torch, numpy and safetensors alone."""

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks import joint_step
from benchmarks.timing import synchronise
from models.determinism import computing

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 5  # steps


def throughput(
    count: int, isp: str, precision: str, patch: int, batch: int, device: torch.device, seconds: float
) -> float:
    """Iterations per second of so many processes together; each is given an equal share of a card's memory.

    Raises:
        RuntimeError: a process has ended early, after its own words on stderr.
    """
    code = "import sys; from benchmarks.processes import train; train(*sys.argv[1:])"
    settings = map(str, (isp, precision, patch, batch, device, seconds, 1 / count))
    command = [sys.executable, "-c", code, *settings]
    with ExitStack() as opened:
        processes = [
            opened.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
            for _ in range(count)
        ]
        try:
            for process in processes:
                _read(process)  # it is warm
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            return sum(float(_read(process)) for process in processes)
        finally:
            for process in processes:
                process.kill()


def _read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise RuntimeError("a process has ended early")
    return line


def train(isp: str, precision: str, patch: str, batch: str, device: str, seconds: str, share: str) -> None:
    """Work of one process: say that it is warm, wait for a line, train, print its iterations per second."""
    where = torch.device(device)
    if where.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(float(share))
    else:
        torch.set_num_threads(1)
    joint = joint_step.build(isp, precision, int(patch), int(batch), where)
    with computing(where):
        for _ in range(WARM_UP):
            joint.step()
        synchronise()
        print("warm", flush=True)
        sys.stdin.readline()
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < float(seconds):
            for _ in range(5):
                joint.step()
            synchronise()
            steps += 5
        print(steps / (time.perf_counter() - start), flush=True)
