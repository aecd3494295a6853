"""The real thing on a card, ``pytest -m gpu``: torch, numpy and safetensors suffice. The CPU passes the same tests."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from cameras.pairs import Pairs
from channel.learned import Autoencoder
from forensics.compression import pretraining
from forensics.memory import trial_memory
from forensics.training import Outcome, train
from forensics.trial import Distribution, Split, Training, Trial, Validation
from models.pretrain import Pretraining, pretrain

torch.set_num_threads(1)  # in processes that a test starts, too
CARD = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
)
DEVICES = ["cpu", CARD]
ISPS = [pytest.param(isp, marks=[] if isp == "UNet" else pytest.mark.gpu) for isp in models.NIPS]
LEARNING = ["learned_jpeg:50", "learned:16"]  # codecs of a channel
SIDE = 96  # of a photograph, in Bayer pixels


def noise() -> Pairs:
    """Four photographs of smooth noise and what a plain pipeline makes of them."""
    generator = torch.Generator().manual_seed(7)
    images = []
    for _ in range(4):
        coarse = torch.rand(1, 3, SIDE // 8, SIDE // 8, generator=generator)
        rgb = torch.nn.functional.interpolate(coarse, scale_factor=16, mode="bicubic").clamp(0, 1)[0]
        rgb = (rgb + 0.05 * torch.randn(rgb.shape, generator=generator)).clamp(0, 1)
        planes = rgb[[0, 1, 1, 2]]
        bayer = torch.stack([planes[k, k // 2 :: 2, k % 2 :: 2] for k in range(4)], dim=-1) ** 2.2
        images.append((bayer.numpy(), rgb.permute(1, 2, 0).numpy()))
    return Pairs.from_images(images, "RGGB", np.eye(3, dtype=np.float32), "noise")


def trial(isp: str = "UNet", precision: str = "float32", **changes: object) -> Trial:
    settings: dict = {
        "split": Split(2, 1, 1),
        "manipulations": ("sharpen", "gaussian", "jpeg:80", "resample", "awgn", "median:3", "gamma:2-3"),
        "training": Training(iterations=6, batch=2, patch=16, textured=True, precision=precision),  # type: ignore[arg-type]
        "validation": Validation(every=2, accuracy_patches=3, fidelity_patches=2, textured=False),
        "channel": Distribution(subsampling="4:2:0"),
        "lam": 0.01,
    }
    return Trial("noise", isp, **{**settings, **changes})  # type: ignore[arg-type]


def behind(codec: str, precision: str = "float32") -> Trial:
    """A trial whose channel's codec learns with both networks."""
    training = Training(iterations=6, batch=2, patch=16, textured=True, precision=precision, codec_lambda=0.01)  # type: ignore[arg-type]
    return trial(training=training, channel=Distribution(codec=codec))


def run(of: Trial, device: str, **options: object) -> Outcome:
    """Train a trial. An autoencoder with starting weights stands for a pre-trained codec."""
    codec = Autoencoder(16, width=8) if of.needs_codec else None
    return train(of, noise(), models.build(of.isp), device, codec=codec, **options)  # type: ignore[arg-type]


