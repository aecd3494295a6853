"""Faults that pass by themselves are retried; all others are raised at once."""

import math
from collections.abc import Callable, Iterator

import pytest

from study.storage import retry as module
from study.storage.retry import LONGEST_PAUSE, retry


class Clock:
    """Time that passes only during sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def failing(*errors: BaseException) -> Callable[[], str]:
    """An action that raises one of the errors at each call, and then works."""
    left: Iterator[BaseException] = iter(errors)

    def action() -> str:
        for error in left:
            raise error
        return "done"

    return action


def test_an_action_that_works_runs_once_and_reports_nothing(clock: Clock) -> None:
    reports: list[str] = []
    assert retry(failing(), reports.append) == "done"
    assert reports == []
    assert clock.pauses == []


def test_a_passing_fault_is_retried_and_reported_once(clock: Clock) -> None:
    reports: list[str] = []
    assert retry(failing(*[OSError("no route\n  to host")] * 8), reports.append) == "done"
    assert reports == ["no route to host; trying again until it works", "it works again"]
    assert clock.pauses[:3] == [1, 2, 4]
    assert max(clock.pauses) == LONGEST_PAUSE
    assert len(clock.pauses) == 8


@pytest.mark.parametrize("error", [FileNotFoundError("no file"), ValueError("damaged"), KeyboardInterrupt()])
def test_a_lasting_fault_is_raised_at_once(clock: Clock, error: BaseException) -> None:
    reports: list[str] = []
    with pytest.raises(type(error)):
        retry(failing(error), reports.append)
    assert reports == []
    with pytest.raises(type(error)):
        retry(failing(PermissionError("read-only"), error), reports.append)
    assert len(clock.pauses) == 1


@pytest.mark.parametrize("seconds", [0, 0.5, 1, 10, 600, math.inf])
def test_retries_end_after_the_given_seconds(clock: Clock, seconds: float) -> None:
    errors = [OSError(str(number)) for number in range(100)]
    started = clock.now
    if seconds == math.inf:
        assert retry(failing(*errors), seconds=seconds) == "done"
        return
    with pytest.raises(OSError, match=r"\d+") as raised:
        retry(failing(*errors), seconds=seconds)
    assert str(raised.value) == str(len(clock.pauses)), "the newest reason"
    assert clock.now - started <= seconds
    assert seconds - (clock.now - started) <= LONGEST_PAUSE, "not much sooner than allowed"


def test_what_passes_can_be_reports(clock: Clock) -> None:
    assert retry(failing(KeyError("a")), passes=lambda error: isinstance(error, KeyError)) == "done"
    with pytest.raises(OSError, match="away"):
        retry(failing(OSError("away")), passes=lambda error: isinstance(error, KeyError))
