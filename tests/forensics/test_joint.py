"""The joint objective: data flow, losses and who receives a gradient."""

import pytest
import torch
from precisions import PRECISIONS

import models
from channel import Channel, Manipulations
from forensics.fan import FAN
from forensics.joint import JointModel, cut, labels, loss_fan, loss_nip


def joint_model(nip: models.NIP, joint: bool = True, precision: str = "float32") -> JointModel:
    manipulations = Manipulations(("sharpen", "resample"))
    return JointModel(nip, manipulations, Channel(), FAN(len(manipulations.classes)), joint, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_forward_follows_the_drawing(nip: models.NIP, precision: str, generator: torch.Generator) -> None:
    model = joint_model(nip, precision=precision)
    bayer = torch.rand(2, 4, 16, 16, generator=generator)
    logits, developed = model(bayer)
    assert logits.shape == (6, 3)
    assert developed.shape == (2, 3, 32, 32)
    if precision == "float32":
        torch.testing.assert_close(developed, nip(bayer))
        received = torch.cat([model.channel(part) for part in model.manipulations(developed).split(2)])
        torch.testing.assert_close(logits, model.fan(received))
    else:
        assert not torch.equal(logits, model.fan(model.channel(model.manipulations(developed)))), "it was float32"


def test_labels_are_class_major() -> None:
    assert labels(torch.zeros(6, 3)).tolist() == [0, 0, 1, 1, 2, 2]


def test_loss_fan_is_eq_2b(generator: torch.Generator) -> None:
    logits = torch.randn(6, 3, generator=generator)
    fan = logits.softmax(dim=1)
    expected = -sum(fan[c * 2 + n, c].log() for c in range(3) for n in range(2)) / 6
    torch.testing.assert_close(loss_fan(logits), expected)


def test_loss_nip_is_eq_2c_on_the_8_bit_scale() -> None:
    target = torch.zeros(2, 3, 4, 4)
    assert loss_nip(target + 2 / 255, target).item() == pytest.approx(4)


@pytest.mark.parametrize("joint", [True, False])
def test_only_joint_training_reaches_the_nip(nip: models.NIP, joint: bool, generator: torch.Generator) -> None:
    model = joint_model(nip, joint=joint)
    logits, _ = model(torch.rand(2, 4, 16, 16, generator=generator))
    loss_fan(logits).backward()
    reached = any(p.grad is not None and p.grad.abs().max() > 0 for p in model.nip.parameters())
    assert reached == joint
    assert all(p.grad is not None for p in model.fan.parameters())


def test_the_fan_gets_a_window_at_a_drawn_place(nip: models.NIP, generator: torch.Generator) -> None:
    model = joint_model(nip)
    model.window = 10
    images = torch.rand(2, 3, 26, 28, generator=generator)
    shrunk = model.channel(images)  # 13 × 14
    found = set()
    for seed in range(200):
        window = model.receive(images, torch.Generator().manual_seed(seed))
        places = [
            (top, left)
            for top in range(4)
            for left in range(5)
            if torch.equal(window, shrunk[..., top : top + 10, left : left + 10])
        ]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) == 4 * 5, "every place"


def test_a_window_takes_numbers_after_all_other_draws(nip: models.NIP, generator: torch.Generator) -> None:
    """A trial without windows draws what it drew before there were any; the loss reaches the NIP through the window."""
    manipulations = Manipulations(("gaussian:1-2", "awgn"))
    channel = Channel(2, "0.5 jpeg:30-95 + 0.5 none", "straight-through")
    model = JointModel(nip, manipulations, channel, FAN(3), window=16)
    bayer = torch.rand(2, 4, 20, 20, generator=generator)
    logits, _ = model(bayer, torch.Generator().manual_seed(1))

    draws = torch.Generator().manual_seed(1)
    received = channel(manipulations(nip(bayer), draws), draws)
    assert received.shape[-2:] == (20, 20)
    torch.testing.assert_close(logits, model.fan(cut(received, 16, draws)))
    assert cut(received, None) is received
    loss_fan(logits).backward()
    assert any(parameter.grad.abs().max() > 0 for parameter in nip.parameters() if parameter.grad is not None)
