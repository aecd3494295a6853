"""The verdict of real encoders: against files on a disk, and what it must not depend on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_trials import small_trial

import models
from cameras.pairs import Pairs
from channel import Manipulations
from forensics import FAN
from forensics import panel as panels
from forensics.fan import build
from forensics.panel import CODECS_OF_THE_WORLD, Panel, judge
from forensics.trial import Distribution, Split, Training, Trial
from models.nip import NIP

ENDINGS = {"jpeg": "jpg", "webp": "webp", "avif": "avif"}
SMALL = Panel(codecs=("jpeg:50", "webp:50"), windows=6)


@pytest.fixture
def fan(pairs: Pairs, nip: NIP) -> FAN:
    return undecided(small_trial("fixed"), pairs, nip)


@torch.no_grad()
def undecided(trial: Trial, pairs: Pairs, nip: NIP) -> FAN:
    """A FAN that decides for every class now and then."""
    fan = FAN(1 + len(trial.manipulations), generator=torch.Generator().manual_seed(3))
    developed = nip.eval()(torch.cat([pairs.image(i)[0][..., :16, :16] for i in range(len(pairs))]))
    logits = fan(trial.channel.build()(Manipulations(trial.manipulations)(developed)))
    fan.decision.bias -= logits.mean(dim=0)
    return fan


# --- The independent script ---


def by_files(trial: Trial, pairs: Pairs, folder: Path, panel: Panel, on_test: bool) -> dict[str, np.ndarray]:
    """Counts (classes, classes) by member of the panel: networks out of files, pictures as files, Pillow and NumPy."""
    nip: Any = models.load(folder / "nip.safetensors").eval()
    fan: Any = models.load(folder / "fan.safetensors", build=build)
    k, side = trial.channel.downsample, 2 * trial.training.patch // trial.channel.downsample
    counts = {codec: np.zeros((5, 5)) for codec in panel.codecs}
    generator = torch.Generator().manual_seed(panel.seed)
    for i in trial.split.images(pairs.names)[2 if on_test else 1].tolist():
        Image.fromarray(pixels(nip(pairs.image(i)[0]))).save(folder / "native.png")
        native = torch.from_numpy(np.array(Image.open(folder / "native.png"))).movedim(-1, 0)[None] / 255
        for name, image in zip("abcde", Manipulations(trial.manipulations)(native).split(1), strict=True):
            Image.fromarray(pixels(image)).save(folder / f"{name}.png")
        Image.open(folder / "native.png").save(folder / "d.jpg", quality=80, subsampling="4:4:4")
        Image.open(folder / "d.jpg").save(folder / "d.png")
        h, w = (size // k for size in native.shape[-2:])
        tops, lefts = (torch.randint(size - side + 1, (panel.windows,), generator=generator) for size in (h, w))
        for true, name in enumerate("abcde"):
            large = np.array(Image.open(folder / f"{name}.png"))[: h * k, : w * k].astype(float)
            shrunk = Image.fromarray(np.rint(large.reshape(h, k, w, k, 3).mean(axis=(1, 3))).astype(np.uint8))
            for codec in panel.codecs:
                encoder, quality, *subsampling = codec.split(":", 2)
                sampled = {"subsampling": subsampling[0] if subsampling else "4:4:4"} if encoder == "jpeg" else {}
                threads = {"max_threads": 2} if encoder == "avif" else {}
                path = folder / f"received.{ENDINGS[encoder]}"
                shrunk.save(path, quality=int(quality), **sampled, **threads)
                received = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).movedim(-1, 0) / 255
                for top, left in zip(tops, lefts, strict=True):
                    decided = fan(received[None, :, top : top + side, left : left + side]).argmax()
                    counts[codec][true, decided] += 1
    return counts


def pixels(photograph: torch.Tensor) -> np.ndarray:
    return np.rint(255 * photograph[0].movedim(0, -1).numpy()).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("on_test", [False, True])
@torch.no_grad()
def test_the_panel_is_what_files_on_a_disk_give(on_test: bool, pairs: Pairs, nip: NIP, tmp_path: Path) -> None:
    trial = small_trial(0.1, split=Split(1, 2, 1))
    fan = undecided(trial, pairs, nip)
    models.save(tmp_path / "nip.safetensors", nip)
    models.save(tmp_path / "fan.safetensors", fan)
    panel = Panel(windows=7, seed=2)
    verdict = judge(trial, pairs, nip, fan, panel, on_test=on_test)
    slow = by_files(trial, pairs, tmp_path, panel, on_test)
    assert list(verdict.counts) == list(CODECS_OF_THE_WORLD) == list(slow)
    assert verdict.classes == ("native", "sharpen", "gaussian", "jpeg", "resample")
    assert (verdict.photographs, verdict.windows) == (1 if on_test else 2, 7)
    for codec, counts in slow.items():
        assert np.array_equal(verdict.counts[codec].numpy(), counts), codec
        assert counts.sum(axis=1).tolist() == [7 * verdict.photographs] * 5
        assert verdict.accuracy(codec) == pytest.approx((np.diag(counts) / counts.sum(axis=1)).mean())
    assert len({str(counts) for counts in slow.values()}) > 4, "members differ, or the test shows little"
    accuracies = [verdict.accuracy(codec) for codec in slow]
    assert verdict.accuracy() == pytest.approx(np.mean(accuracies))
    assert verdict.accuracy(verdict.worst) == min(accuracies)
    assert verdict.confusion().sum(dim=1).tolist() == pytest.approx([1] * 5)


# --- What photographs and windows are ---


def received_by(monkeypatch: pytest.MonkeyPatch, trial: Trial, pairs: Pairs, nip: NIP, panel: Panel) -> list[Any]:
    """All that is encoded: (codec, pixels) in order."""
    seen: list[Any] = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def note(images: torch.Tensor, codec: str) -> Any:
            seen.append((codec, images.clone()))
            return function(images, codec)

        return note

    with monkeypatch.context() as patch:
        for name in ("encode", "through_files"):
            patch.setattr(panels, name, noting(getattr(panels, name)))
        judge(trial, pairs, nip, FAN(1 + len(trial.manipulations)), panel)
    return seen


def test_all_members_and_classes_have_the_same_windows(monkeypatch: pytest.MonkeyPatch, pairs: Pairs, nip: NIP) -> None:
    drawn: list[Any] = []
    cut = panels.cut
    monkeypatch.setattr(
        panels, "cut", lambda images, windows, side: drawn.append(windows) or cut(images, windows, side)
    )
    for manipulations in (("gaussian",), ("awgn", "gaussian:1-2")):  # whatever else is drawn
        judge(
            small_trial(0.1, split=Split(1, 2), manipulations=manipulations),
            pairs,
            nip,
            FAN(1 + len(manipulations)),
            SMALL,
        )
    one, other = drawn[:4], drawn[4:]
    assert one == other
    assert one[0] == one[1] != one[2] == one[3], "the same for both members, others for another photograph"
    places = judge_windows(Panel(windows=400))
    assert min(places) == (0, 0) or {top for top, _ in places} == set(range(33)), "anywhere, the last row included"
    assert {left % 8 for _, left in places} == set(range(8)), "not on a lattice"
    assert judge_windows(SMALL) == judge_windows(SMALL) != judge_windows(replace(SMALL, seed=1))


def judge_windows(panel: Panel) -> list[tuple[int, int]]:
    return panels.draw_windows(48, 64, 16, panel.windows, torch.Generator().manual_seed(panel.seed))


def test_strengths_and_noise_are_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch, pairs: Pairs, nip: NIP) -> None:
    trial = small_trial(0.1, manipulations=("awgn", "jpeg:30-90"), split=Split(1, 2))
    first, again, other = (received_by(monkeypatch, trial, pairs, nip, replace(SMALL, seed=seed)) for seed in (0, 0, 1))
    assert [codec for codec, _ in first] == [codec for codec, _ in again]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(first, again, strict=True))
    made = [codec for codec, _ in first if codec not in SMALL.codecs]
    assert len(made) == 2, "libjpeg makes the class jpeg, once a photograph"
    assert all(30 <= int(codec.removeprefix("jpeg:")) <= 90 for codec in made)
    assert [codec for codec, _ in first] != [codec for codec, _ in other]
    photograph = first[1][1]  # shrunk: native, awgn, jpeg
    assert not torch.equal(photograph[0], photograph[1])


@torch.no_grad()
def test_the_middle_of_a_photograph_is_as_in_the_whole(monkeypatch: pytest.MonkeyPatch, pairs: Pairs) -> None:
    nip = models.build("UNet", generator=torch.Generator().manual_seed(0), cfa=pairs.cfa)
    trial = small_trial(0.1, isp="UNet", split=Split(1, 1), channel=Distribution(downsample=1))
    whole, part = (
        [
            images
            for codec, images in received_by(monkeypatch, trial, pairs, nip, replace(SMALL, megapixels=size))
            if codec == "webp:50"
        ]
        for size in (None, 0.005)
    )
    assert whole[0].shape[-2:] == (96, 128)
    h, w = part[0].shape[-2:]
    assert h * w <= 5000 < (h + 4) * (w + 4)
    assert abs(w / h - 128 / 96) < 0.05
    top, left = (96 - h) // 4 * 2, (128 - w) // 4 * 2
    assert torch.equal(part[0][0], whole[0][0, :, top : top + h, left : left + w])
    assert panels.middle(48, 64, 1e-6, 16) == (16, 24, 16, 16), "a window must fit"
    assert panels.middle(48, 64, 7.0, 16) == (0, 0, 48, 64)


@pytest.mark.parametrize("photographs", [None, 1, 9])
def test_the_first_photographs_of_the_split(photographs: int | None, pairs: Pairs, nip: NIP, fan: FAN) -> None:
    trial, panel = small_trial(0.1, split=Split(1, 2)), replace(SMALL, photographs=photographs)
    steps: list[int] = []
    verdict = judge(trial, pairs, nip, fan, panel, on_progress=steps.append)
    count = 1 if photographs == 1 else 2
    assert verdict.photographs == panel.count(2) == count
    assert steps == list(range(1, 2 * count + 1))
    _, validation, _ = trial.split.images(pairs.names)
    assert panel.images(trial, pairs.names, False) == validation[:count].tolist()


def test_nothing_but_the_judged_stacks_is_read(pairs: Pairs, nip: NIP, fan: FAN) -> None:
    trial = small_trial(0.1, split=Split(1, 2, 1))
    for on_test in (False, True):
        judged = SMALL.images(trial, pairs.names, on_test)
        bayer = torch.zeros_like(pairs.bayer)
        for i in judged:
            cells = slice(int(pairs.offset[i]), int(pairs.offset[i] + pairs.height[i] * pairs.width[i]))
            bayer[cells] = pairs.bayer[cells]
        alone = replace(pairs, bayer=bayer, target=torch.zeros(0, 3, dtype=torch.uint8))
        one, other = (judge(trial, given, nip, fan, SMALL, on_test=on_test) for given in (pairs, alone))
        assert all(torch.equal(one.counts[codec], other.counts[codec]) for codec in SMALL.codecs)


@pytest.mark.parametrize(
    ("channel", "factor", "side", "size"),
    [
        (Distribution(), 2, 16, (48, 64)),
        (Distribution(downsample=1.5, kernel="bicubic"), 1.5, 21, (64, 85)),
        (Distribution(downsample="1-2", kernel="lanczos"), 1.5, 21, (64, 85)),
        (Distribution(downsample="1-2"), 1, 32, (96, 128)),
    ],
)
def test_shrunk_as_the_trial_does(
    channel: Distribution, factor: float, side: int, size: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch, pairs: Pairs, nip: NIP,
) -> None:  # fmt: skip
    trial = small_trial(0.1, split=Split(1, 1), channel=channel)
    assert (panels.factor(channel), panels.window_side(trial)) == (factor, side)
    windowed = replace(trial, training=replace(trial.training, window=16))
    assert panels.window_side(windowed) == 16
    encoded = received_by(monkeypatch, trial, pairs, nip, SMALL)
    native, shrunk = encoded[0][1], encoded[1][1]
    assert shrunk.shape[-2:] == size
    if channel.kernel != "mean":
        image = Image.fromarray(native[0].movedim(0, -1).numpy())
        filters = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
        by_pillow = np.array(image.resize((size[1], size[0]), filters[channel.kernel])).astype(int)
        # Pillow rounds between rows and columns as well.
        assert np.abs(shrunk[0].movedim(0, -1).numpy() - by_pillow).max() <= 1


def test_unseen_members() -> None:
    panel = Panel()
    assert panels.unseen(small_trial(0.1), panel) == [codec for codec in panel.codecs if codec != "jpeg:50"]
    robust = small_trial(0.1, channel=Distribution(codec="jpeg:30-95 + webp:80"))
    assert panels.unseen(robust, panel) == ["jpeg:50:4:2:0", "webp:50", "avif:50"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codecs": ("png:50",)}, "unknown codec 'png:50'"),
        ({"codecs": ()}, "evaluation.codecs = .* at least one encoder"),
        ({"codecs": ("jpeg:50", "jpeg:50:4:4:4")}, "evaluation.codecs = .* each once"),
        ({"photographs": 0}, "evaluation.photographs = 0"),
        ({"megapixels": 0.0}, "evaluation.megapixels = 0"),
        ({"windows": 0}, "evaluation.windows = 0"),
    ],
)
def test_impossible_panels(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Panel(**settings)


def test_a_photograph_that_is_too_small_is_named(pairs: Pairs, nip: NIP, fan: FAN) -> None:
    trial = small_trial(0.1, training=Training(patch=64), split=Split(1, 1))
    with pytest.raises(ValueError, match="48×64 px is smaller than the 64 px"):
        judge(trial, pairs, nip, fan, SMALL)
