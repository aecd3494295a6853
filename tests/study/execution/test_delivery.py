"""Results that waited for the tracker are delivered, as if it had never been away."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from small_study import Line, Record, recorded, results

from study.execution import delivery, run_logger, worker
from study.execution.delivery import deliver, delivering, enqueue, is_pending, pending
from study.execution.run_logger import Ending, RunLogger
from study.jobs import BaseJob, Callbacks, Context, JobResult
from study.jobs.trial import TrialJob
from study.settings import StudyError
from study.storage import Storage
from study.tracking import Description

KEY, OTHER = "c" * 32, "d" * 32
FINISHED = Ending(status="FINISHED", tags={"stopped": "converged"}, reason=None)
FAILED = Ending(status="FAILED", tags={}, reason="loss is not finite")


def describe(key: str) -> Description:
    return Description(key=key, run_key=key, kind="trial", name="a trial", params={"seed": "1"}, tags={"threads": "1"})


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "nip.safetensors").write_bytes(b"weights")
    (folder / "confusion.json").write_text("[1]")
    return folder


class Tracker:
    """A tracker whose line is cut at first."""

    def __init__(self, client: MlflowClient) -> None:
        self.line = "down"
        self.client: MlflowClient = Line(client, lambda: self.line)  # type: ignore[assignment]


@pytest.fixture
def tracker(client: MlflowClient) -> Tracker:
    return Tracker(client)


def leave(
    storage: Storage, tracker: Tracker, experiment_id: str, artifacts: Path, key: str = KEY, ending: Ending = FINISHED
) -> None:
    """Run a job while the tracker is away, and store its result."""
    logger = RunLogger(tracker.client, experiment_id, describe(key))
    logger.log(1, {"psnr": 30.0, "ssim": math.nan})
    logger.log(2, {"psnr": math.inf})
    assert not logger.close(ending, artifacts)
    enqueue(storage, logger, ending, artifacts)


@pytest.mark.parametrize("ending", [FINISHED, FAILED], ids=["finished", "failed"])
def test_a_delivered_result_is_complete(
    storage: Storage, tracker: Tracker, client: MlflowClient, experiment_id: str, artifacts: Path, ending: Ending
) -> None:
    leave(storage, tracker, experiment_id, artifacts, ending=ending)
    assert is_pending(storage, KEY)
    assert deliver(storage, tracker.client, experiment_id, {KEY: KEY}) == 1, "still away"
    assert is_pending(storage, KEY)
    assert deliver(storage, client, experiment_id, {KEY: KEY}) == 0
    assert not is_pending(storage, KEY)
    assert storage.names("pending") == []
    record = recorded(client, experiment_id, KEY)
    assert record.status == ending.status
    assert record.artifacts == {"nip.safetensors": b"weights", "confusion.json": b"[1]"}
    assert [step for step, _ in record.metrics["psnr"]] == [1, 2]
    assert record.metrics["psnr"][0] == (1, 30.0)
    assert math.isnan(record.metrics["ssim"][0][1])
    assert record.tags.get("failure") == ending.reason
    assert record.tags.items() >= ending.tags.items()
    assert record.params == {"seed": "1"}
    assert deliver(storage, client, experiment_id, {KEY: KEY}) == 0
    assert recorded(client, experiment_id, KEY).artifacts == record.artifacts


def test_metrics_that_had_arrived_before_are_not_repeated(
    storage: Storage, tracker: Tracker, client: MlflowClient, experiment_id: str, artifacts: Path
) -> None:
    earlier = RunLogger(client, experiment_id, describe(KEY))
    earlier.log(1, {"psnr": 30.0})
    leave(storage, tracker, experiment_id, artifacts)
    tracker.line = "deaf"
    assert deliver(storage, tracker.client, experiment_id, {KEY: KEY}) == 1
    assert deliver(storage, client, experiment_id, {KEY: KEY}) == 0
    assert [step for step, _ in recorded(client, experiment_id, KEY).metrics["psnr"]] == [1, 2]


def test_an_interrupted_delivery_is_repeated(
    storage: Storage, client: MlflowClient, tracker: Tracker, experiment_id: str, artifacts: Path
) -> None:
    """Killed after the run had ended, but before the pending result was removed."""
    leave(storage, tracker, experiment_id, artifacts)
    kept = {name: storage.read(name) for name in storage.names("pending")}
    assert deliver(storage, client, experiment_id, {KEY: KEY}) == 0
    before = recorded(client, experiment_id, KEY)
    for name, content in kept.items():
        storage.write(name, content)
    assert deliver(storage, client, experiment_id, {KEY: KEY}) == 0
    after = recorded(client, experiment_id, KEY)
    assert repr(after) == repr(before), "as text: it has a NaN, which no NaN equals"


def test_only_a_whole_result_counts(storage: Storage, client: MlflowClient, experiment_id: str) -> None:
    storage.write(f"pending/{KEY}/nip.safetensors", b"weights")
    assert not is_pending(storage, KEY)
    assert pending(storage, {KEY}) == []
    assert deliver(storage, client, experiment_id, {KEY: KEY}) == 0
    assert storage.names("pending") == [f"pending/{KEY}/nip.safetensors"]


def test_files_of_an_attempt_without_a_result_are_not_attached(
    storage: Storage, tracker: Tracker, client: MlflowClient, experiment_id: str, artifacts: Path
) -> None:
    storage.write(f"pending/{KEY}/failure.txt", b"Traceback")
    leave(storage, tracker, experiment_id, artifacts)
    assert deliver(storage, client, experiment_id, {KEY: KEY}) == 0
    assert set(recorded(client, experiment_id, KEY).artifacts) == {"nip.safetensors", "confusion.json"}
    assert storage.names("pending") == []


def test_only_results_of_the_given_keys_are_delivered(
    storage: Storage, tracker: Tracker, client: MlflowClient, experiment_id: str, artifacts: Path
) -> None:
    for key in (KEY, OTHER):
        leave(storage, tracker, experiment_id, artifacts, key)
    assert pending(storage, {KEY, OTHER, "e" * 32}) == [KEY, OTHER]
    assert deliver(storage, client, experiment_id, {OTHER: OTHER}) == 0
    assert pending(storage, {KEY, OTHER}) == [KEY]
    assert client.search_runs([experiment_id], f"tags.trial_key = '{KEY}'") == []


in_a_folder = pytest.mark.parametrize("storage", ["folder"], indirect=True)


@in_a_folder
@pytest.mark.parametrize("damage", ["no JSON", "a way out", "a lost file"])
def test_a_damaged_result_is_one_clear_line(
    storage: Storage,
    tracker: Tracker,
    client: MlflowClient,
    experiment_id: str,
    artifacts: Path,
    damage: str,
) -> None:
    leave(storage, tracker, experiment_id, artifacts)
    file = f"pending/{KEY}/result.json"
    if damage == "no JSON":
        storage.write(file, b"{")
    elif damage == "a way out":
        storage.write(file, storage.read(file).replace(b"confusion.json", b"../../secret"))
        storage.write("secret", b"secret")
    else:
        storage.delete(f"pending/{KEY}/nip.safetensors")
    with pytest.raises(StudyError, match=f"pending/{KEY} is damaged: remove it") as raised:
        deliver(storage, client, experiment_id, {KEY: KEY})
    assert "\n" not in str(raised.value)
    assert client.search_runs([experiment_id]) == []


@in_a_folder
def test_a_refusal_is_raised_and_nothing_is_lost(
    storage: Storage, tracker: Tracker, experiment_id: str, artifacts: Path
) -> None:
    class Refusing:
        def search_runs(self, *arguments: object) -> None:
            raise MlflowException("Invalid Host header", PERMISSION_DENIED)

    leave(storage, tracker, experiment_id, artifacts)
    with pytest.raises(MlflowException, match="Invalid Host"):
        deliver(storage, Refusing(), experiment_id, {KEY: KEY})  # type: ignore[arg-type]
    assert is_pending(storage, KEY)


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "ROUND_SECONDS", 0.02)


@in_a_folder
@pytest.mark.usefixtures("rounds")
def test_results_are_delivered_during_the_study_and_at_its_end(
    storage: Storage, tracker: Tracker, client: MlflowClient, experiment_id: str, artifacts: Path
) -> None:
    reports: list[str] = []

    def say(text: str) -> None:
        reports.append(text)
        tracker.line = "up"  # it comes back after the first report

    keys = [KEY, OTHER, "e" * 32]
    with delivering(storage, tracker.client, experiment_id, dict(zip(keys, keys, strict=True)), say):
        leave(storage, tracker, experiment_id, artifacts, keys[0])
        tracker.line = "up"
        eventually(lambda: not is_pending(storage, keys[0]))
        tracker.line = "down"
        for key in keys[1:]:
            leave(storage, tracker, experiment_id, artifacts, key)
        assert reports == []
    assert pending(storage, keys) == []
    assert {recorded(client, experiment_id, key).status for key in keys} == {"FINISHED"}
    assert len(reports) == 1
    assert reports[0].startswith("2 results wait in")


@in_a_folder
@pytest.mark.usefixtures("rounds")
def test_a_failing_storage_is_retried(
    storage: Storage,
    tracker: Tracker,
    client: MlflowClient,
    experiment_id: str,
    artifacts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names, left = Storage.names, [OSError("stale file handle")]

    def failing(storage: Storage, folder: str) -> list[str]:
        if left:
            raise left.pop()
        return names(storage, folder)

    reports: list[str] = []
    monkeypatch.setattr(delivery, "ROUND_SECONDS", 60)
    with delivering(storage, client, experiment_id, {KEY: KEY}, reports.append):
        leave(storage, tracker, experiment_id, artifacts)
        monkeypatch.setattr(Storage, "names", failing)
    assert recorded(client, experiment_id, KEY).status == "FINISHED"
    assert reports == ["stale file handle; trying again until it works", "it works again"]


@in_a_folder
@pytest.mark.usefixtures("rounds")
def test_an_error_of_the_study_is_not_delayed(storage: Storage, tracker: Tracker, artifacts: Path) -> None:
    leave(storage, tracker, "1", artifacts)
    with pytest.raises(KeyboardInterrupt), delivering(storage, tracker.client, "1", {KEY: KEY}, lambda text: None):
        raise KeyboardInterrupt
    assert is_pending(storage, KEY)


@pytest.mark.parametrize(("storage", "state"), [("folder", "down"), ("bucket", "deaf")], indirect=["storage"])
def test_a_trial_that_the_tracker_missed(
    job: TrialJob,
    context: Context,
    undisturbed: Record,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    """It ends bit-identical, and nobody but the tracker has missed anything."""
    line, reports = Line(client, lambda: state), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(Context, "client", line)
        patch.setattr(run_logger, "PAUSE", 0)
        patch.setattr(run_logger, "SHARE", 1e9)  # as often as possible
        assert worker.run(job, context, say=reports.append) is None
    assert "tracking is away" in reports[0]
    assert len(reports) == 1
    storage = context.store
    assert pending(storage, {job.key}) == [job.key]
    steps: list[int] = []

    def on_progress(step: int, metrics: Mapping[str, float]) -> None:
        steps.append(step)

    assert worker.run(job, context, on_progress) is None
    assert steps == [], "it is done, although the tracker does not know"
    assert deliver(storage, client, context.experiment_id, {job.key: job.run_key}) == 0
    assert results(recorded(client, context.experiment_id, job.key)) == results(undisturbed)
    assert worker.run(job, context, on_progress) is None
    assert steps == []


@in_a_folder
def test_a_trial_that_fails_by_itself_while_the_tracker_is_away(
    job: TrialJob, context: Context, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned = job.model_copy(update={"trial": type(job.trial)(**{**vars(job.trial), "lam": 3e38})})
    with monkeypatch.context() as patch:
        patch.setattr(Context, "client", Line(client, lambda: "down"))
        failure = worker.run(poisoned, context)
    assert failure is not None
    assert "loss is not finite" in failure
    assert deliver(context.store, client, context.experiment_id, {job.key: job.run_key}) == 0
    record = recorded(client, context.experiment_id, job.key)
    assert record.status == "FAILED"
    assert "loss is not finite" in record.tags["failure"]
    assert set(record.artifacts) == {"failure.txt"}


class GuestJob(BaseJob):
    """A job that adds a metric and a file in a folder to another job's run."""

    kind: ClassVar[str] = "guest"
    host: str

    @property
    def run_key(self) -> str:
        return self.host

    @property
    def name(self) -> str:
        return "a guest"

    @property
    def params(self) -> dict[str, Any]:
        return {}

    @property
    def steps(self) -> int:
        return 1

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        callbacks.on_step(1)
        callbacks.on_metrics(6, {"accuracy_guest": 0.5})
        (artifacts / "evaluation").mkdir()
        (artifacts / "evaluation" / "guest.json").write_text("[2]")
        return JobResult(1, {"guest": "was here"})


