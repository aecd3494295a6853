"""Operators whose sums a GPU adds in whatever order its threads arrive, and a mode that refuses them.

with Forbidding():
    loss = model(bayer)…  # on the meta device, which stands for a GPU
    loss.backward()
"""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

# What `help(torch.use_deterministic_algorithms)` of torch 2.13 says of CUDA, by the names of ATen.
THROWING = frozenset(
    {
        "avg_pool3d_backward",
        "_adaptive_avg_pool2d_backward",
        "_adaptive_avg_pool3d_backward",
        "adaptive_max_pool2d_backward",
        "fractional_max_pool2d_backward",
        "fractional_max_pool3d_backward",
        "max_unpool2d",
        "max_unpool3d",
        "upsample_linear1d_backward",
        "upsample_bilinear2d_backward",
        "upsample_bicubic2d_backward",
        "upsample_trilinear3d_backward",
        "_upsample_bilinear2d_aa_backward",
        "_upsample_bicubic2d_aa_backward",
        "reflection_pad1d_backward",
        "reflection_pad2d_backward",
        "reflection_pad3d_backward",
        "nll_loss_forward",
        "nll_loss_backward",
        "nll_loss2d_forward",
        "nll_loss2d_backward",
        "_ctc_loss_backward",
        "_embedding_bag_backward",
        "put",
        "put_",
        "histc",
        "bincount",
        "median",
        "nanmedian",
        "kthvalue",  # its indices; not in that list, but it throws all the same
        "grid_sampler_2d_backward",
        "grid_sampler_3d_backward",
        "cumsum",
        "cumsum_",
        "scatter_reduce",
        "scatter_reduce_",
    }
)
# Those that are deterministic only where PyTorch is told so, and whatever accumulates by indices. Gradients of gather,
# index_select, indexing by tensors and repeat_interleave are among them under these names.
ACCUMULATING = frozenset(
    {
        "replication_pad1d_backward",
        "replication_pad2d_backward",
        "replication_pad3d_backward",
        "max_pool3d_with_indices_backward",
        "index_put",
        "index_put_",
        "_index_put_impl_",
        "_unsafe_index_put",
        "_unsafe_masked_index_put_accumulate",
        "index_add",
        "index_add_",
        "index_copy",
        "index_copy_",
        "index_reduce",
        "index_reduce_",
        "scatter",
        "scatter_",
        "scatter_add",
        "scatter_add_",
        "gather_backward",
        "index_select_backward",
        "embedding_dense_backward",
        "embedding_backward",
        "value_selecting_reduction_backward",
        "masked_scatter_backward",
    }
)
CONVOLUTIONS = frozenset({"convolution", "convolution_backward", "_convolution", "convolution_overrideable"})
NONDETERMINISTIC: frozenset[str] = THROWING | ACCUMULATING | CONVOLUTIONS
# Of cross-entropy, only the one over images (nll_loss2d) adds atomically; over rows of logits, one block adds up all.
CROSS_ENTROPY = frozenset({"nll_loss_forward", "nll_loss_backward"})


class Nondeterministic(AssertionError):  # noqa: N818
    """A computation uses an operator that may give other bits at every repetition."""


class Forbidding(TorchDispatchMode):
    """Raises Nondeterministic at each forbidden operator.

    Args:
        allowed: exceptions. Convolutions are deterministic where cuDNN is told so: `models.determinism.computing`.
    """

    def __init__(self, allowed: frozenset[str] = CONVOLUTIONS | CROSS_ENTROPY) -> None:
        super().__init__()
        self.forbidden = NONDETERMINISTIC - allowed

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = operator.overloadpacket.__name__
        if name in self.forbidden:
            raise Nondeterministic(f"{name} may give other bits at every repetition on a GPU")
        return operator(*args, **(kwargs or {}))
