"""Settings of codecs that learn: what follows from the channel, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from forensics.compression.pretraining import CodecPretraining
from study.results import runs_table
from study.settings import Study, StudyError, check_search, load_study, planned
from study.settings.grid import SECTIONS


def study(**changes: Any) -> Study:
    content = {"name": "mine", "cameras": ["camera"], "isps": ["INet"], "lambdas": ["fixed"], "seeds": 1}
    return Study.model_validate(content | changes)


def test_a_codecs_pretraining_follows_the_channel() -> None:
    channel = {"codec": "learned:64", "downsample": 1.5, "kernel": "lanczos", "rate_weight": 40.0}
    (item,) = planned(study(channel=channel, codec_pretraining={"width": 64, "seed": 3}))
    assert item.codec_pretraining == CodecPretraining(
        features=64, width=64, seed=3, factor=1.5, kernel="lanczos", rate_weight=40.0
    )
    for codec in ("jpeg:50", "learned_jpeg:50", "none"):
        (item,) = planned(study(channel={"codec": codec}))
        assert item.codec_pretraining is None


def test_trials_that_differ_in_the_codecs_pretraining_are_different() -> None:
    items = planned(study(channel={"codec": "learned:16"}, codec_pretraining={"seed": [0, 1]}))
    assert [item.codec_pretraining.seed for item in items if item.codec_pretraining] == [0, 1]
    assert [item.axes for item in items] == [{"codec_pretraining.seed": 0}, {"codec_pretraining.seed": 1}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec_pretraining": {"features": 16}}, "codec_pretraining.features follows from the channel: .*learned:32"),
        ({"codec_pretraining": {"rate_weight": 1}}, "follows from the channel: set channel.rate_weight"),
        ({"codec_pretraining": {"factor": 1}}, "follows from the channel: set channel.downsample"),
        ({"codec_pretraining": {"kernel": "mean"}}, "follows from the channel: set channel.kernel"),
        ({"codec_pretraining": {"depth": 1}}, "unknown key 'codec_pretraining.depth': known here are features, width"),
        ({"codec_pretraining": {"width": 20, "start": "standard"}}, "start: standard needs a width of at least 48"),
        ({"channel": {"codec": "learned:20"}}, "learned:NUMBER, the number 16 or 32 or 64"),
        ({"channel": {"codec": "learned:16 + learned_jpeg:50"}}, "only one codec of a channel can learn"),
        ({"channel": {"codec": "learned_jpeg:30-50"}}, "learns for one quality"),
        ({"channel": {"rate_weight": -1}}, "rate_weight"),
        (
            {"training": {"codec_lambda": 0.1}},
            "codec_lambda = 0.1 is impossible: the channel's codec jpeg:50 has no weights",
        ),
        ({"training": {"codec_lambda": -1}, "channel": {"codec": "learned_jpeg:50"}}, "codec_lambda = -1"),
        ({"training": {"codec_learning_rate": 0}}, "codec_learning_rate = 0"),
        (
            {"evaluation": {"codecs": ["own"]}, "channel": {"codec": "jpeg:30-90"}},
            "own: the channel 'jpeg:30-90' has not",
        ),
        (
            {"evaluation": {"codecs": ["own"]}, "channel": {"codec": "none"}},
            "own: the channel 'none' has not one codec",
        ),
    ],
)
def test_what_is_impossible_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((StudyError, ValidationError, ValueError), match=message) as error:
        planned(study(**changes))
    if isinstance(error.value, StudyError):
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("over", "fits"),
    [
        ({"channel.codec": ["learned:16", "learned:32"]}, True),
        ({"channel.codec": ["learned:32", "jpeg:50"]}, True),
        ({"channel.codec": ["learned:16", "learned:64"]}, False),
        ({"channel.rate_weight": {"log": [100.0, 300.0]}, "channel.codec": ["learned:16", "learned:32"]}, False),
    ],
)
def test_a_search_needs_no_codec_that_the_grid_does_not_pretrain(over: dict[str, Any], fits: bool) -> None:
    searched = study(channel={"codec": ["learned:16", "learned:32"]}, search={"over": over})
    if fits:
        check_search(searched)
    else:
        with pytest.raises(StudyError, match="search: a codec is pre-trained for the study's own grid alone"):
            check_search(searched)


def test_the_names_of_every_section_are_an_axis_of_results() -> None:
    assert set(runs_table.SECTIONS) == {"manipulations", *SECTIONS}


def test_the_preset_compares_learned_codecs_with_themselves() -> None:
    items = planned(load_study("learned-codec"))
    learning = {item.trial.channel.codec for item in items if item.trial.codec_learns}
    unchanged = {item.trial.channel.codec for item in items if not item.trial.codec_learns}
    assert learning <= unchanged and "learned:32" in learning and "learned_jpeg:50" in learning
    assert all((item.codec_pretraining is not None) == item.trial.needs_codec for item in items)
