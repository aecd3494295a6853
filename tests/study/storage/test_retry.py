"""What passes is waited for; what does not is raised at once."""

import math
from collections.abc import Callable, Iterator

import pytest

from study.storage import retry as patience
from study.storage.retry import LONGEST_PAUSE, patiently


class Clock:
    """Time that passes only while someone sleeps."""

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
    monkeypatch.setattr(patience, "time", clock)
    return clock


def failing(*errors: BaseException) -> Callable[[], str]:
    """Raises the errors, one a call, and then works."""
    left: Iterator[BaseException] = iter(errors)

    def action() -> str:
        for error in left:
            raise error
        return "done"

    return action


def test_what_works_is_done_once_without_a_word(clock: Clock) -> None:
    said: list[str] = []
    assert patiently(failing(), said.append) == "done"
    assert said == []
    assert clock.pauses == []


def test_what_passes_is_waited_for_and_told_once(clock: Clock) -> None:
    said: list[str] = []
    assert patiently(failing(*[OSError("no route\n  to host")] * 8), said.append) == "done"
    assert said == ["no route to host; trying again until it works", "it works again"]
    assert clock.pauses[:3] == [1, 2, 4]
    assert max(clock.pauses) == LONGEST_PAUSE
    assert len(clock.pauses) == 8


@pytest.mark.parametrize("error", [FileNotFoundError("no file"), ValueError("damaged"), KeyboardInterrupt()])
def test_an_answer_is_raised_at_once(clock: Clock, error: BaseException) -> None:
    said: list[str] = []
    with pytest.raises(type(error)):
        patiently(failing(error), said.append)
    assert said == []
    with pytest.raises(type(error)):
        patiently(failing(PermissionError("read-only"), error), said.append)
    assert len(clock.pauses) == 1


@pytest.mark.parametrize("seconds", [0, 0.5, 1, 10, 600, math.inf])
def test_patience_ends(clock: Clock, seconds: float) -> None:
    errors = [OSError(str(number)) for number in range(100)]
    begun = clock.now
    if seconds == math.inf:
        assert patiently(failing(*errors), seconds=seconds) == "done"
        return
    with pytest.raises(OSError, match=r"\d+") as raised:
        patiently(failing(*errors), seconds=seconds)
    assert str(raised.value) == str(len(clock.pauses)), "the newest reason"
    assert clock.now - begun <= seconds
    assert seconds - (clock.now - begun) <= LONGEST_PAUSE, "not much sooner than it may"


def test_what_passes_can_be_said(clock: Clock) -> None:
    assert patiently(failing(KeyError("a")), passes=lambda error: isinstance(error, KeyError)) == "done"
    with pytest.raises(OSError, match="away"):
        patiently(failing(OSError("away")), passes=lambda error: isinstance(error, KeyError))
