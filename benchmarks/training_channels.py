"""what training channels cost: a step behind a mixture of codecs against one behind the paper's channel

UNet, RAW patches of 64 (photographs of 128 px), 20 a batch. A batch meets one codec of a mixture: the step time of a
mixture is the mean of those behind its codecs, weighted as it says, with qualities in the middle of their ranges; all
are timed in turn with the paper's. Mixtures round straight-through and store 8 bits. Codecs that learn add their loss
and its gradients. Codecs compress 100 photographs of 128 px.
"""

import statistics
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.joint_step import LAMBDA, Joint, build
from benchmarks.rows import Row, is_installed
from benchmarks.timing import Times, Work, interleaved
from channel import CODECS, Channel, encode
from channel.learned import Autoencoder
from channel.mixture import Mixture
from forensics.joint import loss_fan, loss_nip
from models.nip import move
from models.precision import in_bfloat16

MIXTURES = (
    "jpeg:30-95",
    "0.7 jpeg:30-95 + 0.2 webp:50-80 + 0.1 none",
    "0.6 jpeg:30-95 + 0.1 libjpeg:30-95 + 0.15 webp:50-80 + 0.05 avif:40-60 + 0.1 none",
)
LEARNING = ("learned_jpeg:50", "learned:32")
QUALITIES = {"jpeg2000": 35}  # of the codecs alone; of others 50
PAPER = "paper"


def rows(tiny: bool = False) -> Iterator[Row]:
    device = torch.device("cpu")
    batch, patch, rounds = (2, 16, 1) if tiny else (20, 64, 5)
    pillow = is_installed("PIL")
    for precision in ("float32", "bfloat16"):
        if precision == "float32" or in_bfloat16(device, precision):
            yield from _steps(build("UNet", precision, patch, batch, device), precision, rounds, pillow)
    yield from _codecs(4 if tiny else 100, 32 if tiny else 128, rounds, pillow)


def _steps(joint: Joint, precision: str, rounds: int, pillow: bool) -> Iterator[Row]:
    terms = {middle(str(term)) for mixture in MIXTURES for term in Mixture.parse(mixture).terms}
    real = ("libjpeg", "webp", "avif")
    works = {text: behind(joint, robust(text)) for text in sorted(terms) if pillow or not text.startswith(real)}
    works["jpeg:62 lanczos"] = behind(joint, robust("jpeg:62", kernel="lanczos"))
    works |= {text: behind(joint, learning(text, precision)) for text in LEARNING}
    works[PAPER] = behind(joint, Channel())
    times = interleaved(works, rounds)
    yield Row(f"step behind the paper's channel, {precision}", times[PAPER], "ms")
    for name in works:
        if name != PAPER:
            yield Row(
                f"step behind {name}, {precision}", times[name], "ms", PAPER, times[PAPER], times.ratio(PAPER, name)
            )
    for mixture in MIXTURES:
        shares = {middle(str(term)): float(term.share) for term in Mixture.parse(mixture).terms}
        if set(shares) <= set(works):
            longer = _weighted(times, shares)
            figures = {"× the step of the paper": longer}
            yield Row(f"step behind {mixture}, {precision}", longer * times[PAPER], "ms", figures=figures)


def _weighted(times: Times, shares: dict[str, float]) -> float:
    """How many times longer than the paper's: the median over rounds."""
    each = [[share * time for time in times.rounds[name]] for name, share in shares.items()]
    sums = [sum(values) for values in zip(*each, strict=True)]
    return statistics.median(a / b for a, b in zip(sums, times.rounds[PAPER], strict=True))


def middle(term: str) -> str:
    """The term with the quality in the middle of its range."""
    name, _, qualities = term.partition(":")
    ends = [int(quality) for quality in qualities.split("-") if quality]
    return f"{name}:{sum(ends) // len(ends)}" if ends else name


def robust(codec: str, kernel: str = "mean") -> Channel:
    return Channel(2, codec, "straight-through", kernel=kernel, storage="8-bit")


def learning(codec: str, precision: str) -> Channel:
    channel = Channel(codec=codec)
    if channel.learned is None:
        channel.use(Autoencoder(channel.mixture.terms[0].qualities[0]))
    move(channel, "cpu", precision)
    return channel


def behind(joint: Joint, channel: Channel) -> Work:
    """A step of the optimiser behind a channel."""
    generator = torch.Generator().manual_seed(0)

    def loss() -> Tensor:
        joint.model.channel = channel
        logits, developed = joint.model(joint.batch.bayer, generator)
        return loss_fan(logits) + LAMBDA * loss_nip(developed, joint.batch.target) + channel.aux_loss()

    return lambda: joint.step(loss)


def _codecs(count: int, size: int, rounds: int, pillow: bool) -> Iterator[Row]:
    images = _photographs(count, size)
    floats = (images / 255).requires_grad_()
    both_ways = {
        f"dJPEG {rounding}": Channel(1, "jpeg:50", rounding) for rounding in ("sin", "soft", "straight-through")
    }
    works: dict[str, Work] = {
        f"{name}, {count} patches of {size} px, both ways": lambda channel=channel: torch.autograd.grad(
            channel(floats).sum(), floats
        )
        for name, channel in both_ways.items()
    }
    if pillow:
        for name, codec in CODECS.items():
            if codec.encode:
                text = f"{name}:{QUALITIES.get(name, 50)}"
                works[f"{text}, {count} patches of {size} px"] = lambda text=text: encode(images, text)
    times = interleaved(works, rounds)
    for name in works:
        yield Row(name, times[name], "ms")


def _photographs(count: int, size: int) -> Tensor:
    """Windows (count, 3, size, size) uint8 of smooth noise: as easy to compress as photographs, and no file is read."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(count, 3, size // 8 + 1, size // 8 + 1, generator=generator)
    smooth = torch.nn.functional.interpolate(noise, size=size, mode="bicubic")
    grain = torch.rand(count, 3, size, size, generator=generator)
    return (255 * (0.9 * smooth + 0.1 * grain)).clamp(0, 255).byte()