def same(a: Outcome, b: Outcome) -> bool:
    """Equal to the bit: metrics and all weights."""
    pairs = [(a.nip, b.nip), (a.fan, b.fan), *([(a.codec, b.codec)] if a.codec and b.codec else [])]
    states = [(x.state_dict(), y.state_dict()) for x, y in pairs]
    return a.history == b.history and all(torch.equal(x[name], y[name]) for x, y in states for name in x)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("isp", ISPS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_trial_twice_is_the_same_to_the_bit(device: str, isp: str, precision: str) -> None:
    of = trial(isp, precision)
    assert same(run(of, device), run(of, device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("codec", LEARNING)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_trial_with_its_codec_twice_is_the_same_to_the_bit(device: str, codec: str, precision: str) -> None:
    of = behind(codec, precision)
    assert same(run(of, device), run(of, device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("lam", [0.01, "fixed"])
def test_data_on_the_host_and_on_the_device_give_the_same(device: str, lam: float | str) -> None:
    of = trial(lam=lam)
    assert same(run(of, device, data="host"), run(of, device, data="device"))


def _until_killed(of: Trial, device: str, path: Path) -> None:
    def save_and_die(step: int, write: object) -> None:
        if step == 4:
            write(path)  # type: ignore[operator]
            os.kill(os.getpid(), signal.SIGKILL)

    run(of, device, on_checkpoint=save_and_die)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("codec", ["jpeg:50", *(pytest.param(codec, marks=pytest.mark.gpu) for codec in LEARNING)])
def test_killed_and_resumed_is_the_same_to_the_bit(device: str, codec: str, tmp_path: Path) -> None:
    of, checkpoint = behind(codec) if codec in LEARNING else trial(), tmp_path / "checkpoint"
    process = multiprocessing.get_context("spawn").Process(target=_until_killed, args=(of, device, checkpoint))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert same(run(of, device), run(of, device, resume=checkpoint))


def _alone(of: Trial, device: str, path: Path) -> None:
    models.save(path, run(of, device).nip)


@pytest.mark.parametrize("device", DEVICES)
def test_two_trials_on_one_device_do_not_disturb_each_other(device: str, tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in (0, 1)]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_alone, args=(of, device, tmp_path / str(of.seed))) for of in trials]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    for of in trials:
        alone, beside = run(of, device).nip.state_dict(), models.load(tmp_path / str(of.seed)).state_dict()
        assert all(torch.equal(beside[name], value.cpu()) for name, value in alone.items())


@pytest.mark.parametrize("device", DEVICES)
def test_pretraining_twice_is_the_same_to_the_bit(device: str) -> None:
    settings = Pretraining(patch=16, batch=2, max_iterations=4, check_every=2, validation_patch=32)
    first, second = (
        pretrain(models.build("DNet"), noise(), torch.tensor([0, 1]), torch.tensor([2]), settings, device).nip
        for _ in range(2)
    )
    assert all(torch.equal(first.state_dict()[name], value) for name, value in second.state_dict().items())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pretraining_of_a_codec_twice_is_the_same_to_the_bit(device: str, precision: str) -> None:
    sizes = {"patch": 16, "batch": 2, "iterations": 4, "check_every": 2, "validation_patches": 1}
    settings = pretraining.CodecPretraining(16, 8, precision=precision, **sizes)  # type: ignore[arg-type]
    histories: list[list[dict]] = [[], []]
    first, second = (
        pretraining.pretrain(
            pretraining.starting_codec(settings),
            noise(),
            torch.tensor([0, 1]),
            torch.tensor([2]),
            settings,
            device,
            on_metrics=lambda step, metrics, to=history: to.append(metrics),  # type: ignore[misc]
        ).codec.state_dict()
        for history in histories
    )
    assert histories[0] == histories[1]
    assert all(torch.equal(first[name], value) for name, value in second.items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("codec", LEARNING)
def test_figures_of_the_card_are_those_of_the_cpu_with_a_codec_that_learns(codec: str) -> None:
    of = behind(codec)
    card, cpu = (run(of, device).history[2] for device in ("cuda", "cpu"))
    assert card["psnr"] == pytest.approx(cpu["psnr"], abs=0.05)
    for loss in ("loss_fan", "loss_codec"):
        assert card[loss] == pytest.approx(cpu[loss], rel=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_figures_of_the_card_are_those_of_the_cpu() -> None:
    of = trial("INet")
    card, cpu = (run(of, device).history[2] for device in ("cuda", "cpu"))
    assert card["psnr"] == pytest.approx(cpu["psnr"], abs=0.05)
    assert card["loss_fan"] == pytest.approx(cpu["loss_fan"], rel=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("isp", list(models.NIPS))
def test_memory_is_what_was_counted(isp: str, precision: str) -> None:
    of = trial(isp, precision, training=Training(iterations=2, batch=20, patch=32, precision=precision))  # type: ignore[arg-type]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run(of, "cuda", data="host")
    assert torch.cuda.max_memory_reserved() <= trial_memory(of).total


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_too_little_memory_is_an_error_that_leaves_the_process_sound() -> None:
    big = trial(training=Training(iterations=2, batch=20, patch=48))
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(200e6 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            run(big, "cuda", data="host")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    run(trial(), "cuda")