@pytest.fixture
def host(client: MlflowClient, experiment_id: str, artifacts: Path) -> Record:
    """A finished run with the key ``OTHER``."""
    logger = RunLogger(client, experiment_id, describe(OTHER))
    logger.log(6, {"psnr": 30.0})
    assert logger.close(FINISHED, artifacts)
    return recorded(client, experiment_id, OTHER)


@pytest.mark.parametrize("state", ["up", "down", "deaf"])
def test_a_job_adds_to_the_run_of_another(
    host: Record, context: Context, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    job, steps = GuestJob(key=KEY, host=OTHER), list[int]()
    (before,) = client.search_runs([context.experiment_id])

    def on_progress(step: int, metrics: Mapping[str, float]) -> None:
        steps.append(step)

    with monkeypatch.context() as patch:
        patch.setattr(Context, "client", Line(client, lambda: state))
        assert worker.run(job, context, on_progress) is None
    assert is_pending(context.store, KEY) == (state != "up")
    assert deliver(context.store, client, context.experiment_id, {KEY: OTHER}) == 0
    assert worker.run(job, context, on_progress) is None
    assert steps == [1, 1], "it ran once"
    record = recorded(client, context.experiment_id, OTHER)
    assert client.search_runs([context.experiment_id], f"tags.trial_key = '{KEY}'") == [], "no run of its own"
    (after,) = client.search_runs([context.experiment_id])
    assert after.info == before.info, "not even the time of its end has changed"
    assert record.status == host.status == "FINISHED"
    assert record.params == host.params
    assert record.metrics == host.metrics | {"accuracy_guest": [(6, 0.5)]}
    assert record.artifacts == host.artifacts | {"evaluation/guest.json": b"[2]"}
    assert record.tags == host.tags | {f"added.{KEY}": "FINISHED", "guest": "was here"}


@in_a_folder
def test_a_job_that_fails_leaves_the_run_that_it_adds_to_as_it_was(
    host: Record, context: Context, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(job: GuestJob, *arguments: object) -> JobResult:
        raise ValueError("no such\ncodec: at all")

    job = GuestJob(key=KEY, host=OTHER)
    with monkeypatch.context() as patch:
        patch.setattr(GuestJob, "run", fail)
        assert worker.run(job, context) == "no such\ncodec: at all"
    record = recorded(client, context.experiment_id, OTHER)
    assert record.status == "FINISHED"
    assert record.tags == host.tags | {f"added.{KEY}": "FAILED: no such codec: at all"}
    assert record.metrics == host.metrics
    assert record.artifacts.keys() == host.artifacts.keys() | {"failure.txt"}
    assert worker.run(job, context) is None, "it may be repeated"
    assert recorded(client, context.experiment_id, OTHER).tags[f"added.{KEY}"] == "FINISHED"


@in_a_folder
def test_without_the_run_that_it_adds_to_a_job_fails_at_once(context: Context, client: MlflowClient) -> None:
    steps: list[int] = []
    failure = worker.run(GuestJob(key=KEY, host=OTHER), context, lambda step, metrics: steps.append(step))
    assert failure == "the run that a guest adds to is not there: run the study again"
    assert steps == []
    assert client.search_runs([context.experiment_id]) == []


@in_a_folder
def test_a_pending_result_whose_run_is_gone_is_one_clear_line(
    context: Context, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Context, "client", Line(client, lambda: "down"))
        assert worker.run(GuestJob(key=KEY, host=OTHER), context) is None
    with pytest.raises(StudyError, match="the run that a guest adds to is not there") as raised:
        deliver(context.store, client, context.experiment_id, {KEY: OTHER})
    assert "\n" not in str(raised.value)
    assert is_pending(context.store, KEY), "nothing is lost"
