import math

import numpy as np
import pytest
import torch

from channel.quantization import clip, from_levels, quantize, rounding, store, to_levels

X = torch.linspace(-3.2, 3.3, 401, dtype=torch.float64)


def test_sin_is_equation_3() -> None:
    expected = [x - math.sin(2 * math.pi * x) / (2 * math.pi) for x in X.tolist()]
    np.testing.assert_allclose(rounding("sin")(X), expected, atol=1e-14)


@pytest.mark.parametrize("terms", (1, 5, 8))
def test_harmonic_is_the_truncated_fourier_series_of_the_sawtooth(terms: int) -> None:
    # The oracle integrates the sawtooth x - round(x) over one period, b_k = 2 ∫ saw(t) sin(2πkt) dt.
    t = (np.arange(200_000) + 0.5) / 200_000
    sawtooth = t - np.round(t)
    series = sum(
        2 * np.mean(sawtooth * np.sin(2 * np.pi * k * t)) * np.sin(2 * np.pi * k * X.numpy())
        for k in range(1, terms + 1)
    )
    np.testing.assert_allclose(rounding("harmonic", terms)(X), X.numpy() - series, atol=1e-8)


def test_more_harmonics_come_closer_to_rounding() -> None:
    errors = [(rounding("harmonic", terms)(X) - X.round()).square().mean() for terms in (1, 2, 5, 20)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("name", ("round", "sin", "soft", "harmonic", "straight-through"))
def test_whole_numbers_are_kept(name: str) -> None:
    whole = torch.arange(-300.0, 301.0)
    torch.testing.assert_close(rounding(name)(whole), whole, rtol=0, atol=1e-3)


def test_soft_rounds_like_round_and_learns_like_sin() -> None:
    x = X.clone().requires_grad_()
    torch.testing.assert_close(rounding("soft")(x), x.round(), rtol=0, atol=1e-14)
    (soft,) = torch.autograd.grad(rounding("soft")(x).sum(), x)
    torch.testing.assert_close(soft, 1 - torch.cos(2 * math.pi * X))  # derivative of eq. 3


def test_straight_through_rounds_exactly_and_passes_the_gradient() -> None:
    x = X.clone().requires_grad_()
    rounded = rounding("straight-through")(x)
    assert torch.equal(rounded, rounding("round")(x))
    (gradient,) = torch.autograd.grad(rounded, x, X)
    assert torch.equal(gradient, X)


@pytest.mark.parametrize("name", ("sin", "harmonic"))
def test_gradients_are_those_of_the_functions(name: str) -> None:
    assert torch.autograd.gradcheck(rounding(name), X[::10].clone().requires_grad_())


def test_clip_passes_the_gradient() -> None:
    x = torch.tensor([-0.5, 0.25, 1.5], requires_grad=True)
    clip(x).backward(torch.tensor([1.0, 2.0, 3.0]))
    assert clip(x).tolist() == [0.0, 0.25, 1.0]
    assert x.grad is not None and x.grad.tolist() == [1.0, 2.0, 3.0]


def test_quantize_is_storage_as_uint8() -> None:
    x = torch.linspace(-0.1, 1.1, 1000)
    stored = (255 * x).round().clamp(0, 255).to(torch.uint8)
    torch.testing.assert_close(quantize(x), stored / 255, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)
def test_storage_is_that_of_uint8(dtype: torch.dtype) -> None:
    x = torch.linspace(-0.1, 1.1, 1000, dtype=dtype)
    levels = (255 * x).round().clamp(0, 255).to(torch.uint8)
    assert torch.equal(store(x), levels.to(dtype) / 255)
    assert torch.equal(to_levels(x), levels.to(dtype))
    assert torch.equal(
        from_levels(torch.tensor([-1.0, 0.5, 1.5, 254.4, 300]) / 1), torch.tensor([0, 0, 2, 254, 255]) / 255
    )
    assert torch.equal(store(store(x)), store(x))  # what is stored already stays


def test_storage_passes_the_gradient_as_if_nothing_was_rounded() -> None:
    x = torch.tensor([-0.5, 0.25, 1.5], requires_grad=True)
    for operator, scale in ((store, 1.0), (to_levels, 255.0), (from_levels, 1 / 255)):
        (gradient,) = torch.autograd.grad(operator(x), x, torch.tensor([1.0, 2.0, 3.0]))
        torch.testing.assert_close(gradient, scale * torch.tensor([1.0, 2.0, 3.0]), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("name", "harmonics", "message"), (("floor", 5, "floor"), ("harmonic", 0, "harmonics")))
def test_unknown_rounding_is_refused(name: str, harmonics: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rounding(name, harmonics)
