"""The section ``search`` of a study file: what it may say, and what its points are."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from forensics.trial import Distribution
from study.settings import Study, StudyError, load_study, planned_at

STUDY: dict[str, Any] = {
    "name": "searched",
    "cameras": ["one", "two"],
    "isps": ["INet", "UNet"],
    "lambdas": ["fixed", 0.01],
    "seeds": 3,
    "training": {"iterations": 7},
    "channel": {"robust": {"codec": "jpeg:90"}},
    "also": [{"channel": {"paper": {"codec": "jpeg:50"}}}],
    "evaluation": {"codecs": ["jpeg:30", "webp:50"]},
}
OVER = {"lambda": {"log": [0.001, 0.1]}, "training.patch": [16, 32], "channel": ["robust", "paper"]}


def load(folder: Path, search: Any, **changes: Any) -> Study:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **changes, "search": search}))
    return load_study(str(path))


def refusal(folder: Path, search: Any, **changes: Any) -> str:
    with pytest.raises(StudyError) as error:
        load(folder, search, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_point_is_a_grid_of_its_own(tmp_path: Path) -> None:
    study = load(tmp_path, {"over": OVER, "seeds": 2})
    found = planned_at(study, {"lambda": 0.02, "training.patch": 32, "channel": "paper"})
    assert len(found) == 2 * 2 * 2
    assert {(item.trial.camera, item.trial.isp, item.trial.seed) for item in found} == {
        (camera, isp, seed) for camera in ("one", "two") for isp in ("INet", "UNet") for seed in (0, 1)
    }
    for item in found:
        assert (item.trial.lam, item.trial.training.patch, item.trial.training.iterations) == (0.02, 32, 7)
        assert item.trial.channel == Distribution(codec="jpeg:50")
        assert item.axes == {"channel": "paper", "training.patch": 32}
    assert {item.trial.camera for item in planned_at(study, {"lambda": 0.02, "channel": "robust"}, "two", "INet")} == {
        "two"
    }


def test_seeds_are_counted_as_elsewhere(tmp_path: Path) -> None:
    study = load(tmp_path, {"over": OVER, "seeds": [4, 9]})
    assert study.search is not None
    assert study.search.seeds == (4, 9)


def test_a_search_survives_being_written_down(tmp_path: Path) -> None:
    """As a grid beside another is made, and as the report shows it."""
    study = load(tmp_path, {"over": OVER, "stop_early": {"after": 90}})
    assert Study.model_validate(study.model_dump()).search == study.search
    assert Study.model_validate(yaml.safe_load(yaml.safe_dump(study.model_dump(mode="json")))).search == study.search


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"over": {"pretraining.patch": [16, 32]}}, "pretraining.patch cannot be searched (the NIPs would differ)"),
        ({"over": {"split.train": [1, 2]}}, "split.train cannot be searched"),
        ({"over": {"seeds": [1, 2]}}, "seeds cannot be searched: name lambda, training.… or channel.…"),
        (
            {"over": {"training.speed": [1, 2], "lambda": [1, 2]}},
            "search: unknown key 'training.speed': known here are",
        ),
        ({"over": {"training.patch": [16, 8], "lambda": [1, 2]}}, "search: training: training.patch = 8 is impossible"),
        ({"over": {"lambda": {"log": [0.1, 0.01]}}}, "is no range"),
        ({"over": {"lambda": {"log": [0, 1]}}}, "must begin above 0"),
        ({"over": {"lambda": {"log": [0.1, 1], "linear": [0, 1]}}}, "give one of log, linear and whole"),
        ({"over": {"lambda": 0.1}}, "lambda: give a list of values, or a range"),
        ({"over": {"lambda": [0.1]}}, "must name at least two values"),
        ({"over": {}}, "search.over"),
        ({"over": {"training.patch": [16, 32]}}, "lambda is missing"),
        ({"over": {**OVER, "channel": ["robust", "mine"]}}, "there is no channel 'mine' in the study file: named are"),
        ({"over": OVER, "objectives": ["accuracy", "psnr"]}, "name accuracy_real instead"),
        ({"over": OVER, "objectives": ["accuracy_real", "speed"]}, "search.objectives: there is no speed"),
        ({"over": OVER, "objectives": ["jpeg:50"]}, "there is no jpeg:50: choose of"),
        ({"over": OVER, "sampler": "grid"}, "search.sampler"),
        ({"over": OVER, "seeds": [1, 1]}, "names one twice"),
        ({"over": OVER, "stop": {}}, "unknown key 'search.stop': known here are over, objectives"),
        ({"over": OVER, "stop_early": {"after": 3, "at": 3}}, "'search.stop_early.at': known here are after, keep"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, search: dict[str, Any], said: str) -> None:
    assert said in refusal(tmp_path, search)


def test_an_axis_of_the_grid_is_searched_or_has_one_value(tmp_path: Path) -> None:
    over = {"lambda": {"log": [0.001, 0.1]}}
    training = {"patch": [16, 32], "iterations": 7}
    said = refusal(tmp_path, {"over": over}, training=training, also=[])
    assert "training.patch is an axis of the grid: name its values there, too" in said
    assert load(tmp_path, {"over": {**over, "training.patch": [16, 32]}}, training=training, also=[]).search


def test_members_of_the_panel_are_objectives(tmp_path: Path) -> None:
    assert load(tmp_path, {"over": OVER, "objectives": ["webp:50", "accuracy_real_worst", "ssim"]}).search
