"""A codec that learns in a joint training: its loss, its weights, its files."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_trials import small_trial, validation_patches

import models
from cameras.pairs import Pairs
from cameras.patches import Patches
from channel.codecs import build
from channel.codecs.learning import LearningCodec
from channel.learned import Autoencoder
from forensics import panel as panels
from forensics.joint import loss_fan, loss_nip
from forensics.memory import trial_memory
from forensics.metering import Meter
from forensics.panel import OWN, Panel, judge
from forensics.training import Outcome, build_model, train, training_step
from forensics.trial import Distribution, Training, Trial
from models.checkpoint import CheckpointError
from models.nip import move

LEARNS = Training(iterations=6, batch=2, patch=16, learning_rate=1e-3, codec_lambda=0.01)
CODECS = ("learned_jpeg:50", "learned:16")


def trial_behind(codec: str, lam: float | str = "fixed", training: Training = LEARNS, **settings: Any) -> Trial:
    return small_trial(lam, training=training, channel=Distribution(codec=codec, **settings))


def pretrained(codec: str) -> LearningCodec | None:
    """An autoencoder with random weights stands for a pre-trained one."""
    return Autoencoder(16, 8, torch.Generator().manual_seed(1)) if codec == "learned:16" else None


def trained(
    codec: str, pairs: Pairs, nip: models.NIP, training: Training = LEARNS, lam: float | str = "fixed"
) -> Outcome:
    return train(trial_behind(codec, lam, training), pairs, nip, codec=pretrained(codec))


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def batch_of(trial: Trial, pairs: Pairs) -> Patches:
    return validation_patches(trial, pairs, torch.tensor([0, 1]))[1]


@pytest.mark.parametrize("lam", (0.1, "fixed"))
@pytest.mark.parametrize("codec", CODECS)
def test_the_loss_is_that_of_both_networks_and_of_the_codec(
    pairs: Pairs, nip: models.NIP, codec: str, lam: float | str
) -> None:
    """By hand: the codec's output is caught, and its distortion and rate are added up from it."""
    trial = trial_behind(codec, lam, rate_weight=40.0)
    model = build_model(trial, nip, pretrained(codec))
    learned = model.channel.learned
    assert learned is not None
    passed: list[Any] = []
    learned.register_forward_hook(lambda module, inputs, output: passed.append((inputs[0], output, module.rate())))
    batch = batch_of(trial, pairs)
    losses = training_step(model, batch, trial, torch.Generator())
    gradients = {name: parameter.grad for name, parameter in learned.named_parameters()}

    (entered, left, rate) = passed[0]
    l_codec = 65025 * ((left - entered) ** 2).mean() + 40 * rate
    logits, developed = model(batch.bayer)
    loss = loss_fan(logits) + 0.01 * l_codec + (0.1 * loss_nip(developed, batch.target) if lam != "fixed" else 0)
    assert losses.tolist()[0] == pytest.approx(loss.item(), rel=1e-5)
    assert losses.tolist()[3] == pytest.approx(l_codec.item(), rel=1e-5)
    without = {name for name, gradient in gradients.items() if gradient is None or not gradient.abs().sum()}
    assert all(".first." in name for name in without), "all learn but what residual blocks, at first, do not use"


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_learns_only_where_it_has_a_weight(pairs: Pairs, nip: models.NIP, codec: str) -> None:
    start = trial_behind(codec).channel.build().learned or pretrained(codec)
    assert start is not None
    still = trained(codec, pairs, nip, replace(LEARNS, codec_lambda=None))
    moved = trained(codec, pairs, nip)
    assert still.codec is not None and moved.codec is not None
    assert same(start, still.codec) and not same(start, moved.codec)
    assert "loss_codec" in moved.history[2] and "loss_codec" not in still.history[2]
    assert moved.history[6]["loss_codec"] != moved.history[2]["loss_codec"]


@pytest.mark.parametrize("codec", CODECS)
def test_a_rate_of_its_own_moves_the_codec_alone(pairs: Pairs, nip: models.NIP, codec: str) -> None:
    common = trained(codec, pairs, nip, lam=0.1)
    equal = trained(codec, pairs, nip, replace(LEARNS, codec_learning_rate=LEARNS.learning_rate), lam=0.1)
    assert equal.history == common.history
    once = replace(LEARNS, iterations=1)
    slow, quick = (
        trained(codec, pairs, nip, replace(once, codec_learning_rate=rate), lam=0.1) for rate in (1e-9, 1e-2)
    )
    assert same(slow.fan, quick.fan) and same(slow.nip, quick.nip)
    assert slow.codec is not None and quick.codec is not None and not same(slow.codec, quick.codec)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("average", (None, 0.5))
def test_resumed_is_bit_identical(
    pairs: Pairs, nip: models.NIP, codec: str, average: float | None, tmp_path: Path
) -> None:
    trial = trial_behind(codec, 0.1, replace(LEARNS, average=average))
    path = tmp_path / "checkpoint"
    whole = train(trial, pairs, nip, codec=pretrained(codec), on_checkpoint=lambda step, write: write(path))
    assert path.exists()
    again = train(trial, pairs, nip, codec=pretrained(codec), resume=path)
    assert again.history == whole.history
    assert again.codec is not None and whole.codec is not None and same(again.codec, whole.codec)
    with pytest.raises(CheckpointError):
        train(replace(trial, training=LEARNS, seed=1), pairs, nip, codec=pretrained(codec), resume=path)


