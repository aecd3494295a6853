"""The channel: what it does to a batch, what it draws, and what it says about it."""

import copy
import math
from collections import Counter

import pytest
import torch
import yaml
from torch.nn import functional as F

from channel import CODECS, Channel, DifferentiableJPEG, Drawn, could_draw, encode, quantization, shrink
from channel.codecs import Encoder

MIXTURE = "0.7 jpeg:30-95 + 0.2 webp:50-80 + 0.1 none"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- What a batch meets ---


@pytest.mark.parametrize("downsample", (1, 2, 3))
def test_the_channel_averages_and_then_compresses(photographs: torch.Tensor, downsample: int) -> None:
    images = photographs / 255
    expected = DifferentiableJPEG(50, "sin", "4:4:4")(F.avg_pool2d(images, downsample))
    # "sin" is smooth: averages that differ in their last bit stay close; "round" might take another step.
    torch.testing.assert_close(Channel(downsample, "jpeg:50")(images), expected, rtol=0, atol=1e-4)


def test_settings_reach_the_codec(photographs: torch.Tensor) -> None:
    images = photographs / 255
    channel = Channel(1, "jpeg:30", rounding="soft", subsampling="4:2:0")
    assert torch.equal(channel(images), DifferentiableJPEG(30, "soft", "4:2:0")(images))


def test_averaging_is_bilinear_interpolation_at_one_to_two(photographs: torch.Tensor) -> None:
    images = photographs / 255
    bilinear = F.interpolate(images, scale_factor=0.5, mode="bilinear", align_corners=False)
    torch.testing.assert_close(Channel(2, "none")(images), bilinear)


def test_no_codec_and_no_downsampling_changes_nothing(photographs: torch.Tensor) -> None:
    channel = Channel(1, "none")
    assert torch.equal(channel(photographs / 255), photographs / 255)
    developed = torch.rand(1, 3, 8, 8)
    assert channel.store(developed) is developed


@pytest.mark.parametrize("kernel", ("bicubic", "lanczos"))
def test_kernels_that_overshoot_are_clipped(kernel: str) -> None:
    edge = torch.zeros(1, 3, 32, 32)
    edge[..., 16:] = 1
    shrunk = shrink(edge, 1.5, kernel)
    assert shrunk.min() < 0 and shrunk.max() > 1
    torch.testing.assert_close(Channel(1.5, "none", kernel=kernel)(edge), shrunk.clamp(0, 1), rtol=0, atol=0)


