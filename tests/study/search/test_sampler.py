"""Points that Optuna proposes: within their ranges, new, and the same whenever the same is known."""

import math
from typing import Any

import optuna
import pytest

from study.search.points import FAILED, FINISHED, LEFT, STOPPED, Outcome, Told
from study.search.sampler import as_optuna, propose
from study.settings import Search

OVER = {
    "lambda": {"log": [0.001, 0.1]},
    "training.patch": [16, 32],
    "training.decay_every": {"whole": [3, 90]},
    "channel": ["robust", "paper"],
}
SAMPLERS = ["tpe", "nsga2", "nsga3", "gp"]


def settings(**search: Any) -> Search:
    return Search.model_validate({"over": OVER, "random": 4, **search})


def judged(values: dict[str, Any]) -> Outcome:
    """Two objectives that no point has both of; λ = 0.03 is on the front, and 32 is better than 16."""
    place = math.log10(values["lambda"] / 0.03)
    return Outcome(FINISHED, (-((place - 0.2) ** 2) + (values["training.patch"] == 32), -((place + 0.2) ** 2)))


def searched(search: Search, points: int, states: tuple[str, ...] = (FINISHED,)) -> list[Told]:
    told: list[Told] = []
    for number in range(points):
        found = propose(search, told)
        assert found is not None
        values, notes = found
        state = states[number % len(states)]
        told.append(Told(values, judged(values) if state == FINISHED else Outcome(state), notes))
    return told


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_points_lie_in_their_ranges_and_are_new(sampler: str) -> None:
    told = searched(settings(sampler=sampler), 7)
    for point in told:
        assert 0.001 <= point.values["lambda"] <= 0.1
        assert float(f"{point.values['lambda']:.4g}") == point.values["lambda"], "short enough to be typed"
        assert point.values["training.patch"] in (16, 32)
        assert isinstance(point.values["training.decay_every"], int)
        assert 3 <= point.values["training.decay_every"] <= 90
        assert point.values["channel"] in ("robust", "paper")
    assert len({str(point.values) for point in told}) == 7


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_points_may_be_running_stopped_or_failed(sampler: str) -> None:
    """Optuna's own pruning refuses several objectives."""
    told = searched(settings(sampler=sampler), 7, (FINISHED, STOPPED, FINISHED, LEFT, FAILED))
    assert len(told) == 7


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_the_same_knowledge_gives_the_same_point(sampler: str) -> None:
    search = settings(sampler=sampler)
    told = searched(search, 7)
    assert propose(search, told) == propose(search, told)
    assert propose(search, told) != propose(search.model_copy(update={"seed": 1}), told)
    assert propose(search, told) != propose(search, told[:-1])


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3"])
def test_a_sampler_learns(sampler: str) -> None:
    """Of the later half more points have the better patch than chance would give."""
    told = searched(settings(sampler=sampler, random=8), 64)
    later = [point.values["training.patch"] for point in told[32:]]
    assert later.count(32) >= 22


def test_generations_go_on_after_a_restart() -> None:
    """What the sampler notes is all that it needs: the population of a generation is full, and the next begins."""
    told = searched(settings(sampler="nsga2"), 13)
    assert [point.notes["NSGAIISampler:generation"] for point in told] == [0] * 4 + [1] * 4 + [2] * 4 + [3]


def test_what_was_known_before_is_of_the_first_generation() -> None:
    search = settings(sampler="nsga2")
    known = [Told(point.values, point.outcome) for point in searched(search, 4)]
    found = propose(search, known)
    assert found is not None
    assert found[1] == {"NSGAIISampler:generation": 1}


def test_a_finite_space_is_exhausted_and_no_point_comes_twice() -> None:
    search = settings(over={"training.patch": [16, 32, 48], "lambda": {"whole": [1, 2]}})
    told: list[Told] = []
    while found := propose(search, told):
        told.append(Told(found[0], Outcome(FINISHED, (0.0, 0.0)), found[1]))
        assert len(told) <= 6
    assert len({str(point.values) for point in told}) == len(told) == 6


def test_optuna_knows_the_points_as_they_are() -> None:
    search = settings()
    told = searched(search, 4, (FINISHED, STOPPED, FAILED, LEFT))
    study = as_optuna(search, told)
    assert [trial.params for trial in study.trials] == [point.values for point in told]
    states = optuna.trial.TrialState
    assert [trial.state for trial in study.trials] == [states.COMPLETE, states.PRUNED, states.FAIL, states.RUNNING]
    assert tuple(study.trials[0].values) == told[0].outcome.objectives
    assert study.directions == [optuna.study.StudyDirection.MAXIMIZE] * 2
