"""Precisions to test in: bfloat16 only where the processor computes in it; elsewhere it would be float32 once more."""

import pytest
import torch

from models.precision import in_bfloat16

needs_bfloat16 = pytest.mark.skipif(
    not in_bfloat16(torch.device("cpu"), "bfloat16"), reason="this processor does not compute in bfloat16"
)
PRECISIONS = ["float32", pytest.param("bfloat16", marks=needs_bfloat16)]
