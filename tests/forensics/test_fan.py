"""The forensic analysis network against the paper's table and against plain arithmetic."""

import pytest
import torch
import torch.nn.functional as F

from forensics.fan import FAN, ConstrainedConv2d


def test_has_the_parameters_of_the_paper() -> None:
    assert sum(parameter.numel() for parameter in FAN(5).parameters()) == 1_341_990


def test_start_depends_on_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = FAN(5, torch.Generator().manual_seed(7)).state_dict()
    torch.manual_seed(2)
    again = FAN(5, torch.Generator().manual_seed(7)).state_dict()
    other = FAN(5, torch.Generator().manual_seed(8)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["decision.weight"], other["decision.weight"])


def test_start_has_the_variance_of_msra(generator: torch.Generator) -> None:
    weight = FAN(5, generator).convolutions[3].weight
    expected = (2 / (1 + 0.2**2) / (128 * 25)) ** 0.5  # He et al. 2015, eq. 14 with slope 0.2
    assert weight.std().item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("size", [(16, 16), (33, 20), (64, 64)])
def test_any_size_from_16(size: tuple[int, int], generator: torch.Generator) -> None:
    logits = FAN(3)(torch.rand(2, 3, *size, generator=generator))
    assert logits.shape == (2, 3)
    assert logits.dtype == torch.float32


def test_too_small_a_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16×16 px, got 8×32"):
        FAN()(torch.zeros(1, 3, 8, 32))


def test_one_image_does_not_depend_on_the_others(generator: torch.Generator) -> None:
    fan, images = FAN(), torch.rand(3, 3, 32, 32, generator=generator)
    torch.testing.assert_close(fan(images)[:1], fan(images[:1]))


def test_residual_is_constrained_whatever_is_learnt(generator: torch.Generator) -> None:
    layer = ConstrainedConv2d()
    with torch.no_grad():
        layer.weight.copy_(torch.rand(layer.weight.shape, generator=generator))
    kernel = layer.kernel()
    for channel in range(3):
        assert kernel[channel, channel, 2, 2].item() == pytest.approx(-100)
        assert kernel[channel].sum().item() == pytest.approx(0, abs=1e-3)
    constant = torch.full((1, 3, 9, 9), 0.7)
    torch.testing.assert_close(layer(constant), torch.zeros(1, 3, 9, 9), atol=1e-3, rtol=0)


def test_residual_starts_as_the_standard_filter(generator: torch.Generator) -> None:
    image = torch.rand(1, 3, 12, 12, generator=generator)
    prediction = torch.tensor([[1.0, 2.0, 1.0], [2.0, 0.0, 2.0], [1.0, 2.0, 1.0]]) / 12
    expected = 100 * (F.conv2d(image, prediction.expand(3, 1, 3, 3), groups=3) - image[..., 1:-1, 1:-1])
    torch.testing.assert_close(ConstrainedConv2d()(image)[..., 1:-1, 1:-1], expected, atol=1e-3, rtol=1e-4)


def test_residual_keeps_its_precision_under_autocast(generator: torch.Generator) -> None:
    layer, image = ConstrainedConv2d(), torch.rand(1, 3, 12, 12, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(image), layer(image.double().float()))
        assert layer(image).dtype == torch.float32


def test_gradient_respects_the_constraint(generator: torch.Generator) -> None:
    """The centre weights are not free: the constrained kernel, and so the loss, must not depend on them."""
    layer = ConstrainedConv2d()
    layer(torch.rand(1, 3, 8, 8, generator=generator)).square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad[range(3), range(3), 2, 2].abs().max() == 0
    assert layer.weight.grad.abs().max() > 0


def test_kernel_gradient_is_exact(generator: torch.Generator) -> None:
    layer = ConstrainedConv2d().double()
    with torch.no_grad():
        layer.weight.add_(0.1 * torch.rand(layer.weight.shape, generator=generator))

    def kernel(weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(_Kernel(layer), {"layer.weight": weight}, ())

    assert torch.autograd.gradcheck(kernel, layer.weight.detach().requires_grad_())


class _Kernel(torch.nn.Module):
    def __init__(self, layer: ConstrainedConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self) -> torch.Tensor:
        return self.layer.kernel()


def test_features_are_the_layers_of_the_table(generator: torch.Generator) -> None:
    """The network written out: activation before pooling, as Table 6 has it."""
    fan, x = FAN(), torch.rand(2, 3, 32, 32, generator=generator)
    y = fan.residual(x)
    for convolution in fan.convolutions:
        y = F.max_pool2d(F.leaky_relu(convolution(y), 0.2), 2)
    y = F.adaptive_avg_pool2d(F.leaky_relu(fan.pointwise(y), 0.2), 1).flatten(1)
    torch.testing.assert_close(fan.features(x), y)
    for dense in fan.dense:
        y = F.leaky_relu(dense(y), 0.2)
    torch.testing.assert_close(fan(x), fan.decision(y))
