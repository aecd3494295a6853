"""What a computation costs, against counts by hand."""

import pytest
import torch
import torch.nn.functional as F

from forensics.metering import HostReadError, Meter

FLOAT = 4


def test_operators_and_bytes_without_views() -> None:
    x = torch.empty(10, 20, device="meta")
    with Meter() as meter:
        (x.reshape(200)[:100] + 1).mul_(2).sum()
    assert dict(meter.cost.names) == {"aten.add.Tensor": 1, "aten.mul_.Tensor": 1, "aten.sum.default": 1}
    read_and_written = 100 + 100, 100 + 100, 100 + 1
    assert meter.cost.bytes == FLOAT * sum(map(sum, [[n] for n in read_and_written]))
    assert meter.dense.operators == 0


def test_flop_of_a_convolution_forward_and_backward() -> None:
    images, weight = (torch.empty(shape, device="meta", requires_grad=True) for shape in ((2, 3, 8, 8), (5, 3, 3, 3)))
    multiplications = 2 * 5 * 8 * 8 * 3 * 3 * 3
    with Meter() as meter:
        F.conv2d(images, weight, padding=1).sum().backward()
    assert meter.dense.flop == 3 * 2 * multiplications  # forward, and backward to images and to weights
    assert meter.dense.operators == 2


def test_peak_is_the_most_that_lives_at_once() -> None:
    held = torch.empty(1000, device="meta")
    with Meter([held, held.view(10, 100)]) as meter:
        a = held + 1
        b = a + 1
        del a
        c = b + 1
        del b, c
        held + 1
    assert meter.peak == FLOAT * 3000
    assert meter.alive == FLOAT * 1000


def test_what_autograd_keeps_counts_until_backward() -> None:
    x = torch.empty(1000, device="meta", requires_grad=True)
    with Meter([x]) as meter:
        y = x.sin().cos().exp()  # keeps x, sin x and its result
        alive = meter.alive
        y.sum().backward()
        del y
    assert alive == FLOAT * 3000
    assert meter.alive == FLOAT * 2000  # x and its gradient


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: bool((x > 0).any()),
        lambda x: torch.equal(x, x),
    ],
)
def test_reads_by_the_host_are_refused(read) -> None:  # type: ignore[no-untyped-def]
    with Meter(refuse_reads=True), pytest.raises(HostReadError):
        read(torch.empty(8, device="meta"))


def test_the_host_may_read_its_own_tensors() -> None:
    with Meter(refuse_reads=True):
        x = torch.ones(3).to(torch.float64)
        assert x[x > 0].sum().item() == 3
