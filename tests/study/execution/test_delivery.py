"""Results that the tracker was away for are delivered, as if it had never been."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from small_study import Line, Record, recorded, results

from study.execution import delivery as outbox
from study.execution import run_logger as logbook
from study.execution import worker as work
from study.execution.delivery import deliver, delivering, holds, post, waiting
from study.execution.run_logger import Ending, Logbook
from study.execution.worker import perform
from study.jobs import TrialJob
from study.settings import StudyError
from study.storage import Storage
from study.tracking import Description

KEY, OTHER = "c" * 32, "d" * 32
FINISHED = Ending(status="FINISHED", tags={"stopped": "converged"}, reason=None)
FAILED = Ending(status="FAILED", tags={}, reason="loss is not finite")


def describe(key: str) -> Description:
    return Description(key=key, kind="trial", name="a trial", params={"seed": "1"}, tags={"threads": "1"})


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "nip.safetensors").write_bytes(b"weights")
    (folder / "confusion.json").write_text("[1]")
    return folder


class Tracker:
    """Of a test: at first its line is cut."""

    def __init__(self, client: MlflowClient) -> None:
        self.line = "down"
        self.client: MlflowClient = Line(client, lambda: self.line)  # type: ignore[assignment]


@pytest.fixture
def tracker(client: MlflowClient) -> Tracker:
    return Tracker(client)


def leave(
    storage: Storage, tracker: Tracker, experiment_id: str, artifacts: Path, key: str = KEY, ending: Ending = FINISHED
) -> None:
    """Do a job while the tracker is away."""
    book = Logbook(tracker.client, experiment_id, describe(key))
    book.log(1, {"psnr": 30.0, "ssim": math.nan})
    book.log(2, {"psnr": math.inf})
    assert not book.close(ending, artifacts)
    post(storage, book, ending, artifacts)


@pytest.mark.parametrize("ending", [FINISHED, FAILED], ids=["finished", "failed"])
def test_what_is_delivered_is_as_if_nothing_had_happened(
    storage: Storage, tracker: Tracker, client: MlflowClient, experiment_id: str, artifacts: Path, ending: Ending
) -> None:
    leave(storage, tracker, experiment_id, artifacts, ending=ending)
    assert holds(storage, KEY)
    assert deliver(storage, tracker.client, experiment_id, {KEY}) == 1, "still away"
    assert holds(storage, KEY)
    assert deliver(storage, client, experiment_id, {KEY}) == 0
    assert not holds(storage, KEY)
    assert storage.names("outbox") == []
    record = recorded(client, experiment_id, KEY)
    assert record.status == ending.status
    assert record.artifacts == {"nip.safetensors": b"weights", "confusion.json": b"[1]"}
    assert [step for step, _ in record.figures["psnr"]] == [1, 2]
    assert record.figures["psnr"][0] == (1, 30.0)
    assert math.isnan(record.figures["ssim"][0][1])
    assert record.tags.get("failure") == ending.reason
    assert record.tags.items() >= ending.tags.items()
    assert record.params == {"seed": "1"}
    assert deliver(storage, client, experiment_id, {KEY}) == 0
    assert recorded(client, experiment_id, KEY).artifacts == record.artifacts


def test_what_had_arrived_before_is_not_told_twice(
    storage: Storage, tracker: Tracker, client: MlflowClient, experiment_id: str, artifacts: Path
) -> None:
    earlier = Logbook(client, experiment_id, describe(KEY))
    earlier.log(1, {"psnr": 30.0})
    leave(storage, tracker, experiment_id, artifacts)
    tracker.line = "deaf"
    assert deliver(storage, tracker.client, experiment_id, {KEY}) == 1
    assert deliver(storage, client, experiment_id, {KEY}) == 0
    assert [step for step, _ in recorded(client, experiment_id, KEY).figures["psnr"]] == [1, 2]


def test_a_delivery_that_was_cut_off_is_repeated(
    storage: Storage, client: MlflowClient, tracker: Tracker, experiment_id: str, artifacts: Path
) -> None:
    """Killed after its last word, but before the parcel was thrown away."""
    leave(storage, tracker, experiment_id, artifacts)
    kept = {name: storage.read(name) for name in storage.names("outbox")}
    assert deliver(storage, client, experiment_id, {KEY}) == 0
    before = recorded(client, experiment_id, KEY)
    for name, content in kept.items():
        storage.write(name, content)
    assert deliver(storage, client, experiment_id, {KEY}) == 0
    after = recorded(client, experiment_id, KEY)
    assert repr(after) == repr(before), "as text: it has a NaN, which no NaN equals"


def test_only_what_was_left_whole_counts(storage: Storage, client: MlflowClient, experiment_id: str) -> None:
    storage.write(f"outbox/{KEY}/nip.safetensors", b"weights")
    assert not holds(storage, KEY)
    assert waiting(storage, {KEY}) == []
    assert deliver(storage, client, experiment_id, {KEY}) == 0
    assert storage.names("outbox") == [f"outbox/{KEY}/nip.safetensors"]


def test_files_of_an_attempt_that_left_no_parcel_are_not_attached(
    storage: Storage, tracker: Tracker, client: MlflowClient, experiment_id: str, artifacts: Path
) -> None:
    storage.write(f"outbox/{KEY}/failure.txt", b"Traceback")
    leave(storage, tracker, experiment_id, artifacts)
    assert deliver(storage, client, experiment_id, {KEY}) == 0
    assert set(recorded(client, experiment_id, KEY).artifacts) == {"nip.safetensors", "confusion.json"}
    assert storage.names("outbox") == []


def test_only_what_is_asked_for_is_delivered(
    storage: Storage, tracker: Tracker, client: MlflowClient, experiment_id: str, artifacts: Path
) -> None:
    for key in (KEY, OTHER):
        leave(storage, tracker, experiment_id, artifacts, key)
    assert waiting(storage, {KEY, OTHER, "e" * 32}) == [KEY, OTHER]
    assert deliver(storage, client, experiment_id, {OTHER}) == 0
    assert waiting(storage, {KEY, OTHER}) == [KEY]
    assert client.search_runs([experiment_id], f"tags.trial_key = '{KEY}'") == []


in_a_folder = pytest.mark.parametrize("storage", ["folder"], indirect=True)


@in_a_folder
@pytest.mark.parametrize("damage", ["no JSON", "a way out", "a lost file"])
def test_a_damaged_parcel_is_one_clear_line(
    storage: Storage,
    tracker: Tracker,
    client: MlflowClient,
    experiment_id: str,
    artifacts: Path,
    damage: str,
) -> None:
    leave(storage, tracker, experiment_id, artifacts)
    parcel = f"outbox/{KEY}/parcel.json"
    if damage == "no JSON":
        storage.write(parcel, b"{")
    elif damage == "a way out":
        storage.write(parcel, storage.read(parcel).replace(b"confusion.json", b"../../secret"))
        storage.write("secret", b"secret")
    else:
        storage.delete(f"outbox/{KEY}/nip.safetensors")
    with pytest.raises(StudyError, match=f"outbox/{KEY} is damaged: remove it") as raised:
        deliver(storage, client, experiment_id, {KEY})
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
        deliver(storage, Refusing(), experiment_id, {KEY})  # type: ignore[arg-type]
    assert holds(storage, KEY)


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "ROUND", 0.02)


@in_a_folder
@pytest.mark.usefixtures("rounds")
def test_delivered_while_the_study_goes_on_and_at_its_end(
    storage: Storage, tracker: Tracker, client: MlflowClient, experiment_id: str, artifacts: Path
) -> None:
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        tracker.line = "up"  # it comes back once someone complains

    keys = [KEY, OTHER, "e" * 32]
    with delivering(storage, tracker.client, experiment_id, keys, say):
        leave(storage, tracker, experiment_id, artifacts, keys[0])
        tracker.line = "up"
        eventually(lambda: not holds(storage, keys[0]))
        tracker.line = "down"
        for key in keys[1:]:
            leave(storage, tracker, experiment_id, artifacts, key)
        assert said == []
    assert waiting(storage, keys) == []
    assert {recorded(client, experiment_id, key).status for key in keys} == {"FINISHED"}
    assert len(said) == 1
    assert said[0].startswith("2 results wait in")


@in_a_folder
@pytest.mark.usefixtures("rounds")
def test_a_storage_that_fails_meanwhile_is_waited_for(
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

    said: list[str] = []
    monkeypatch.setattr(outbox, "ROUND", 60)
    with delivering(storage, client, experiment_id, {KEY}, said.append):
        leave(storage, tracker, experiment_id, artifacts)
        monkeypatch.setattr(Storage, "names", failing)
    assert recorded(client, experiment_id, KEY).status == "FINISHED"
    assert said == ["stale file handle; trying again until it works", "it works again"]


@in_a_folder
@pytest.mark.usefixtures("rounds")
def test_an_error_of_the_study_is_not_held_up(storage: Storage, tracker: Tracker, artifacts: Path) -> None:
    leave(storage, tracker, "1", artifacts)
    with pytest.raises(KeyboardInterrupt), delivering(storage, tracker.client, "1", {KEY}, lambda text: None):
        raise KeyboardInterrupt
    assert holds(storage, KEY)


@pytest.mark.parametrize(("storage", "state"), [("folder", "down"), ("bucket", "deaf")], indirect=["storage"])
def test_a_trial_that_the_tracker_missed(
    job: TrialJob,
    undisturbed: Record,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    """Bit-identical, and nobody but the tracker has missed anything."""
    line, said = Line(client, lambda: state), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(work, "MlflowClient", lambda uri: line)
        patch.setattr(logbook, "PAUSE", 0)
        patch.setattr(logbook, "SHARE", 1e9)  # as often as possible
        assert perform(job, lambda step: None, said.append) is None
    assert "tracking is away" in said[0]
    assert len(said) == 1
    storage = job.place.shared
    assert waiting(storage, {job.key}) == [job.key]
    steps: list[int] = []
    assert perform(job, steps.append) is None
    assert steps == [], "it is done, although the tracker knows nothing of it"
    assert deliver(storage, client, job.place.experiment_id, {job.key}) == 0
    assert results(recorded(client, job.place.experiment_id, job.key)) == results(undisturbed)
    assert perform(job, steps.append) is None
    assert steps == []


@in_a_folder
def test_a_trial_that_fails_by_itself_while_the_tracker_is_away(
    job: TrialJob, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned = job.model_copy(update={"trial": type(job.trial)(**{**vars(job.trial), "lam": 3e38})})
    with monkeypatch.context() as patch:
        patch.setattr(work, "MlflowClient", lambda uri: Line(client, lambda: "down"))
        failure = perform(poisoned, lambda step: None)
    assert failure is not None
    assert "loss is not finite" in failure
    assert deliver(job.place.shared, client, job.place.experiment_id, {job.key}) == 0
    record = recorded(client, job.place.experiment_id, job.key)
    assert record.status == "FAILED"
    assert "loss is not finite" in record.tags["failure"]
    assert set(record.artifacts) == {"failure.txt"}
