"""A machine or card whose jobs fail in a row waits; a job that wants it alone gets it alone."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from study.execution import place as places
from study.execution.place import Place
from study.execution.private_folder import notes_folder

ROOT = Path(__file__).resolve().parents[3]
KEYS = [letter * 32 for letter in "abcdefgh"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # looked up anew
    return Place("10.0.0.3", driver="now")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time that passes only where somebody sleeps."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, time=time.time)
    clock.sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(places, "time", clock)
    return clock


def silent(text: str) -> None:
    pass


def fail(place: Place, key: str, excused: bool = False, say: Callable[[str], None] = silent) -> None:
    with suppress(RuntimeError), place.begin(key, say) as begun:
        if excused:
            begun.excuse()
        raise RuntimeError("CUDA error: unspecified launch failure\nmore about it")


def succeed(place: Place, key: str) -> None:
    with place.begin(key, silent) as begun:
        begun.succeeded()


def pause(place: Place, clock: SimpleNamespace) -> tuple[float, list[str]]:
    """How long the next job waits, and what is said."""
    before, said = clock.now, list[str]()
    place.wait(said.append)
    return clock.now - before, said


def test_three_failures_in_a_row_make_a_place_wait_ever_longer(place: Place, clock: SimpleNamespace) -> None:
    named: list[str] = []
    for key in KEYS[:2]:
        fail(place, key, say=named.append)
    assert pause(place, clock) == (0, [])
    assert named == []
    pauses = []
    for key in KEYS[2:]:
        fail(place, key, say=named.append)
        seconds, (line,) = pause(place, clock)
        pauses.append(seconds)
    assert pauses == [30, 60, 120, 240, 480, 600]
    what = "the last one: RuntimeError: CUDA error: unspecified launch failure more about it"
    assert named == [f"{number} jobs in a row failed on 10.0.0.3, {what}" for number in range(3, 9)]
    assert line == f"10.0.0.3 waits 600 s with its next job: 8 in a row failed there, {what}"
    succeed(place, KEYS[0])
    assert pause(place, clock) == (0, [])
    fail(place, KEYS[1])
    assert len(place.row()) == 1, "a new row"


def test_failures_of_one_job_are_no_row(place: Place) -> None:
    for _ in range(5):
        fail(place, KEYS[0])
    assert len(place.row()) == 1


def test_what_the_place_is_not_to_blame_for_neither_lengthens_a_row_nor_ends_it(place: Place) -> None:
    fail(place, KEYS[0])
    fail(place, KEYS[1], excused=True)
    with place.begin(KEYS[2], silent):
        pass  # it failed by itself: a NaN
    with suppress(SystemExit), place.begin(KEYS[3], silent):
        raise SystemExit  # told to stop
    assert len(place.row()) == 1


def test_another_card_or_machine_or_driver_has_another_row(place: Place) -> None:
    for key in KEYS:
        fail(place, key)
    for other in ({"card": "1"}, {"machine": "10.0.0.4"}, {"driver": "before"}):
        assert replace(place, **other).row() == []
    assert str(replace(place, card="1")) == "GPU 1 of 10.0.0.3"


def test_a_success_meanwhile_ends_the_waiting(place: Place, clock: SimpleNamespace) -> None:
    for key in KEYS[:3]:
        fail(place, key)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now >= 4:
            succeed(place, KEYS[4])

    clock.sleep = sleep
    seconds, _ = pause(place, clock)
    assert seconds == 4


def test_a_job_in_progress_is_no_failure_and_a_killed_one_is(place: Place) -> None:
    code = (
        "import sys, time; from study.execution.place import Place; block = Place('10.0.0.3', driver='now').begin"
        f"({KEYS[0]!r}, print); block.__enter__(); print('begun', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert place.row() == []
    process.kill()
    process.wait()
    assert place.row() == [""]


def test_whoever_wants_a_place_alone_gets_it_alone_and_is_not_overtaken(place: Place) -> None:
    entered: list[str] = []
    first, alone, late = (threading.Event() for _ in range(3))

    def enter(name: str, leave: threading.Event, is_alone: bool = False) -> threading.Thread:
        def inside() -> None:
            with place.shared(is_alone):
                entered.append(name)
                leave.wait(20)

        thread = threading.Thread(target=inside)
        thread.start()
        time.sleep(0.2)
        return thread

    threads = [enter("first", first), enter("second", first)]
    assert sorted(entered) == ["first", "second"], "beside each other"
    threads.append(enter("alone", alone, is_alone=True))
    threads.append(enter("late", late))
    assert len(entered) == 2, "neither of them, although the late one would share"
    first.set()
    for thread in threads[:2]:
        thread.join()
    time.sleep(0.2)
    assert entered[2:] == ["alone"]
    alone.set()
    threads[2].join()
    time.sleep(0.2)
    assert entered[3:] == ["late"]
    late.set()
    threads[3].join()


def test_notes_lie_in_a_folder_of_this_user_alone(place: Place) -> None:
    assert notes_folder().stat().st_mode & 0o777 == 0o700
    notes_folder().chmod(0o755)
    with pytest.raises(PermissionError, match="is not a folder of this user alone"):
        notes_folder()
