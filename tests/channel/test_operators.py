"""What every operator of the channel must do: the same body for all of them."""

from collections.abc import Callable

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily

from channel import Channel, DifferentiableJPEG, Drawn, Manipulations, downsampling, filters
from channel.manipulations import Manipulation
from channel.manipulations import awgn as awgn_file
from channel.manipulations.awgn import awgn

ROUNDINGS = ("round", "sin", "soft", "harmonic", "straight-through")
MANIPULATIONS = ("sharpen", "gaussian", "jpeg:80", "resample", "awgn", "gamma", "median")

OPERATORS: dict[str, Callable[[], torch.nn.Module]] = {
    **{
        f"dJPEG {rounding} {subsampling}": lambda r=rounding, s=subsampling: DifferentiableJPEG(50, r, s)
        for rounding in ROUNDINGS
        for subsampling in ("4:4:4", "4:2:0")
    },
    **{spec: lambda spec=spec: Manipulations((spec,)) for spec in MANIPULATIONS},
    "channel": Channel,
    "channel 1:3 none": lambda: Channel(3, "none"),
    "channel 1:1 soft 4:2:0": lambda: Channel(1, "jpeg:70", "soft", "4:2:0"),
    "channel 1:1.5 lanczos": lambda: Channel(1.5, "none", kernel="lanczos"),
    "channel 1:1.5 bicubic sin": lambda: Channel(1.5, "jpeg:80", kernel="bicubic"),
    "channel 1:2-3 drawn straight-through 8-bit": lambda: Channel(
        "2-3", "jpeg:30-95:4:4:4,4:2:0", "straight-through", kernel="bilinear", storage="8-bit"
    ),
    "channel 1:2 libjpeg straight-through": lambda: Channel(2, "libjpeg:70", "straight-through"),
    "channel 1:1 webp soft": lambda: Channel(1, "webp:70", "soft"),
}
ROUGH = {"round", "soft", "straight-through", "awgn", "gamma"}
# What rounds in the forward pass has a stand-in as its gradient, which no difference quotient can confirm.
SMOOTH = [name for name in OPERATORS if not ROUGH & set(name.split())]
SIZES = ((32, 48), (17, 23), (9, 40), (7, 5))


def run(operator: torch.nn.Module, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The operator's result (N, 3, h, w); of Manipulations, the one manipulated class."""
    if isinstance(operator, Manipulations):
        return operator(images, torch.Generator().manual_seed(seed))[len(images) :]
    if isinstance(operator, Channel):
        return operator(images, torch.Generator().manual_seed(seed))
    return operator(images)


@pytest.fixture(params=OPERATORS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def operator(name: str) -> torch.nn.Module:
    return OPERATORS[name]()


def random_images(*shape: int, generator: torch.Generator, low: float = 0, high: float = 1) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_shape_dtype_and_range(operator: torch.nn.Module, size: tuple[int, int], generator: torch.Generator) -> None:
    k = operator.draw(torch.Generator().manual_seed(0)).factor if isinstance(operator, Channel) else 1
    images = random_images(2, 3, *size, generator=generator).round(decimals=1)  # with black and white pixels
    received = run(operator, images)
    assert received.shape == (2, 3, int(size[0] / k), int(size[1] / k))
    assert received.dtype == torch.float32
    assert received.min() >= 0 and received.max() <= 1 + 1e-6  # weights of a filter sum to 1 within rounding
    assert run(operator, images.double()).dtype == torch.float64


def test_same_input_same_output(operator: torch.nn.Module, generator: torch.Generator) -> None:
    images = random_images(2, 3, 24, 40, generator=generator)
    assert torch.equal(run(operator, images), run(operator, images.clone()))


def test_memory_format_does_not_matter(operator: torch.nn.Module, generator: torch.Generator) -> None:
    images = random_images(2, 3, 24, 40, generator=generator)
    channels_last = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(run(operator, channels_last), run(operator, images), rtol=0, atol=1e-5)


def test_an_image_does_not_depend_on_its_batch(
    name: str, operator: torch.nn.Module, generator: torch.Generator
) -> None:
    if name == "awgn":
        pytest.skip("every image has its own noise, drawn for the whole batch")
    images = random_images(5, 3, 24, 40, generator=generator, low=0.1, high=0.9)
    together = run(operator, images)
    alone = torch.cat([run(operator, image[None]) for image in images])
    # A coefficient that lies at n + 1/2 up to float32's precision may round to either side: none does here.
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_gradient_reaches_every_pixel(name: str, operator: torch.nn.Module, generator: torch.Generator) -> None:
    images = random_images(2, 3, 18, 34, generator=generator).round(decimals=1).requires_grad_()
    weights = torch.rand(run(operator, images).shape, generator=generator)
    (gradient,) = torch.autograd.grad((run(operator, images) * weights).sum(), images, allow_unused=True)
    if " round " in name:
        assert gradient is None or not gradient.any()
        return
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1000  # nothing explodes at black, where V and the levels of gamma vanish
    touched = (gradient != 0).any(dim=1).float().mean()
    assert touched > (0.7 if name == "median" else 0.95)  # a median picks one of its pixels


@pytest.mark.parametrize("size", ((8, 8), (5, 9)), ids=str)
@pytest.mark.parametrize("name", SMOOTH)
def test_gradcheck(name: str, size: tuple[int, int], generator: torch.Generator) -> None:
    operator = OPERATORS[name]()
    # Close to mid-grey, so that nothing is clipped: a clip's gradient is a stand-in as well.
    images = random_images(1, 3, *size, generator=generator, low=0.49, high=0.51).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: run(operator, x), images, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16), ids=str)
