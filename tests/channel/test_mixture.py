"""The text of a training channel's codecs."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as some

from channel import CODECS, distribution, versions
from channel.codecs.trained import LIBJPEG, encoder_name, learns, names
from channel.mixture import Mixture


@pytest.mark.parametrize(
    ("text", "shortest"),
    (
        ("jpeg:50", "jpeg:50"),
        ("jpeg:050", "jpeg:50"),
        ("5 jpeg:50", "jpeg:50"),
        ("jpeg:30-30", "jpeg:30"),
        ("jpeg:70,30,50", "jpeg:30,50,70"),
        ("jpeg:31,30,32", "jpeg:30-32"),
        ("jpeg:50:4:2:0,4:4:4", "jpeg:50:4:4:4,4:2:0"),
        ("jpeg:50:4:4:4", "jpeg:50:4:4:4"),  # the channel's own may be another
        ("avif:50:4:2:0", "avif:50"),
        ("avif:50:4:4:4", "avif:50:4:4:4"),
        ("learned:16:4:4:4", "learned:16"),
        ("learned_jpeg:50:4:4:4", "learned_jpeg:50:4:4:4"),
        ("none", "none"),
        ("jpeg:50+none", "jpeg:50 + none"),
        ("3 jpeg:50 + 3 none", "jpeg:50 + none"),
        ("7 jpeg:30-95 +  2 webp:50-80 + 1   none", "0.7 jpeg:30-95 + 0.2 webp:50-80 + 0.1 none"),
        ("0.7 jpeg:30-95 + 0.2 webp:50-80 + 0.1 none", "0.7 jpeg:30-95 + 0.2 webp:50-80 + 0.1 none"),
        ("70 jpeg:30-95 + 20. webp:50-80 + 10 none", "0.7 jpeg:30-95 + 0.2 webp:50-80 + 0.1 none"),
        ("2 jpeg:50 + 4 none", "1 jpeg:50 + 2 none"),
        (".5 jpeg:50 + 1 none", "1 jpeg:50 + 2 none"),
    ),
)
def test_a_mixture_has_one_shortest_text(text: str, shortest: str) -> None:
    mixture = Mixture.parse(text)
    assert str(mixture) == shortest
    assert Mixture.parse(shortest) == mixture


@pytest.mark.parametrize(
    ("text", "remedy"),
    (
        ("jpeg:50 none", "write jpeg:50"),
        ("jpeg:50 + ", "joined by +"),
        ("-1 jpeg:50", "joined by +"),
        ("50% jpeg:50", "joined by +"),
        ("0.7 jpeg:50 + none", "every term a weight"),
        ("0 jpeg:50 + 1 none", "leave the term out"),
        ("jpg:50", "choose one of jpeg, libjpeg, webp, avif, jpeg2000, learned, learned_jpeg or none"),
        ("jpeg", "write jpeg:50, jpeg:30-95 or jpeg:30,50,70"),
        ("jpeg:95-30", "write jpeg:50"),
        ("jpeg:50,50", "each once"),
        ("jpeg:30-50,70", "write jpeg:50"),
        ("jpeg:0-50", "from 1 to 100"),
        ("webp:101", "from 1 to 100"),
        ("webp:50.5", "whole numbers"),
        ("webp:50:4:4:4", "subsampling of webp is 4:2:0"),
        ("libjpeg:50:4:1:1", "subsampling of libjpeg is 4:4:4 or 4:2:2 or 4:2:0"),
        ("avif:50:4:2:0,4:2:0", "twice"),
        ("learned:17", "write learned:NUMBER, the number 16 or 32 or 64"),
        ("learned:16,32", "learns for one quality and one subsampling"),
        ("learned:16:4:2:0", "subsampling of learned is 4:4:4"),
        ("learned_jpeg:101", "the number 1 to 100"),
        ("learned_jpeg:30-50", "learns for one quality"),
        ("learned_jpeg:50:4:4:4,4:2:0", "and one subsampling"),
        ("jpeg:50 + 50 none", "every term a weight"),
        ("jpeg:50 + none + jpeg:50", "add their weights"),
        ("none:50", "write none"),
        ("", "joined by +"),
    ),
)
def test_errors_name_the_setting_and_the_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match="codec") as error:
        Mixture.parse(text)
    assert remedy in str(error.value) and "\n" not in str(error.value)


QUALITIES = some.one_of(
    some.lists(some.integers(1, 100), min_size=1, max_size=6, unique=True),
    some.tuples(some.integers(1, 100), some.integers(1, 100)).map(lambda ends: list(range(min(ends), max(ends) + 1))),
)


@some.composite
def terms(draw: some.DrawFn) -> tuple[str, tuple[int, ...], tuple[str, ...]]:
    name = draw(some.sampled_from(["none", *names()]))
    if name == "none":
        return name, (), ()
    codec = CODECS[encoder_name(name)]
    if learns(name):
        subsamplings = draw(some.lists(some.sampled_from(codec.subsamplings), max_size=1))
        return name, (draw(some.sampled_from(codec.qualities)),), tuple(subsamplings)
    return name, tuple(draw(QUALITIES)), tuple(draw(some.lists(some.sampled_from(codec.subsamplings), unique=True)))


@given(
    some.lists(terms(), min_size=1, max_size=4),
    some.lists(some.decimals("0.001", 1000, places=3), min_size=4, max_size=4),
    some.sampled_from(["+", " + ", "  +"]),
)
def test_what_is_written_is_what_is_read(chosen: list, weights: list, joined: str) -> None:
    """Whatever the order in sets, the weights and the spaces; and the shortest text is its own shortest text."""
    written = [
        f"{weight} " + ":".join(filter(None, (name, ",".join(map(str, qualities)), ",".join(subsamplings))))
        for weight, (name, qualities, subsamplings) in zip(weights, chosen, strict=False)
    ]
    try:
        mixture = Mixture.parse(joined.join(written))
    except ValueError as error:
        assert "a term twice" in str(error)
        return
    total = sum(map(Fraction, weights[: len(chosen)]))
    for term, weight, (name, qualities, subsamplings) in zip(mixture.terms, weights, chosen, strict=False):
        assert (term.name, term.share, set(term.qualities)) == (name, Fraction(weight) / total, set(qualities))
        default = name not in ("jpeg", LIBJPEG, "learned_jpeg", "none") and CODECS[name].subsamplings[0]
        assert set(term.subsamplings) == (set() if subsamplings == (default,) else set(subsamplings))
        assert list(term.qualities) == sorted(term.qualities)
    assert Mixture.parse(str(mixture)) == mixture
    assert str(Mixture.parse(str(mixture))) == str(mixture)
    assert len(str(mixture)) <= len(joined.join(written)) + 2 * len(chosen)


@given(some.text(alphabet="jpegnowb:0123456789-,.+ ", max_size=30))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        mixture = Mixture.parse(text)
    except ValueError as error:
        assert "codec" in str(error) and "\n" not in str(error)
    else:
        assert Mixture.parse(str(mixture)) == mixture


def test_versions_are_those_of_all_codecs_of_a_mixture() -> None:
    channel = {"channel": distribution.VERSION}
    jpeg, webp, avif = ({f"codec {name}": CODECS[name].version} for name in ("jpeg", "webp", "avif"))
    mixture = "0.7 jpeg:30-95 + 0.2 webp:50-80 + 0.1 none"
    assert versions((), mixture) == channel | jpeg | webp
    assert versions((), "libjpeg:50") == channel | jpeg
    assert versions((), "avif:50+none") == channel | avif
    assert versions((), "webp:50") == channel | webp
    assert versions((), "webp:50", in_training=True) == channel | jpeg | webp  # dJPEG lends its gradient
    for codec in ("learned:16", "learned_jpeg:50"):
        name = codec.partition(":")[0]
        assert versions((), codec, in_training=True) == channel | {f"codec {name}": CODECS[name].version}
    assert versions((), "none", in_training=True) == channel
