"""What a computation costs, counted on the meta device, where tensors have shapes and no content.

    with Meter() as meter:
        loss = model(bayer)…
        loss.backward()
    meter.cost.operators, meter.cost.bytes, meter.cost.flop, meter.peak

An operator is what a GPU would start a kernel for: views and questions about shapes do not count.
"""

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
# By which the host reads what a device holds, and so waits for it. Copies to the CPU fail on the meta device anyway.
HOST_READS = frozenset(
    {
        aten._local_scalar_dense.default,
        aten.item.default,
        aten.nonzero.default,
        aten.masked_select.default,
        aten.is_nonzero.default,
        aten.equal.default,
        aten._unique2.default,
        aten.bincount.default,
        aten.repeat_interleave.Tensor,
    }
)
# Bookkeeping that starts no kernel.
FREE = frozenset(
    {
        aten.detach.default,
        aten.alias.default,
        aten.lift_fresh.default,
        aten.empty.memory_format,
        aten.empty_like.default,
        aten.empty_strided.default,
        aten.new_empty.default,
        aten.new_empty_strided.default,
        aten.resize_.default,
        aten._unsafe_view.default,
    }
)


@dataclass
class Cost:
    """Operators by name, the bytes that they read and write, and their FLOP.

    Convolutions and products of matrices are kept apart, by :attr:`Meter.dense`: their cost is arithmetic, that of all
    other operators is traffic.
    """

    names: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    flop: int = 0

    @property
    def operators(self) -> int:
        return self.names.total()


class HostReadError(RuntimeError):
    """A computation reads what a device holds, so that the host would wait."""


class Meter(TorchDispatchMode):
    """Counts all operators that are called while it is entered.

    Args:
        held: tensors that exist already, such as weights and the state of an optimiser.
        refuse_reads: whether an operator by which the host waits for a device raises an error.

    Attributes:
        dense: cost of convolutions and products of matrices, forward and backward.
        cost: of all other operators.
        peak: most bytes that were alive at the same time, ``held`` ones included.

    Raises:
        HostReadError: with ``refuse_reads``, naming the operator.
    """

    def __init__(self, held: Iterable[Tensor] = (), refuse_reads: bool = False) -> None:
        super().__init__()
        self.dense, self.cost = Cost(), Cost()
        self.refuse_reads = refuse_reads
        self.alive = self.peak = 0
        self._known: set[int] = set()
        for tensor in held:
            self._hold(tensor)

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.refuse_reads and _reads(operator, args):
            raise HostReadError(f"{operator}: the host reads what the device holds, and waits for it")
        result = operator(*args, **(kwargs or {}))
        outputs = list(_tensors(result))
        for tensor in outputs:
            self._hold(tensor)
        if operator not in FREE and not operator.is_view and outputs:
            inputs = list(_tensors((args, kwargs)))
            packet = operator.overloadpacket
            cost = self.dense if packet in flop_registry else self.cost
            cost.names[str(operator)] += 1
            written = [tensor for tensor in outputs if all(tensor is not other for other in inputs)]
            cost.bytes += sum(map(_size, (*inputs, *written)))
            if not written:  # in place: what was read is written, too
                cost.bytes += sum(map(_size, outputs))
            if packet in flop_registry:
                cost.flop += flop_registry[packet](*args, **(kwargs or {}), out_val=result)
        return result

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._release, storage._cdata, storage.nbytes())

    def _release(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self.alive -= size


def _reads(operator: Any, args: Any) -> bool:
    """Whether the host waits for a device other than itself; also by ``x[mask]``, whose size depends on content."""
    by_mask = operator is aten.index.Tensor and any(index.dtype == torch.bool for index in _tensors(args[1]))
    return (by_mask or operator in HOST_READS) and any(tensor.device.type != "cpu" for tensor in _tensors(args))


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
