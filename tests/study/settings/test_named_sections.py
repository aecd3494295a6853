"""Axes of named sections, and smaller grids beside the large one."""

from typing import Any

import pytest

from study.settings import Study, planned

ROBUST = {"rounding": "soft", "codec": "jpeg:70"}
PAPER = {"rounding": "sin", "codec": "jpeg:50"}


def study(**changes: Any) -> Study:
    content = {"name": "s", "cameras": ["a"], "isps": ["INet", "UNet"], "lambdas": ["fixed", 0.1, 0.01], "seeds": 2}
    return Study.model_validate({**content, **changes})


def test_named_channels_are_one_axis_of_settings_that_change_together() -> None:
    items = planned(study(channel={"robust": ROBUST, "paper": PAPER}))
    assert len(items) == 2 * 3 * 2 * 2
    for item in items:
        expected = {"robust": ROBUST, "paper": PAPER}[item.axes["channel"]]
        assert (item.trial.channel.rounding, item.trial.channel.codec) == (expected["rounding"], expected["codec"])
    assert {tuple(item.axes) for item in items} == {("channel",)}


def test_a_named_channel_and_another_axis() -> None:
    items = planned(study(channel={"robust": ROBUST}, training={"batch": [5, 10]}))
    assert {(item.axes["channel"], item.axes["training.batch"]) for item in items} == {("robust", 5), ("robust", 10)}


def test_a_smaller_grid_beside_the_large_one() -> None:
    beside = {"isps": ["UNet"], "lambdas": [0.1], "channel": {"paper": PAPER}}
    items = planned(study(channel={"robust": ROBUST}, also=[beside]))
    assert len(items) == 12 + 2
    extra = [item for item in items if item.axes["channel"] == "paper"]
    assert [(item.trial.isp, item.trial.lam, item.trial.seed) for item in extra] == [("UNet", 0.1, 0), ("UNet", 0.1, 1)]
    seeds = [item.trial.seed for item in items]
    assert seeds == sorted(seeds), "the first seed is done before the second begins"


def test_what_is_not_changed_keeps_its_value_and_nothing_comes_twice() -> None:
    items = planned(study(training={"batch": 7, "patch": 32}, also=[{"training": {"patch": 64}}, {"seeds": [1, 2]}]))
    assert {(item.trial.training.batch, item.trial.training.patch) for item in items} == {(7, 32), (7, 64)}
    assert len(items) == 6 * 2 + 6 * 2 + 6, "seed 1 of the second entry is there already"
    assert len({item.trial for item in items}) == len(items)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"also": [{"storage": "elsewhere"}]}, "'storage' cannot be changed"),
        ({"also": [{"cameras": ["b"]}]}, "'cameras' cannot be changed"),
        ({"also": [{"lambdas": [-1]}]}, "lambda"),
        ({"also": [{"isps": ["VNet"]}]}, "VNet"),
        ({"also": [{"channel": {"paper": PAPER}}]}, "channel is an axis in one grid and not in the other"),
        ({"also": [{"training": {"batch": [5, 6]}}]}, "training.batch is an axis"),
        ({"channel": {"robust": {"codec": ["jpeg:50", "jpeg:70"]}}}, "codec is a list inside a named channel"),
        ({"channel": {"robust": {"kodec": "jpeg:50"}}}, "channel.kodec"),
        ({"channel": {"robust": {"codec": "gif:50"}}}, "gif"),
        ({"channel": {"robust": ROBUST, "codec": "jpeg:50"}}, "channel.robust"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as raised:
        planned(study(**changes))
    assert "\n" not in str(raised.value)
