"""Whose fault is an error? Only what repeats by itself is a job's own; the rest may go better in another process.

An error is of one of four kinds:

- ``job``: a NaN (FloatingPointError), or settings or data that are unfit (ValueError). It would come again.
- ``memory``: the card has no room left. It may fit when the job is alone there.
- ``machine``: CUDA errors, which no later work of a process survives; storage, network and tracker; whatever libraries
  raise in their own words. Nothing is known about the job.
- ``unknown``: Python's own errors (TypeError, RuntimeError, …): mistakes in the code, or a broken installation. Where
  they repeat tells which, see :mod:`study.execution.attempts`.
"""

import hashlib
import re
import traceback
from pathlib import Path
from typing import Literal

import torch

Kind = Literal["job", "memory", "machine", "unknown"]

OUT_OF_MEMORY = r"out of memory|_ALLOC_FAILED"
DEVICE = (  # how PyTorch speaks of a card, its driver and its libraries; tensors are on "cuda:0"
    r"CUDA (error|driver|GPU|runtime|kernel)|with CUDA enabled|cuDNN|CUDNN_|CUBLAS_|CUFFT_|CUSOLVER_|CUSPARSE_|NCCL"
    r"|NVML|NVRTC|NVIDIA|device-side assert|DefaultCPUAllocator"
)
OF_A_MACHINE = (OSError, ImportError, MemoryError, SystemError)


def kind(error: Exception) -> Kind:
    """Whose fault an error is, as far as it can tell by itself."""
    if isinstance(error, FloatingPointError | ValueError):
        return "job"
    if isinstance(error, torch.OutOfMemoryError):
        return "memory"
    if isinstance(error, RuntimeError) and re.search(OUT_OF_MEMORY, str(error)):
        return "memory"
    if isinstance(error, OF_A_MACHINE) or type(error).__module__ != "builtins" or re.search(DEVICE, str(error)):
        return "machine"
    return "unknown"


def own_fault(error: Exception, step: int) -> str | None:
    """Why the job would fail again; None where nobody knows."""
    return str(error) if kind(error) == "job" else None


def signature(error: Exception, step: int) -> str:
    """Equal for equal errors: type, text without numbers, every line of code on the way there, and step."""
    text = re.sub(r"0x[0-9a-f]+|\d+", "#", str(error))
    frames = traceback.extract_tb(error.__traceback__)
    way = [f"{'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno}" for frame in frames]
    return hashlib.sha256("\n".join([type(error).__name__, text, *way, str(step)]).encode()).hexdigest()[:16]
