"""The joint objective: data flow, losses and who receives a gradient."""

import pytest
import torch
from precisions import PRECISIONS

import models
from channel import Channel, Manipulations
from forensics.fan import FAN
from forensics.joint import JointModel, labels, loss_fan, loss_nip


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
