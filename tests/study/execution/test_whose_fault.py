"""Which errors a job is to blame for by themselves, and which are equal."""

import errno

import botocore.exceptions
import pytest
import torch
from mlflow.exceptions import MlflowException

from study.execution import faults
from study.settings import StudyError

JOB = [
    FloatingPointError("the loss is not finite at iteration 1"),
    ValueError("the pairs of a camera are not those that the job was planned with"),
    StudyError("there is no codec of that name"),
]
MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 22.06 GiB"),
    torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]
MACHINE = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be …"),
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    RuntimeError("Found no NVIDIA driver on your system."),
    RuntimeError("No CUDA GPUs are available"),
    RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu."),
    RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED"),
    AssertionError("Torch not compiled with CUDA enabled"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
    ImportError("libcudart.so.12: cannot open shared object file"),
    OSError(errno.EIO, "Input/output error"),
    MlflowException("API request failed"),
    botocore.exceptions.EndpointConnectionError(endpoint_url="http://bucket"),
]
UNKNOWN = [
    TypeError("unsupported operand type(s)"),
    KeyError("psnr"),
    AttributeError("module 'torch' has no attribute 'optim'"),
    AssertionError(),
    RuntimeError("The size of tensor a (5) must match the size of tensor b (4)"),
    RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
    NotImplementedError("Could not run 'aten::x' with arguments from the 'CUDA' backend"),
]
KINDS = {"job": JOB, "memory": MEMORY, "machine": MACHINE, "unknown": UNKNOWN}


@pytest.mark.parametrize(("kind", "error"), [(kind, error) for kind, errors in KINDS.items() for error in errors])
def test_the_kind_of_an_error(kind: str, error: Exception) -> None:
    assert faults.kind(error) == kind
    assert faults.own_fault(error, 3) == (str(error) if kind == "job" else None)


def raised(text: str = "no room for 3 at 0x7f01", number: int = 0) -> Exception:
    try:
        if number:
            raise TypeError(text)
        raise TypeError(text)
    except TypeError as error:
        return error


def test_equal_errors_have_one_signature() -> None:
    signature = faults.signature(raised(), 5)
    assert faults.signature(raised("no room for 17 at 0x7fab"), 5) == signature, "numbers differ between processes"
    assert faults.signature(raised("no room left"), 5) != signature
    assert faults.signature(raised(number=1), 5) != signature, "another line"
    assert faults.signature(raised(), 6) != signature, "another step"
