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


def run(of: Trial, device: str, **options: object) -> Outcome:
    return train(of, noise(), models.build(of.isp), device, **options)  # type: ignore[arg-type]


def same(a: Outcome, b: Outcome) -> bool:
    """Equal to the bit: metrics and all weights."""
    pairs = [(a.nip.state_dict(), b.nip.state_dict()), (a.fan.state_dict(), b.fan.state_dict())]
    return a.history == b.history and all(torch.equal(x[name], y[name]) for x, y in pairs for name in x)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("isp", ISPS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_trial_twice_is_the_same_to_the_bit(device: str, isp: str, precision: str) -> None:
    of = trial(isp, precision)
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
def test_killed_and_resumed_is_the_same_to_the_bit(device: str, tmp_path: Path) -> None:
    of, checkpoint = trial(), tmp_path / "checkpoint"
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
