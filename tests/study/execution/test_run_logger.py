"""Figures arrive once and in order, whatever becomes of the tracker, and the job never waits for it."""

import math
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    REQUEST_LIMIT_EXCEEDED,
    TEMPORARILY_UNAVAILABLE,
)
from small_study import Line, new_experiment, recorded, refused_connection

from study import tracking
from study.execution import run_logger as logbook
from study.execution.run_logger import Ending, Logbook
from study.tracking import Description

KEY = "b" * 32
DESCRIPTION = Description(key=KEY, kind="trial", name="a trial", params={"seed": "1"}, tags={"threads": "1"})
FINISHED = Ending(status="FINISHED", tags={"nip_sha256": "abc"}, reason=None)
FAILED = Ending(status="FAILED", tags={}, reason="loss is not\nfinite")


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(logbook, "time", clock)
    return clock


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "confusion.json").write_text("[1]")
    return folder


def states(*first: str, then: str = "up") -> Callable[[], str]:
    """Of a line: one a request."""
    sequence: Iterator[str] = chain(first, repeat(then))
    return lambda: next(sequence)


def test_figures_are_told_now_and_then(client: MlflowClient, experiment_id: str, clock: Clock) -> None:
    line = Line(client)
    book = Logbook(line, experiment_id, DESCRIPTION)  # type: ignore[arg-type]
    assert book.before("seconds") == 0
    requests = len(line.requests)
    book.log(1, {"psnr": 30.0})
    book.log(2, {"psnr": 31.0, "ssim": 0.5})
    assert len(line.requests) == requests, "too soon"
    clock.now += logbook.PAUSE
    book.log(3, {"psnr": 32.0})
    record = recorded(client, experiment_id, KEY)
    assert record.figures == {"psnr": [(1, 30.0), (2, 31.0), (3, 32.0)], "ssim": [(2, 0.5)]}
    assert record.status == "RUNNING"
    assert record.params == DESCRIPTION.params
    clock.now += logbook.PAUSE
    requests = len(line.requests)
    book.log(4, {"psnr": 33.0})
    assert line.requests[requests:] == ["log_batch"], "what has arrived is asked for once"


def test_a_finished_run_has_it_all(client: MlflowClient, experiment_id: str, artifacts: Path) -> None:
    book = Logbook(client, experiment_id, DESCRIPTION)
    book.log(1, {"psnr": math.inf})
    assert book.close(FINISHED, artifacts)
    record = recorded(client, experiment_id, KEY)
    assert record.status == "FINISHED"
    assert record.tags == {"trial_key": KEY, "kind": "trial", "threads": "1", "nip_sha256": "abc"}
    assert record.artifacts == {"confusion.json": b"[1]"}
    assert [step for step, _ in record.figures["psnr"]] == [1]


def test_a_failed_run_says_why(client: MlflowClient, experiment_id: str, artifacts: Path) -> None:
    book = Logbook(client, experiment_id, DESCRIPTION)
    book.log(1, {"psnr": 30.0})
    assert book.close(FAILED, artifacts)
    record = recorded(client, experiment_id, KEY)
    assert record.status == "FAILED"
    assert record.tags["failure"] == "loss is not finite"
    assert record.figures == {"psnr": [(1, 30.0)]}


def test_whatever_request_fails_the_run_is_the_same_in_the_end(
    client: MlflowClient, tmp_path: Path, artifacts: Path, clock: Clock
) -> None:
    """Every request of a whole life in turn, once not heard and once heard but not answered."""

    def life(line: Line) -> str:
        experiment_id = new_experiment(client, tmp_path)
        book = Logbook(line, experiment_id, DESCRIPTION)  # type: ignore[arg-type]
        book.before("seconds")
        for step in (1, 2):
            clock.now += logbook.PAUSE
            book.log(step, {"psnr": 30.0 + step})
        while not book.close(FINISHED, artifacts):
            pass
        return experiment_id

    undisturbed = Line(client)
    expected = recorded(client, life(undisturbed), KEY)
    assert expected.figures["psnr"] == [(1, 31.0), (2, 32.0)]
    for number, request in enumerate(undisturbed.requests):
        for state in ("down", "deaf"):
            experiment_id = life(Line(client, states(*["up"] * number, state)))
            assert recorded(client, experiment_id, KEY) == expected, f"{request} (request {number}) {state}"


