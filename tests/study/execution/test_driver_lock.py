"""A study has one driver; a dead one is replaced."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from mlflow import MlflowClient
from small_study import Line

from study.execution import driver_lock
from study.execution.driver_lock import TAG, Driver, driving, is_driven
from study.settings import StudyError

TIMEOUT = 0.6


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats and timeouts of less than a second."""
    monkeypatch.setattr(driver_lock, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(driver_lock, "TIMEOUT", TIMEOUT)
    monkeypatch.setattr(driver_lock, "SETTLE", 0.3)


def driver(client: MlflowClient, experiment_id: str) -> Driver | None:
    text = client.get_experiment(experiment_id).tags.get(TAG)
    return Driver.model_validate_json(text) if text else None


def leave_tag(client: MlflowClient, experiment_id: str, driver: Driver) -> None:
    client.set_experiment_tag(experiment_id, TAG, driver.model_dump_json())


def elsewhere() -> Driver:
    """A driver on another machine, known only by its tag."""
    return Driver.here().model_copy(update={"machine": "another", "host": "far-away", "pid": 4711})


def eventually(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_driver_is_known_while_it_lives(client: MlflowClient, experiment_id: str) -> None:
    reports: list[str] = []
    assert not is_driven(client, experiment_id)
    with driving(client, experiment_id, reports.append):
        own = driver(client, experiment_id)
        assert own is not None
        assert own.pid == os.getpid()
        assert not own.is_known_dead
        assert is_driven(client, experiment_id)
        eventually(lambda: driver(client, experiment_id).heartbeat >= 2)  # type: ignore[union-attr]
    assert driver(client, experiment_id) is None
    assert not is_driven(client, experiment_id)
    assert reports == []
    with pytest.raises(ZeroDivisionError), driving(client, experiment_id, reports.append):
        raise ZeroDivisionError
    assert driver(client, experiment_id) is None, "also after an error"


def test_a_second_driver_is_refused(client: MlflowClient, experiment_id: str) -> None:
    reports: list[str] = []
    with driving(client, experiment_id, reports.append):
        first = driver(client, experiment_id)
        refusal = pytest.raises(StudyError, match=rf"is being run by process {os.getpid()} on")
        with refusal as refused, driving(client, experiment_id, reports.append):
            pass
        assert "\n" not in str(refused.value)
        assert driver(client, experiment_id).token == first.token  # type: ignore[union-attr]
        assert len(reports) == 1
        assert "waiting" in reports[0]


def test_one_heartbeat_before_the_timeout_counts(client: MlflowClient, experiment_id: str) -> None:
    """One heartbeat within the timeout, while the second driver is between two looks."""
    first = elsewhere()
    leave_tag(client, experiment_id, first)
    later = first.model_copy(update={"heartbeat": 1})
    heartbeat = threading.Timer(0.8 * TIMEOUT, leave_tag, (client, experiment_id, later))
    heartbeat.start()
    with pytest.raises(StudyError, match="far-away"), driving(client, experiment_id, lambda text: None):
        pass
    heartbeat.join()


def test_a_process_that_is_gone_is_taken_over_at_once(client: MlflowClient, experiment_id: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = Driver.here().model_copy(update={"pid": process.pid})
    assert dead.is_known_dead
    leave_tag(client, experiment_id, dead)
    assert not is_driven(client, experiment_id)
    reports: list[str] = []
    with driving(client, experiment_id, reports.append):
        assert driver(client, experiment_id).token != dead.token  # type: ignore[union-attr]
    assert reports == [], "there is nothing to wait for"


def test_a_process_of_another_machine_is_not_known_dead_here() -> None:
    """Nor is a process of another user here, which cannot be signalled."""
    assert not elsewhere().is_known_dead
    assert not Driver.here().model_copy(update={"pid": 1}).is_known_dead


def test_a_silent_machine_is_taken_over_after_the_timeout(client: MlflowClient, experiment_id: str) -> None:
    leave_tag(client, experiment_id, elsewhere())
    assert is_driven(client, experiment_id)
    reports: list[str] = []
    with driving(client, experiment_id, reports.append):
        assert driver(client, experiment_id).pid == os.getpid()  # type: ignore[union-attr]
    assert len(reports) == 1
    assert "process 4711 on far-away" in reports[0]
    assert driver(client, experiment_id) is None


DAY = 86_400


@pytest.mark.parametrize("silent_for", [-DAY, 2 * TIMEOUT, DAY])
def test_a_driver_elsewhere_that_is_silent_counts_as_dead(
    client: MlflowClient, experiment_id: str, silent_for: float
) -> None:
    """Its machine is gone, and the tag stays. The clock of that machine may have been ahead."""
    leave_tag(client, experiment_id, elsewhere().model_copy(update={"at": time.time() - silent_for}))
    assert not is_driven(client, experiment_id)


@pytest.mark.parametrize("ahead", [-DAY, DAY])
def test_a_driver_elsewhere_whose_clock_differs_is_known_by_its_next_heartbeat(
    client: MlflowClient, experiment_id: str, ahead: float
) -> None:
    first = elsewhere().model_copy(update={"at": time.time() + ahead})
    leave_tag(client, experiment_id, first)
    later = first.model_copy(update={"heartbeat": 1, "at": first.at + 5})
    heartbeat = threading.Timer(0.1, leave_tag, (client, experiment_id, later))
    heartbeat.start()
    assert is_driven(client, experiment_id)
    heartbeat.join()


def test_a_driver_elsewhere_that_ends_meanwhile_is_none(client: MlflowClient, experiment_id: str) -> None:
    leave_tag(client, experiment_id, elsewhere().model_copy(update={"at": 0}))
    end = threading.Timer(0.1, client.delete_experiment_tag, (experiment_id, TAG))
    end.start()
    assert not is_driven(client, experiment_id)
    end.join()


def test_a_recent_heartbeat_from_elsewhere_needs_no_second_look(client: MlflowClient, experiment_id: str) -> None:
    leave_tag(client, experiment_id, elsewhere().next())
    line = Line(client)
    assert is_driven(line, experiment_id)  # type: ignore[arg-type]
    assert line.requests == ["get_experiment"]


def test_a_silent_driver_of_this_machine_lives_as_long_as_its_process(client: MlflowClient, experiment_id: str) -> None:
    """As while the tracker was away."""
    leave_tag(client, experiment_id, Driver.here().model_copy(update={"at": 0}))
    line = Line(client)
    assert is_driven(line, experiment_id)  # type: ignore[arg-type]
    assert line.requests == ["get_experiment"]


def test_heartbeats_tell_their_time(client: MlflowClient, experiment_id: str) -> None:
    with driving(client, experiment_id, lambda text: None):
        first = driver(client, experiment_id)
        assert first is not None
        eventually(lambda: driver(client, experiment_id).at > first.at)  # type: ignore[union-attr]


@pytest.mark.parametrize("before", ["nobody", "silent", "ends"])
def test_of_several_at_once_one_wins(
    client: MlflowClient, experiment_id: str, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted: list[int] = []
    monkeypatch.setattr(signal, "pthread_kill", lambda thread, number: interrupted.append(thread))
    monkeypatch.setattr(driver_lock, "SETTLE", 1)  # one of them may be delayed for so long
    monkeypatch.setattr(driver_lock, "TIMEOUT", 2)
    if before != "nobody":
        leave_tag(client, experiment_id, elsewhere())
    if before == "ends":
        threading.Timer(0.2, client.delete_experiment_tag, (experiment_id, TAG)).start()
    together, over = threading.Barrier(4), threading.Event()
    won, refused = [], []

    def drive() -> None:
        together.wait()
        try:
            with driving(client, experiment_id, lambda text: None):
                won.append(driver(client, experiment_id))
                over.wait(30)
        except StudyError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=drive, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(won) + len(refused) == len(threads))
    assert (len(won), len(refused)) == (1, 3)
    assert driver(client, experiment_id).token == won[0].token  # type: ignore[union-attr]
    assert interrupted == [], "no driver was taken over"
    over.set()
    for thread in threads:
        thread.join()
    assert driver(client, experiment_id) is None


def test_a_driver_that_is_taken_over_ends(client: MlflowClient, experiment_id: str) -> None:
    """As if this machine had slept. The driver ends in the middle of a long wait, and the other's tag stays."""
    reports: list[str] = []
    other, started = elsewhere(), time.monotonic()
    with pytest.raises(KeyboardInterrupt), driving(client, experiment_id, reports.append):
        leave_tag(client, experiment_id, other)
        time.sleep(60)
    assert time.monotonic() - started < 50, "it kept sleeping"
    assert reports == ["process 4711 on far-away has taken the study over: this one ends"]
    assert driver(client, experiment_id) == other


def test_a_tracker_that_is_away_ends_no_driver(client: MlflowClient, experiment_id: str) -> None:
    state = "up"
    line = Line(client, lambda: state)
    with driving(line, experiment_id, lambda text: None):  # type: ignore[arg-type]
        requests = len(line.requests)
        state = "down"
        eventually(lambda: len(line.requests) > requests + 2)
        heartbeat = driver(client, experiment_id).heartbeat  # type: ignore[union-attr]
        state = "up"
        eventually(lambda: driver(client, experiment_id).heartbeat > heartbeat)  # type: ignore[union-attr]
        state = "down"
    assert driver(client, experiment_id) is not None, "the tag could not be removed"
    refusal = pytest.raises(StudyError, match="Connection refused")
    with refusal, driving(line, experiment_id, lambda text: None):  # type: ignore[arg-type]
        pass


def test_a_damaged_tag_is_no_driver(client: MlflowClient, experiment_id: str) -> None:
    client.set_experiment_tag(experiment_id, TAG, "somebody")
    assert not is_driven(client, experiment_id)
    with driving(client, experiment_id, lambda text: None):
        assert is_driven(client, experiment_id)
