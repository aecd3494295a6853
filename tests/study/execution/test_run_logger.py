"""Metrics arrive once and in order, whatever happens to the tracker, and the job never waits for it."""

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

from study.execution import run_logger
from study.execution.run_logger import CHECKPOINT, Ending, RunLogger
from study.tracking import Description
from study.tracking.runs import BATCH

KEY = "b" * 32
DESCRIPTION = Description(
    key=KEY, run_key=KEY, kind="trial", name="a trial", params={"seed": "1"}, tags={"threads": "1"}
)
FINISHED = Ending(status="FINISHED", tags={"nip_sha256": "abc"}, reason=None)
FAILED = Ending(status="FAILED", tags={}, reason="loss is not\nfinite")


class Clock:
    """Time that passes only by command."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(run_logger, "time", clock)
    return clock


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "confusion.json").write_text("[1]")
    return folder


def states(*first: str, then: str = "up") -> Callable[[], str]:
    """The states of a line, one for each request."""
    sequence: Iterator[str] = chain(first, repeat(then))
    return lambda: next(sequence)


def test_metrics_are_flushed_now_and_then(client: MlflowClient, experiment_id: str, clock: Clock) -> None:
    line = Line(client)
    logger = RunLogger(line, experiment_id, DESCRIPTION)  # type: ignore[arg-type]
    assert logger.before("seconds") == 0
    requests = len(line.requests)
    logger.log(1, {"psnr": 30.0})
    logger.log(2, {"psnr": 31.0, "ssim": 0.5})
    assert len(line.requests) == requests, "too soon"
    clock.now += run_logger.PAUSE
    logger.log(3, {"psnr": 32.0})
    record = recorded(client, experiment_id, KEY)
    assert record.metrics == {"psnr": [(1, 30.0), (2, 31.0), (3, 32.0)], "ssim": [(2, 0.5)]}
    assert record.status == "RUNNING"
    assert record.params == DESCRIPTION.params
    clock.now += run_logger.PAUSE
    requests = len(line.requests)
    logger.log(4, {"psnr": 33.0})
    assert line.requests[requests:] == ["log_batch"], "the history is read once"


def test_a_finished_run_is_complete(client: MlflowClient, experiment_id: str, artifacts: Path) -> None:
    logger = RunLogger(client, experiment_id, DESCRIPTION)
    logger.log(1, {"psnr": math.inf})
    assert logger.close(FINISHED, artifacts)
    record = recorded(client, experiment_id, KEY)
    assert record.status == "FINISHED"
    assert record.tags == {"trial_key": KEY, "kind": "trial", "threads": "1", "nip_sha256": "abc"}
    assert record.artifacts == {"confusion.json": b"[1]"}
    assert [step for step, _ in record.metrics["psnr"]] == [1]


def test_a_failed_run_has_a_reason(client: MlflowClient, experiment_id: str, artifacts: Path) -> None:
    logger = RunLogger(client, experiment_id, DESCRIPTION)
    logger.log(1, {"psnr": 30.0})
    assert logger.close(FAILED, artifacts)
    record = recorded(client, experiment_id, KEY)
    assert record.status == "FAILED"
    assert record.tags["failure"] == "loss is not finite"
    assert record.metrics == {"psnr": [(1, 30.0)]}


def test_whichever_request_fails_the_run_ends_the_same(
    client: MlflowClient, tmp_path: Path, artifacts: Path, clock: Clock
) -> None:
    """Every request of a job in turn: once it does not arrive, and once only its answer does not."""

    def run_job(line: Line) -> str:
        experiment_id = new_experiment(client, tmp_path)
        logger = RunLogger(line, experiment_id, DESCRIPTION)  # type: ignore[arg-type]
        logger.before("seconds")
        for step in (1, 2):
            clock.now += run_logger.PAUSE
            logger.log_checkpoint(f"checkpoint {step}")
            logger.log(step, {"psnr": 30.0 + step})
        while not logger.close(FINISHED, artifacts):
            pass
        return experiment_id

    undisturbed = Line(client)
    expected = recorded(client, run_job(undisturbed), KEY)
    assert expected.metrics["psnr"] == [(1, 31.0), (2, 32.0)]
    for number, request in enumerate(undisturbed.requests):
        for state in ("down", "deaf"):
            experiment_id = run_job(Line(client, states(*["up"] * number, state)))
            assert recorded(client, experiment_id, KEY) == expected, f"{request} (request {number}) {state}"


def test_a_long_outage_is_reported_once_and_made_up_for(
    client: MlflowClient, experiment_id: str, artifacts: Path, clock: Clock
) -> None:
    reports: list[str] = []
    line = Line(client, lambda: "down" if 100 < clock.now < 10_000 else "up")
    logger = RunLogger(line, experiment_id, DESCRIPTION, reports.append)  # type: ignore[arg-type]
    expected = []
    for step in range(300):
        clock.now += 40
        expected.append((step, float(step)))
        logger.log(step, {"psnr": float(step)})
        if 200 < clock.now < 10_000:
            assert logger.is_away
    assert len(reports) == 1
    assert "Connection refused" in reports[0]
    assert recorded(client, experiment_id, KEY).metrics["psnr"] == expected, "back before the end"
    clock.now = 200
    assert not logger.close(FINISHED, artifacts)
    clock.now = 10_000
    assert logger.close(FINISHED, artifacts)
    assert recorded(client, experiment_id, KEY).metrics["psnr"] == expected


def test_metrics_of_an_earlier_attempt_are_not_repeated(
    client: MlflowClient, experiment_id: str, artifacts: Path
) -> None:
    first = RunLogger(client, experiment_id, DESCRIPTION)
    first.log(2, {"psnr": 30.0})
    first.next_try = 0
    first.log(4, {"psnr": 31.0, "seconds": 12.0})
    second = RunLogger(client, experiment_id, DESCRIPTION)
    assert second.before("seconds") == 12
    assert second.before("no such metric") == 0
    for step, psnr in ((2, 30.0), (4, 31.0), (6, 32.0), (6, 32.0)):  # a resumed job logs its whole history again
        second.log(step, {"psnr": psnr})
    assert second.close(FINISHED, artifacts)
    assert recorded(client, experiment_id, KEY).metrics["psnr"] == [(2, 30.0), (4, 31.0), (6, 32.0)]


def test_many_metrics_are_sent_in_few_requests(client: MlflowClient, experiment_id: str, artifacts: Path) -> None:
    line = Line(client)
    logger = RunLogger(line, experiment_id, DESCRIPTION)  # type: ignore[arg-type]
    logger.next_try = math.inf
    for step in range(2 * BATCH + 1):
        logger.log(step, {"loss": float(step)})
    before = line.requests.count("log_batch")
    line.state = states(*["up"] * 5, "deaf")  # in the middle of it
    assert not logger.close(FINISHED, artifacts)
    assert logger.close(FINISHED, artifacts)
    assert recorded(client, experiment_id, KEY).metrics["loss"] == [
        (step, float(step)) for step in range(2 * BATCH + 1)
    ]
    assert line.requests.count("log_batch") - before <= 6


def test_a_tracker_that_hangs_costs_a_tenth_of_the_time(clock: Clock) -> None:
    """A lost machine refuses no connection: each request waits for its time-out."""

    class Hanging:
        def search_runs(self, *arguments: object) -> None:
            clock.now += 120
            raise refused_connection()

    logger = RunLogger(Hanging(), "1", DESCRIPTION)  # type: ignore[arg-type]
    work = 0
    while clock.now < 20_000:
        clock.now += 1
        work += 1
        logger.log(work, {"psnr": 30.0})
    assert work > 0.9 * clock.now
    assert len(logger.waiting) == work


@pytest.mark.parametrize("error_code", [INVALID_PARAMETER_VALUE, PERMISSION_DENIED])
def test_a_refusal_is_raised(experiment_id: str, artifacts: Path, error_code: int) -> None:
    class Refusing:
        def search_runs(self, *arguments: object) -> None:
            raise MlflowException("no", error_code)

    logger = RunLogger(Refusing(), experiment_id, DESCRIPTION)  # type: ignore[arg-type]
    for ask in (
        lambda: logger.before("seconds"),
        lambda: logger.close(FINISHED, artifacts),
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
def test_a_tracker_that_cannot_answer_is_away(artifacts: Path, error: Exception) -> None:
    class Unable:
        def search_runs(self, *arguments: object) -> None:
            raise error

    reports: list[str] = []
    logger = RunLogger(Unable(), "1", DESCRIPTION, reports.append)  # type: ignore[arg-type]
    assert logger.before("seconds") == 0
    assert not logger.close(FINISHED, artifacts)
    assert len(reports) == 1


def test_a_running_job_says_where_its_newest_checkpoint_lies(
    client: MlflowClient, experiment_id: str, artifacts: Path, clock: Clock
) -> None:
    logger = RunLogger(client, experiment_id, DESCRIPTION)
    logger.log(1, {"psnr": 30.0})
    for number in (1, 2):
        clock.now += run_logger.PAUSE
        logger.log_checkpoint(f"/storage/checkpoints/{number}")
        logger.log(1 + number, {"psnr": 30.0})
        assert recorded(client, experiment_id, KEY).tags[CHECKPOINT] == f"/storage/checkpoints/{number}"
    logger.log_checkpoint("/storage/checkpoints/3")
    assert logger.close(FINISHED, artifacts)
    assert CHECKPOINT not in recorded(client, experiment_id, KEY).tags, "its checkpoints are gone, too"
    assert logger.close(FINISHED, artifacts), "also the second time"


def test_a_failed_job_keeps_the_tag_of_its_checkpoint(
    client: MlflowClient, experiment_id: str, artifacts: Path, clock: Clock
) -> None:
    """The checkpoint stays in the storage."""
    logger = RunLogger(client, experiment_id, DESCRIPTION)
    logger.log_checkpoint("/storage/checkpoints/1")
    assert logger.close(FAILED, artifacts)
    assert recorded(client, experiment_id, KEY).tags[CHECKPOINT] == "/storage/checkpoints/1"
