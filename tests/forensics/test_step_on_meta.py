"""Whole steps on the meta device, which takes a GPU's path: no host waits, and every gradient adds in a fixed order."""

import itertools

import pytest
import torch
from nondeterministic import Forbidding

import models
from cameras.feed import Photographs
from cameras.patches import Patches, Places, patches_of
from forensics.joint import loss_fan, loss_nip
from forensics.memory import META, _photograph
from forensics.metering import Meter
from forensics.training import build_model, training_step
from forensics.trial import Distribution, Training, Trial
from forensics.validation import ValidationSet, tally
from models.nip import move
from models.pretrain import Pretraining, pretraining_step

PAPER = ("sharpen", "gaussian", "jpeg:80", "resample")
ALL = ("sharpen:0.5-2", "gaussian:0.5-3", "jpeg:30-90", "resample:1.5-3", "awgn", "gamma:2-3", "median:3-5")
CHANNELS = [Distribution(), Distribution(rounding="soft", subsampling="4:2:0"), Distribution(3, "none")]
PATCH = 24


def batch(count: int = 2) -> Patches:
    return Patches(torch.empty(count, 4, PATCH, PATCH, device=META), torch.empty(count, 3, 48, 48, device=META))


def places(count: int) -> Places:
    return Places(*(torch.zeros(count, dtype=torch.int64, device=META) for _ in range(3)))


def steps() -> list[object]:
    """Every NIP and mode behind the paper's channel, and one NIP behind all others, with all manipulations."""
    of = itertools.product(models.NIPS, [0.1, "fixed"], ["float32", "bfloat16"], [PAPER], CHANNELS[:1])
    others = itertools.product(["INet"], [0.1], ["float32"], [ALL], CHANNELS)
    return [
        Trial(
            "",
            isp,
            lam,
            manipulations=manipulations,
            channel=channel,  # type: ignore[arg-type]
            training=Training(batch=2, patch=PATCH, precision=precision),
        )
        for isp, lam, precision, manipulations, channel in (*of, *others)
    ]


@pytest.mark.parametrize(
    "trial", steps(), ids=lambda trial: f"{trial.isp} {trial.lam} {trial.training.precision} {trial.channel.codec}"
)
def test_a_step_waits_for_nothing_and_repeats_to_the_bit(trial: Trial) -> None:
    model = build_model(trial, models.build(trial.isp))
    move(model, META, trial.training.precision)
    adam = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with Meter(refuse_reads=True) as meter, Forbidding():
        losses = training_step(model, batch(), trial, torch.Generator())
    assert losses.shape == (3,)
    assert losses.dtype == torch.float32
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in adam)
    assert bool(trial.joint) == any(parameter.requires_grad for parameter in model.nip.parameters())
    assert meter.dense.flop > 0


@pytest.mark.parametrize("isp", list(models.NIPS))
def test_a_validation_waits_once_at_its_end(isp: str) -> None:
    trial = Trial("", isp, "fixed", manipulations=ALL, training=Training(batch=2, patch=PATCH))
    model = build_model(trial, models.build(isp))
    move(model, META, "float32")
    photograph = _photograph(PATCH)
    with Meter(refuse_reads=True):
        counts, fidelity = tally(
            model, Photographs(photograph, META, photograph), ValidationSet(places(4), places(2), PATCH), 2
        )
    assert counts.shape == (8, 8)
    assert fidelity.shape == (4,)


@pytest.mark.parametrize("isp", list(models.NIPS))
@pytest.mark.parametrize(("precision", "loss"), [("float32", "L2"), ("bfloat16", "L1"), ("float32", "MS-SSIM")])
def test_a_step_of_pretraining(isp: str, precision: str, loss: str) -> None:
    nip = models.build(isp)
    move(nip, META, precision)
    nip.freeze_statistics(False).train()
    with Meter(refuse_reads=True), Forbidding():
        pretraining_step(nip, batch(), Pretraining(precision=precision, loss=loss))  # type: ignore[arg-type]


@pytest.mark.parametrize("isp", ["UNet", "DNet"])
def test_bfloat16_is_for_convolutions_alone_and_channels_come_last(isp: str) -> None:
    trial = Trial("", isp, 0.1, training=Training(batch=2, patch=PATCH, precision="bfloat16"))
    model = build_model(trial, models.build(isp))
    move(model, META, "bfloat16")
    seen: list[torch.dtype] = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.in_channels > 12 and layer.kernel_size != (1, 1):
            assert layer.weight.is_contiguous(memory_format=torch.channels_last)
            layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    logits, developed = model(batch().bayer, torch.Generator())
    assert seen
    assert set(seen) == {torch.bfloat16}
    assert logits.dtype == developed.dtype == torch.float32


def test_reads_and_atomic_sums_would_be_noticed() -> None:
    x = torch.empty(1, 1, 4, 4, device=META, requires_grad=True)
    with pytest.raises(AssertionError), Forbidding():
        torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect").sum().backward()


def test_operators_and_traffic_outside_the_networks() -> None:
    """The paper's setting, batch 20 of RAW 128: sampling, manipulations, channel and losses, forward and backward.

    Before: 199 operators and 5.4 GB. Goal: 80 and 2.5 GB. Tables that are built once for all steps do not count.
    """
    trial = Trial("", "INet", 0.1)
    model = build_model(trial, models.build("INet"))
    move(model, META, "float32")
    bayer = torch.empty(20, 128, 128, 4, dtype=torch.int16, device=META)
    target = torch.empty(20, 256, 256, 3, dtype=torch.uint8, device=META)
    developed = torch.empty(20, 3, 256, 256, device=META, requires_grad=True)
    logits = torch.empty(100, 5, device=META, requires_grad=True)
    for _ in range(2):
        developed.grad = logits.grad = None
        with Meter(refuse_reads=True) as meter:
            received = model.channel(model.manipulations(developed))
            received.backward(torch.empty_like(received))
            developed.grad = None  # added to that of the loss in the graph of a step
            (loss_fan(logits) + 0.1 * loss_nip(developed, patches_of(bayer, target).target)).backward()
    assert meter.cost.operators <= 80
    assert meter.cost.bytes <= 2.5e9
    print(f"{meter.cost.operators} operators, {meter.cost.bytes / 1e9:.2f} GB; products: {meter.dense.operators}")