def test_eight_bits_are_those_of_files(photographs: torch.Tensor) -> None:
    """By whole numbers: stored, means that end in .5 go to even, compressed by libjpeg itself."""
    images = (photographs + torch.rand(photographs.shape, generator=seeded()) - 0.5) / 255
    channel = Channel(2, "libjpeg:70", rounding="straight-through", storage="8-bit")
    levels = (255 * images).round().clamp(0, 255)
    assert torch.equal(channel.store(images), levels / 255)
    H, W = (size // 2 for size in levels.shape[-2:])
    shrunk = levels.unflatten(-1, (W, 2)).unflatten(-3, (H, 2)).sum(dim=(-1, -3)).div(4).round()
    assert torch.equal(channel(images), encode(shrunk.byte(), "jpeg:70") / 255)
    assert torch.equal(Channel(2, "none", storage="8-bit")(images), shrunk / 255)


def test_eight_bits_pass_gradients_as_floats_do() -> None:
    images = torch.rand(2, 3, 24, 40, generator=seeded(), dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 3, 12, 20, generator=seeded(1), dtype=torch.float64)
    stored, floating = (
        torch.autograd.grad((Channel(2, "none", storage=storage)(images) * weights).sum(), images)[0]
        for storage in ("8-bit", "float")
    )
    torch.testing.assert_close(stored, floating)


# --- What is drawn ---


def test_nothing_is_drawn_where_there_is_one_choice() -> None:
    generator = seeded()
    before = generator.get_state()
    channel, images = Channel(), torch.rand(1, 3, 16, 16)
    assert not channel.random
    assert torch.equal(channel(images, generator), channel(images))
    assert torch.equal(generator.get_state(), before)
    assert channel.draw() == Drawn(2, "jpeg", 50, "4:4:4")


@pytest.mark.parametrize(
    "settings",
    (
        {"codec": "jpeg:30-95"},
        {"codec": "jpeg:50:4:4:4,4:2:0"},
        {"codec": "jpeg:50 + none"},
        {"downsample": "1-2"},
        {"downsample": "2-2.5", "kernel": "lanczos"},
    ),
    ids=str,
)
def test_who_draws_needs_a_generator(settings: dict) -> None:
    channel = Channel(**settings)
    assert channel.random
    with pytest.raises(ValueError, match="pass a generator"):
        channel(torch.rand(1, 3, 16, 16))


def chi_square(counts: Counter, expected: dict) -> float:
    """Per degree of freedom. What is drawn is a choice of these and nothing else."""
    assert set(counts) <= set(expected)
    total = counts.total()
    return sum((counts[key] - total * share) ** 2 / (total * share) for key, share in expected.items()) / (
        len(expected) - 1
    )


def test_each_choice_is_drawn_as_often_as_it_says() -> None:
    channel = Channel("2-4", "6 jpeg:30-49:4:4:4,4:2:0 + 3 webp:50,60 + 1 none", kernel="mean")
    generator = seeded(3)
    drawn = [channel.draw(generator) for _ in range(20_000)]
    jpeg = [choice for choice in drawn if choice.codec == "jpeg"]
    for counts, expected in (
        (Counter(choice.codec for choice in drawn), {"jpeg": 0.6, "webp": 0.3, "none": 0.1}),
        (Counter(choice.factor for choice in drawn), dict.fromkeys((2, 3, 4), 1 / 3)),
        (Counter(choice.quality for choice in jpeg), dict.fromkeys(range(30, 50), 1 / 20)),
        (Counter(choice.subsampling for choice in jpeg), dict.fromkeys(("4:4:4", "4:2:0"), 1 / 2)),
        # and independent of each other:
        (
            Counter((choice.factor, choice.subsampling, choice.quality > 39) for choice in jpeg if choice.quality),
            {(f, s, q): 1 / 12 for f in (2, 3, 4) for s in ("4:4:4", "4:2:0") for q in (False, True)},
        ),
        (
            Counter((choice.codec, choice.factor) for choice in drawn),
            {(c, f): w / 3 for c, w in (("jpeg", 0.6), ("webp", 0.3), ("none", 0.1)) for f in (2, 3, 4)},
        ),
    ):
        # The 99.99 % point of chi² per degree of freedom is 15 with one, and falls.
        limit = 1 + 4 * math.sqrt(2 / (len(expected) - 1)) + 10 / (len(expected) - 1)
        assert chi_square(counts, expected) < limit, counts


def test_factors_of_other_kernels_are_any_numbers() -> None:
    channel, generator = Channel("1.5-4", "none", kernel="bicubic"), seeded()
    factors = torch.tensor([channel.draw(generator).factor for _ in range(4000)])
    assert 1.5 <= factors.min() < 1.51 and 3.99 < factors.max() <= 4
    assert factors.mean().item() == pytest.approx(2.75, abs=4 * 2.5 / math.sqrt(12 * 4000))
    assert channel(torch.rand(1, 3, 64, 64), seeded()).shape[-1] == int(64 / channel.draw(seeded()).factor)


def test_the_same_generator_draws_the_same(photographs: torch.Tensor) -> None:
    images = photographs[:1] / 255
    channel = Channel("2-4", MIXTURE, "straight-through", kernel="lanczos", storage="8-bit")
    first, second = seeded(5), seeded(5)
    for _ in range(8):
        state = first.get_state()
        received = channel(images, first)
        assert torch.equal(channel(images, second), received)
        drawn = channel.draw(torch.Generator().set_state(state))
        assert torch.equal(channel.distribute(images, drawn), received)
        again = copy.deepcopy(channel)  # which has built nothing of its own yet
        again._codecs.clear()
        assert torch.equal(again.distribute(images, drawn), received)


def test_one_batch_meets_one_choice(photographs: torch.Tensor) -> None:
    images = photographs / 255
    channel, expected = Channel(1, "jpeg:30-95"), Channel(1, "jpeg:30-95").draw(seeded(1)).quality
    assert expected is not None
    assert torch.equal(channel(images, seeded(1)), DifferentiableJPEG(expected)(images))


def test_a_codec_is_built_once() -> None:
    channel, images = Channel(1, "jpeg:40,60"), torch.rand(1, 3, 8, 8, requires_grad=True)
    with torch.inference_mode():
        for _ in range(20):
            channel(images, generator := seeded())
            channel(images, generator)
    built = dict(channel._codecs)
    channel(images, seeded()).sum().backward()  # constants from inference mode would be refused here
    assert built == channel._codecs and len(built) <= 2


# --- The schedule ---


def scheduled() -> Channel:
    return Channel(1, "2 jpeg:50 + 1 jpeg:80 + 1 none", schedule="worst-of-recent")


def passes(channel: Channel, losses: tuple[float, ...], generator: torch.Generator, steps: int) -> list[int]:
    """The terms that were met in a training with these losses by term."""
    images, met = torch.rand(1, 3, 8, 8), []
    for _ in range(steps):
        channel(images, generator)
        met.append(channel._term)
        channel.report(torch.tensor(losses[met[-1]]))
    return met


def test_every_second_batch_meets_the_worst() -> None:
    channel = scheduled()
    met = Counter(passes(channel, (0.5, 0.4, 0.9), seeded(), 2000)[50:])
    assert channel.recent.tolist() == pytest.approx([0.5, 0.4, 0.9])
    assert chi_square(met, {0: 0.25, 1: 0.125, 2: 0.625}) < 8
    # It shifts when another one becomes the worst.
    met = Counter(passes(channel, (0.5, 1.5, 0.9), seeded(), 2000)[200:])
    assert chi_square(met, {0: 0.25, 1: 0.625, 2: 0.125}) < 8


def test_what_was_not_met_yet_counts_as_worst_and_means_are_of_about_ten() -> None:
    channel = scheduled()
    channel(torch.rand(1, 3, 8, 8), seeded())
    channel._term = 1
    channel.report(torch.tensor(2.0))
    assert channel.recent.tolist() == [math.inf, 2.0, math.inf]
    assert channel._shares() == pytest.approx([0.25 + 1 / 3, 0.125, 0.125 + 1 / 6])
    channel.report(torch.tensor(1.0, requires_grad=True))
    assert channel.recent[1].item() == pytest.approx(1.9)
    channel.report(torch.tensor(math.nan))  # the training will stop at it, with its own words
    assert sum(channel._shares()) == pytest.approx(1)


def test_validations_draw_by_the_weights() -> None:
    channel = scheduled()
    passes(channel, (0.5, 0.4, 0.9), seeded(), 50)
    with torch.no_grad():
        assert channel._shares() == [0.5, 0.25, 0.25]
    channel.eval()
    assert channel._shares() == [0.5, 0.25, 0.25]
    assert channel.train()._shares() == [0.25, 0.125, 0.625]


def test_a_schedule_resumes_to_the_bit() -> None:
    channel, resumed, generator = scheduled(), scheduled(), seeded(4)
    losses = (0.5, 0.6, 0.55)
    passes(channel, losses, generator, 30)
    resumed.load_state_dict(copy.deepcopy(channel.state_dict()))
    again = torch.Generator().set_state(generator.get_state())
    assert passes(channel, losses, generator, 30) == passes(resumed, losses, again, 30)
    assert torch.equal(channel.recent, resumed.recent)
    assert not Channel(1, MIXTURE).state_dict()


# --- Settings ---


@pytest.mark.parametrize("codec", ("", "jpeg", "jpeg:", "jpeg:x", "jpeg:0", "jpeg:50:4:1:1", "none:1", "png:80"))
def test_unknown_codecs_are_refused_in_one_line(codec: str) -> None:
    with pytest.raises(ValueError, match=r"codec|quality|subsampling") as error:
        Channel(codec=codec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("downsample", (0, -1, 1.5, "", "x", "4-2", "1.5-4", "2-", 0.5, math.nan, math.inf))
def test_impossible_downsampling_is_refused(downsample: float | str) -> None:
    with pytest.raises(ValueError, match="downsample"):
        Channel(downsample)


@pytest.mark.parametrize(
    ("settings", "message"),
    (
        ({"kernel": "box"}, "kernel 'box'.*bicubic"),
        ({"storage": "16-bit"}, "storage '16-bit'.*8-bit"),
        ({"schedule": "worst"}, "schedule 'worst'.*worst-of-recent"),
        ({"schedule": "worst-of-recent"}, "name two or more"),
        ({"rounding": "floor"}, "rounding 'floor'.*straight-through"),
        ({"codec": "webp:50", "rounding": "floor"}, "rounding 'floor'"),
    ),
    ids=str,
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Channel(**settings)


def test_images_smaller_than_one_cell_are_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        Channel(4)(torch.rand(1, 3, 3, 8))


def test_the_shortest_form_of_a_factor() -> None:
    values = [Channel(text, kernel="lanczos").factors.value for text in ("2", 2.0, "2-2", "2.0 - 4.50", "1.5")]
    assert values == [2, 2, 2, "2-4.5", 1.5]


def test_a_study_file_needs_no_quotes() -> None:
    text = f"codec: {MIXTURE}\ndownsample: 1.5-4\nkernel: lanczos\nrounding: straight-through\nstorage: 8-bit\n"
    settings = yaml.safe_load(text + "schedule: worst-of-recent\n")
    assert Channel(**settings).codec == MIXTURE
    sets = yaml.safe_load("codec: jpeg:30,50,70:4:4:4,4:2:0\n")
    assert Channel(**sets).codec == "jpeg:30,50,70:4:4:4,4:2:0"


@pytest.mark.parametrize(
    ("codec", "subsampling", "encoder", "possible"),
    (
        ("jpeg:50", "4:4:4", "jpeg:50", True),
        ("jpeg:50", "4:4:4", "jpeg:51", False),
        ("jpeg:50", "4:4:4", "jpeg:50:4:2:0", False),
        ("jpeg:50", "4:2:0", "jpeg:50:4:2:0", True),
        ("jpeg:50:4:2:0", "4:4:4", "jpeg:50:4:2:0", True),
        ("libjpeg:30-95", "4:4:4", "jpeg:70", True),
        ("libjpeg:30-95", "4:4:4", "jpeg:96", False),
        (MIXTURE, "4:4:4", "webp:80", True),
        (MIXTURE, "4:4:4", "webp:81", False),
        (MIXTURE, "4:2:0", "webp:60", True),
        (MIXTURE, "4:4:4", "avif:50", False),
        ("avif:50 + none", "4:4:4", "avif:50", True),
        ("avif:50 + none", "4:4:4", "avif:50:4:4:4", False),
        ("avif:50:4:4:4,4:2:0", "4:4:4", "avif:50:4:4:4", True),
        ("jpeg:30,50,70", "4:4:4", "jpeg:50", True),
        ("jpeg:30,50,70", "4:4:4", "jpeg:60", False),
        ("none", "4:4:4", "jpeg:50", False),
    ),
)
def test_could_draw(codec: str, subsampling: str, encoder: str, possible: bool) -> None:
    channel = Channel(2, codec, subsampling=subsampling)
    assert could_draw(channel, Encoder.parse(encoder)) == possible


def test_could_draw_is_what_is_drawn() -> None:
    codec = "jpeg:40-42:4:4:4,4:2:0 + libjpeg:44 + avif:45,47:4:4:4 + webp:46"
    channel, generator = Channel(2, codec), seeded()
    drawn = [channel.draw(generator) for _ in range(2000)]
    met = {("jpeg" if d.codec == "libjpeg" else d.codec, d.quality, d.subsampling) for d in drawn}
    possible = {
        (name, quality, subsampling)
        for name, known in CODECS.items()
        for quality in range(1, 101)
        for subsampling in known.subsamplings
        if could_draw(channel, Encoder(name, quality, subsampling))
    }
    assert met == possible


def test_store_and_levels_agree() -> None:
    images = torch.linspace(-0.1, 1.1, 999)
    assert torch.equal(quantization.to_levels(images) / 255, quantization.store(images))
    assert torch.equal(quantization.from_levels(255 * images), quantization.store(images))