def test_a_long_outage_is_told_once_and_made_up_for(
    client: MlflowClient, experiment_id: str, artifacts: Path, clock: Clock
) -> None:
    said: list[str] = []
    line = Line(client, lambda: "down" if 100 < clock.now < 10_000 else "up")
    book = Logbook(line, experiment_id, DESCRIPTION, said.append)  # type: ignore[arg-type]
    figures = []
    for step in range(300):
        clock.now += 40
        figures.append((step, float(step)))
        book.log(step, {"psnr": float(step)})
        if 200 < clock.now < 10_000:
            assert book.is_away
    assert len(said) == 1
    assert "Connection refused" in said[0]
    assert recorded(client, experiment_id, KEY).figures["psnr"] == figures, "back before the end"
    clock.now = 200
    assert not book.close(FINISHED, artifacts)
    clock.now = 10_000
    assert book.close(FINISHED, artifacts)
    assert recorded(client, experiment_id, KEY).figures["psnr"] == figures


def test_an_earlier_attempt_had_logged_them(client: MlflowClient, experiment_id: str, artifacts: Path) -> None:
    first = Logbook(client, experiment_id, DESCRIPTION)
    first.log(2, {"psnr": 30.0})
    first.next_try = 0
    first.log(4, {"psnr": 31.0, "seconds": 12.0})
    second = Logbook(client, experiment_id, DESCRIPTION)
    assert second.before("seconds") == 12
    assert second.before("no such figure") == 0
    for step, psnr in ((2, 30.0), (4, 31.0), (6, 32.0), (6, 32.0)):  # on resuming, all of the past is told again
        second.log(step, {"psnr": psnr})
    assert second.close(FINISHED, artifacts)
    assert recorded(client, experiment_id, KEY).figures["psnr"] == [(2, 30.0), (4, 31.0), (6, 32.0)]


def test_many_figures_are_sent_in_few_requests(client: MlflowClient, experiment_id: str, artifacts: Path) -> None:
    line = Line(client)
    book = Logbook(line, experiment_id, DESCRIPTION)  # type: ignore[arg-type]
    book.next_try = math.inf
    for step in range(2 * tracking.BATCH + 1):
        book.log(step, {"loss": float(step)})
    before = line.requests.count("log_batch")
    line.state = states(*["up"] * 5, "deaf")  # in the middle of it
    assert not book.close(FINISHED, artifacts)
    assert book.close(FINISHED, artifacts)
    assert recorded(client, experiment_id, KEY).figures["loss"] == [
        (step, float(step)) for step in range(2 * tracking.BATCH + 1)
    ]
    assert line.requests.count("log_batch") - before <= 6


def test_a_tracker_that_lets_everybody_wait_costs_a_tenth_of_the_time(clock: Clock) -> None:
    """A machine that is gone refuses no connection: each request waits for its time-out."""

    class Hanging:
        def search_runs(self, *arguments: object) -> None:
            clock.now += 120
            raise refused_connection()

    book = Logbook(Hanging(), "1", DESCRIPTION)  # type: ignore[arg-type]
    work = 0
    while clock.now < 20_000:
        clock.now += 1
        work += 1
        book.log(work, {"psnr": 30.0})
    assert work > 0.9 * clock.now
    assert len(book.waiting) == work


@pytest.mark.parametrize("error_code", [INVALID_PARAMETER_VALUE, PERMISSION_DENIED])
def test_a_refusal_is_raised(experiment_id: str, artifacts: Path, error_code: int) -> None:
    class Refusing:
        def search_runs(self, *arguments: object) -> None:
            raise MlflowException("no", error_code)

    book = Logbook(Refusing(), experiment_id, DESCRIPTION)  # type: ignore[arg-type]
    for ask in (
        lambda: book.before("seconds"),
        lambda: book.close(FINISHED, artifacts),
    ):
        with pytest.raises(MlflowException, match="no"):
            ask()


@pytest.mark.parametrize(
    "error",
    [
        refused_connection(),
        ConnectionResetError("reset by peer"),
        MlflowException("database is locked", TEMPORARILY_UNAVAILABLE),
        MlflowException("slowly", REQUEST_LIMIT_EXCEEDED),
    ],
    ids=["refused", "reset", "locked", "busy"],
)
def test_who_cannot_answer_is_away(artifacts: Path, error: Exception) -> None:
    class Unable:
        def search_runs(self, *arguments: object) -> None:
            raise error

    said: list[str] = []
    book = Logbook(Unable(), "1", DESCRIPTION, said.append)  # type: ignore[arg-type]
    assert book.before("seconds") == 0
    assert not book.close(FINISHED, artifacts)
    assert len(said) == 1
