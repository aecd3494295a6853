"""Padding against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from cameras.padding import PadInOrder, pad, reflect, replicate

MARGINS = [(1, 1, 1, 1), (2, 2, 2, 2), (0, 3, 2, 0), (0, 5, 0, 7), (0, 0, 0, 0)]


@pytest.mark.parametrize("margins", MARGINS)
@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("padding", [pad, PadInOrder.apply])
def test_values_and_gradients_are_those_of_torch(padding, margins, mode, channels_last):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 9, 8, dtype=torch.float64, generator=generator)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    ours, theirs = (images.clone().requires_grad_() for _ in range(2))
    padded, expected = padding(ours, *margins, mode), F.pad(theirs, margins, mode=mode)
    assert torch.equal(padded, expected)
    weight = torch.rand(padded.shape, dtype=torch.float64, generator=generator)
    (padded * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_gradcheck(mode):
    images = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: PadInOrder.apply(x, 2, 1, 3, 2, mode), images)


@pytest.mark.parametrize(("padding", "mode"), [(reflect, "reflect"), (replicate, "replicate")])
def test_all_borders_alike(padding, mode):
    images = torch.rand(1, 2, 4, 5)
    assert torch.equal(padding(images, 2), F.pad(images, (2, 2, 2, 2), mode=mode))


def test_nothing_to_add_copies_nothing():
    images = torch.rand(1, 2, 4, 5)
    assert pad(images, 0, 0, 0, 0, "replicate") is images


def test_an_image_that_is_too_small_is_refused():
    with pytest.raises(RuntimeError):
        reflect(torch.rand(1, 1, 2, 2), 2)