def test_full_precision_under_autocast(
    operator: torch.nn.Module, dtype: torch.dtype, generator: torch.Generator
) -> None:
    images = random_images(2, 3, 24, 40, generator=generator)
    with torch.autocast("cpu", dtype=dtype):
        received = run(operator, images)
        from_half = run(operator, images.to(dtype))
    assert torch.equal(received, run(operator, images))
    assert torch.equal(from_half, run(operator, images.to(dtype).float()))


RANGES = ("sharpen:0.5-2", "gaussian:0.5-1.5", "jpeg:50-90", "resample:1.5-3", "awgn:2-8", "gamma:1.5-3", "median:3-7")


@pytest.mark.parametrize("name", (*OPERATORS, *RANGES))
def test_no_operator_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake tensors have shapes, but no values: whoever reads one on the host gets an error.

    Only strengths and seeds are drawn for real: with a generator on the CPU they are the host's own numbers.
    """
    draw = Manipulation.draw

    def draw_on_the_host(self: Manipulation, generator: torch.Generator | None) -> float:
        with unset_fake_temporarily():
            return draw(self, generator)

    monkeypatch.setattr(Manipulation, "draw", draw_on_the_host)
    draw_channel = Channel.draw

    def draw_channel_on_the_host(self: Channel, generator: torch.Generator | None) -> Drawn:
        with unset_fake_temporarily():
            return draw_channel(self, generator)

    if "libjpeg" in name or "webp" in name:
        pytest.skip("real encoders are the host's own work")
    monkeypatch.setattr(Channel, "draw", draw_channel_on_the_host)
    monkeypatch.setattr(downsampling, "resampling_matrix", downsampling.resampling_matrix.__wrapped__)
    monkeypatch.setattr(awgn_file, "draw_seed", lambda generator: 7)
    monkeypatch.setattr(filters, "_border_weights", filters._border_weights.__wrapped__)  # keep no fakes
    with FakeTensorMode():
        operator = OPERATORS[name]() if name in OPERATORS else Manipulations((name,))
        images = torch.rand(2, 3, 24, 40, requires_grad=True)
        received = run(operator, images)
        if received.requires_grad:  # round alone has no gradient
            received.sum().backward()
        with pytest.raises(DataDependentOutputException):
            float(received.detach().sum())  # the fakes do what they are here for


def test_what_is_drawn_does_not_depend_on_the_device_of_the_images() -> None:
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    awgn(torch.rand(2, 3, 8, 8), 5, generators[0])
    assert awgn(torch.rand(2, 3, 8, 8, device="meta"), 5, generators[1]).is_meta
    assert torch.equal(*(generator.get_state() for generator in generators))


def test_nothing_is_learnt_or_stored(operator: torch.nn.Module) -> None:
    assert not list(operator.parameters())
    assert not operator.state_dict()  # constants follow from the settings: checkpoints stay free of them


@pytest.mark.parametrize("images", (torch.rand(3, 16, 16), torch.rand(1, 4, 16, 16), torch.zeros(1, 3, 8, 8).byte()))
def test_wrong_images_are_refused(operator: torch.nn.Module, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="needs floating-point images"):
        run(operator, images)
