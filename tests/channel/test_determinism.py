"""On a GPU, gradients repeat to the bit, and cost few operators; counted on the meta device, which stands for one."""

from collections.abc import Callable

import pytest
import torch
from nondeterministic import NONDETERMINISTIC, Forbidding, Nondeterministic
from torch.nn import functional as F

from channel import Channel, Manipulations
from channel.codecs import CODECS
from channel.codecs.jpeg import SUBSAMPLINGS
from channel.distribution import STORAGES
from channel.downsampling import KERNELS, Factors
from channel.manipulations import NAMES, OPERATORS
from channel.noise import normal
from forensics.metering import Meter

META = torch.device("meta")
ROUNDINGS = ("round", "sin", "soft", "harmonic", "straight-through")


def strengths(name: str) -> list[str]:
    """Every strength of an operator with steps, else the smallest, the default and the largest; and its range."""
    operator = OPERATORS[name]
    steps = int((operator.high - operator.low) / operator.step) + 1 if operator.step else 0
    fixed = [operator.low + i * operator.step for i in range(steps)] or [operator.low, operator.default, operator.high]
    if name == "jpeg":  # a hundred tables take the same path
        fixed = [1, 50, 100]
    return [name, *(f"{name}:{strength:g}" for strength in fixed), f"{name}:{operator.low:g}-{operator.high:g}"]


def forward_and_backward(operators: list[Callable[..., torch.Tensor]], *size: int) -> None:
    """Passes images of a device without content through the operators, and a gradient back."""
    images = received = torch.rand(2, 3, *size, device=META, requires_grad=True)
    for operator in operators:
        arguments = (torch.Generator().manual_seed(0),) if isinstance(operator, Manipulations) else ()
        received = operator(received, *arguments)
    if received.requires_grad:  # round alone has no gradient
        received.backward(torch.empty_like(received))
        assert images.grad is not None and images.grad.shape == images.shape


@pytest.mark.parametrize("size", ((64, 48), (61, 47)), ids=str)
@pytest.mark.parametrize("spec", [spec for name in NAMES for spec in strengths(name)])
def test_manipulations_have_deterministic_gradients(spec: str, size: tuple[int, int]) -> None:
    with Forbidding():
        forward_and_backward([Manipulations((spec,)).to(META)], *size)


@pytest.mark.parametrize("downsample", (1, 2, 3))
@pytest.mark.parametrize("size", ((64, 48), (61, 47)), ids=str)
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("codec", [name for name, codec in CODECS.items() if codec.differentiable])
def test_channels_have_deterministic_gradients(
    codec: str, rounding: str, subsampling: str, size: tuple[int, int], downsample: int
) -> None:
    with Forbidding():
        forward_and_backward([Channel(downsample, f"{codec}:50", rounding, subsampling).to(META)], *size)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("size", ((64, 48), (61, 47)), ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("downsample", (2, "2-4", 1.5, "1-2.5"))
def test_kernels_and_storage_have_deterministic_gradients(
    downsample: float | str, kernel: str, size: tuple[int, int], storage: str
) -> None:
    """Real encoders compute on the host; here their dJPEG passes the gradient alone."""
    if kernel == "mean" and not isinstance(Factors.parse(downsample, "lanczos").high, int):
        downsample = 3
    codec = "jpeg:30-95:4:4:4,4:2:0 + libjpeg:50 + webp:50-80 + none"
    channel = Channel(downsample, codec, kernel=kernel, storage=storage)
    generator = torch.Generator().manual_seed(0)
    with Forbidding():
        for _ in range(12):
            images = torch.rand(2, 3, *size, device=META, requires_grad=True)
            received = channel(channel.store(images), generator)
            received.backward(torch.empty_like(received))
            assert images.grad is not None and images.grad.shape == images.shape


@pytest.mark.parametrize(
    "operator",
    (
        lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
        lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate"),
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        lambda x: F.adaptive_avg_pool2d(x, 3),
        lambda x: x.median(dim=1).values,
        lambda x: x.kthvalue(2, dim=1).values,
        lambda x: x.cumsum(dim=1),
        lambda x: x[:, [0, 1, 1]],
        lambda x: x.index_select(1, torch.tensor([0, 1, 1], device=META)),
        lambda x: x.gather(1, torch.zeros(2, 3, 8, 8, dtype=torch.long, device=META)),
        lambda x: x.take(torch.zeros(5, dtype=torch.long, device=META)),
        lambda x: x.flatten().topk(3).values,
    ),
)
def test_what_adds_in_any_order_is_refused(operator: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """The mode sees the operators by which PyTorch's own padding, resizing and indexing pass gradients back."""
    with pytest.raises(Nondeterministic), Forbidding():
        forward_and_backward([operator], 8, 8)


def test_the_names_are_operators_of_torch() -> None:
    """Those that a release renames would never be seen. Gradients of some have names only in PyTorch's own C++."""
    unknown = {name for name in NONDETERMINISTIC if not hasattr(torch.ops.aten, name)}
    assert not unknown


def count(operators: list[Callable[..., torch.Tensor]]) -> Meter:
    """Counts forward and backward of operators at the paper's size: 20 patches of 256×256 px."""
    for _ in range(2):  # constants that depend on the size are built once
        images = received = torch.rand(20, 3, 256, 256, device=META, requires_grad=True)
        with Meter(refuse_reads=True) as meter:
            for operator in operators:
                received = operator(received)
            received.backward(torch.empty_like(received))
        assert images.grad is not None
    return meter


@pytest.mark.parametrize(
    ("subsampling", "operators", "gigabytes"), (("4:4:4", 57, 2.05), ("4:2:0", 76, 2.0)), ids=SUBSAMPLINGS
)
def test_few_operators_and_little_traffic(subsampling: str, operators: int, gigabytes: float) -> None:
    """The paper's manipulations and channel; convolutions and products of matrices aside.

    With 4:4:4, they were 181 operators and 5.1 GB when autograd derived all gradients, on CPU and GPU alike. Products
    were 28 (0.61 GB, 4.7 GFLOP), and are 22 (0.73 GB, 9.2 GFLOP).
    """
    meter = count([Manipulations().to(META), Channel(subsampling=subsampling).to(META)])
    assert meter.cost.operators <= operators, meter.cost.names
    assert meter.cost.bytes <= gigabytes * 1e9
    assert meter.dense.bytes <= 0.75e9
    assert meter.dense.flop <= 10e9


def test_a_robust_channel_costs_little_more() -> None:
    """Storing three times costs twelve operators; DCT and rounding, whose gradient is the identity, save three."""
    robust = Channel(codec="jpeg:30-95", rounding="straight-through", storage="8-bit")
    paper = count([Channel()])
    meter = count([lambda images: robust(robust.store(images), torch.Generator().manual_seed(0))])
    assert meter.cost.operators <= paper.cost.operators + 10, meter.cost.names
    assert meter.dense.flop < paper.dense.flop  # no gradient of the DCT


def test_noise_costs_few_operators() -> None:
    with Meter(refuse_reads=True) as meter:
        normal(20 * 3 * 256 * 256, 7, META)
    assert meter.cost.operators <= 9, meter.cost.names