def test_a_mixture_charges_only_the_batches_of_the_codec_that_learns(pairs: Pairs, nip: models.NIP) -> None:
    trial = trial_behind("learned_jpeg:50 + none")
    model = build_model(trial, nip)
    draws = torch.Generator().manual_seed(0)
    seen = {}
    for _ in range(12):
        losses = training_step(model, batch_of(trial, pairs), trial, draws)
        seen[model.channel._term] = losses[3].item()
    assert seen.keys() == {0, 1} and seen[0] > 0 and seen[1] == 0


def test_a_pretrained_codec_is_asked_for(pairs: Pairs, nip: models.NIP) -> None:
    with pytest.raises(ValueError, match="learned:16 has to be pre-trained"):
        train(trial_behind("learned:16"), pairs, nip)
    with pytest.raises(ValueError, match="no place for the codec learned:32"):
        train(trial_behind("learned:16"), pairs, nip, codec=Autoencoder(32, 8))
    with pytest.raises(ValueError, match=r"training.codec_lambda = 0.01 is impossible: .* no weights"):
        trial_behind("jpeg:50")


@pytest.mark.parametrize("codec", CODECS)
def test_on_a_gpu_no_step_would_wait_for_the_codec(codec: str) -> None:
    meta = torch.device("meta")
    trial = trial_behind(codec, 0.1)
    model = build_model(trial, models.build(trial.isp), pretrained(codec))
    move(model, meta, "float32")
    batch = Patches(torch.empty(2, 4, 16, 16, device=meta), torch.empty(2, 3, 32, 32, device=meta))
    with Meter(refuse_reads=True):
        assert training_step(model, batch, trial, torch.Generator()).shape == (4,)
    behind_jpeg = trial_memory(trial_behind("jpeg:50", training=replace(LEARNS, codec_lambda=None)))
    learning = trial_memory(trial_behind(codec))
    assert learning.gradients_and_activations > behind_jpeg.gradients_and_activations
    assert learning.optimiser > behind_jpeg.optimiser


# --- Real files ---


PANEL = Panel(codecs=(OWN,), windows=4, photographs=1)


@pytest.mark.parametrize("codec", ("jpeg:50", "jpeg:50:4:2:0", "webp:60", "learned_jpeg:50", "learned:16"))
def test_own_is_what_the_files_of_the_channel_hold(
    pairs: Pairs, nip: models.NIP, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trial_behind(codec, training=replace(LEARNS, codec_lambda=None))
    outcome = train(trial, pairs, nip, codec=pretrained(codec))
    received: list[torch.Tensor] = []
    cut = panels.cut
    monkeypatch.setattr(panels, "cut", lambda images, *rest: (received.append(images), cut(images, *rest))[1])
    stored: list[torch.Tensor] = []
    shrink = panels.shrunk_to_8_bits
    monkeypatch.setattr(panels, "shrunk_to_8_bits", lambda *rest: (stored.append(shrink(*rest)), stored[-1])[1])
    verdict = judge(trial, pairs, outcome.nip, outcome.fan, PANEL, codec=outcome.codec)
    assert list(verdict.counts) == [OWN]

    for entered, left in zip(stored, received[0], strict=True):
        data, pixels = by_hand(codec, outcome.codec, entered[0])
        assert torch.equal(left, pixels)
    data, pixels = by_hand(codec, outcome.codec, stored[0][0])
    height, width = stored[0].shape[-2:]
    assert verdict.bits[OWN] == pytest.approx(8 * len(data) / (height * width))
    error = ((pixels.double() - stored[0][0].double()) ** 2).mean().item()
    assert verdict.psnr[OWN] == pytest.approx(10 * np.log10(255**2 / error))


def by_hand(codec: str, learned: LearningCodec | None, pixels: torch.Tensor) -> tuple[bytes, torch.Tensor]:
    """The file of a picture (3,H,W) uint8, and the pixels in it, by Pillow or by the codec out of a file of its own."""
    if codec == "learned:16":
        assert learned is not None
        data = learned.compress(pixels)
        return data, learned.decompress(data)
    quality, _, subsampling = codec.split(":", 1)[1].partition(":")
    options: dict[str, Any] = {"format": "WEBP"} if codec.startswith("webp") else {"format": "JPEG"}
    if options["format"] == "JPEG":
        options |= {"subsampling": subsampling or "4:4:4", "optimize": codec.startswith("learned")}
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, quality=int(quality), **options)
    decoded = np.array(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
    return file.getvalue(), torch.from_numpy(decoded).permute(2, 0, 1)


def test_own_needs_one_codec(pairs: Pairs, nip: models.NIP) -> None:
    training = replace(LEARNS, codec_lambda=None)
    for codec in ("none", "jpeg:30-90", "jpeg:50 + webp:50"):
        trial = trial_behind(codec, training=training)
        outcome = build_model(trial, nip)
        with pytest.raises(ValueError, match="no codec of its own"):
            judge(trial, pairs, nip, outcome.fan, PANEL)


@pytest.mark.parametrize("codec", CODECS)
def test_weights_come_back_from_a_file(pairs: Pairs, nip: models.NIP, codec: str, tmp_path: Path) -> None:
    outcome = trained(codec, pairs, nip)
    assert outcome.codec is not None
    models.save(tmp_path / "codec.safetensors", outcome.codec)
    again = models.load(tmp_path / "codec.safetensors", build=build)
    assert same(outcome.codec, again) and again.quality == outcome.codec.quality
    picture = torch.randint(256, (3, 40, 48), dtype=torch.uint8)
    assert outcome.codec.compress(picture) == again.compress(picture)
