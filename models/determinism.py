"""How a GPU computes: float32 without TF32, and the same bits at every repetition where that is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def computing(device: torch.device | str, deterministic: bool = True) -> Iterator[None]:
    """Sets PyTorch's switches for the block, and puts them back afterwards. On a CPU there is nothing to set.

    float32 never means TF32, which has ten bits instead of 23. With ``deterministic``, cuDNN chooses among algorithms
    that add in the same order every time; all our other operators do so by construction. Otherwise it chooses the
    fastest by trying them out.

    Args:
        device: on which the block computes.
        deterministic: whether a repetition on the same kind of card shall give the same bits.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32)
    cudnn.deterministic, cudnn.benchmark = deterministic, not deterministic
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
