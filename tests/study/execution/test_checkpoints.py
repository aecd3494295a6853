"""Two checkpoints of every job are kept; a damaged one costs the time since the one before it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient
from small_study import Record, recorded, results

from study.execution import run_logger, worker
from study.execution.checkpoints import Checkpoints, key_of
from study.jobs import Callbacks, Context
from study.jobs.trial import TrialJob
from study.storage import Storage

KEY, OTHER = "aa" * 16, "aaa" + "a" * 29 + "b"


def write(path: str | Path) -> None:
    Path(path).write_bytes(b"a checkpoint")


def test_the_newest_and_one_older_are_kept(storage: Storage) -> None:
    checkpoints, others = Checkpoints(storage, KEY), Checkpoints(storage, OTHER)
    assert checkpoints.names() == []
    others.save(5, write)
    for step in (0, 9, 10, 99, 100, 300_000):  # more digits are later, not earlier
        checkpoints.save(step, write)
        assert storage.read(checkpoints.names()[0]) == b"a checkpoint"
    assert checkpoints.names() == [f"checkpoints/{KEY}-{step:09d}.safetensors" for step in (300_000, 100)]
    assert {key_of(name) for name in storage.names("checkpoints")} == {KEY, OTHER}
    checkpoints.clear()
    assert checkpoints.names() == []
    assert len(others.names()) == 1
    checkpoints.clear()


def test_damaged_later_ones_do_not_crowd_out_new_ones(storage: Storage) -> None:
    checkpoints = Checkpoints(storage, KEY)
    for step in (30, 40):
        checkpoints.save(step, write)
    for step in (10, 20):  # by an attempt that could use neither
        checkpoints.save(step, write)
    assert [int(name[-21:-12]) for name in checkpoints.names()] == [20, 10]


def test_a_failed_save_leaves_the_others(storage: Storage) -> None:
    def fail(path: str | Path) -> None:
        raise OSError("no space left")

    checkpoints = Checkpoints(storage, KEY)
    for step in (1, 2):
        checkpoints.save(step, write)
    before = checkpoints.names()
    with pytest.raises(OSError, match="no space left"):
        checkpoints.save(3, fail)
    assert checkpoints.names() == before


class LostError(OSError):
    """The end of a process."""


def interrupted_at(step: int) -> Callable[[int, Mapping[str, float]], None]:
    def on_progress(done: int, metrics: Mapping[str, float]) -> None:
        if done == step:
            raise LostError

    return on_progress


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_a_flipped_bit(content: bytes) -> bytes:
    place = len(content) - 1000  # in a tensor, where no parser would notice
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


in_a_folder = pytest.mark.parametrize("storage", ["folder"], indirect=True)


@in_a_folder
def test_a_damaged_checkpoint_costs_no_more_than_time(
    job: TrialJob, context: Context, undisturbed: Record, client: MlflowClient
) -> None:
    checkpoints = Checkpoints(context.store, job.key)
    reports: list[str] = []

    def run_until(interrupted: int) -> int:
        """Run the trial to this step; return its first step."""
        steps: list[int] = []

        def on_progress(done: int, metrics: Mapping[str, float]) -> None:
            if not metrics:  # an iteration, not a validation, which a resumed trial logs again
                steps.append(done)
                interrupted_at(interrupted)(done, metrics)

        with pytest.raises(LostError):
            worker.run(job, context, on_progress, reports.append)
        return steps[0]

    def damage(name: str, how: Callable[[bytes], bytes]) -> None:
        checkpoints.storage.write(name, how(checkpoints.storage.read(name)))

    assert run_until(5) == 1
    assert len(checkpoints.names()) == 2
    assert run_until(5) == 5, "it resumes after the fourth iteration"
    assert reports == []

    damage(checkpoints.names()[0], truncated)
    assert run_until(3) == 3, "it resumes after the second"
    assert len(reports) == 1
    assert "truncated" in reports[0]

    for name, how in zip(checkpoints.names(), (with_a_flipped_bit, truncated), strict=True):
        damage(name, how)
    reports.clear()
    steps: list[int] = []

    def on_progress(done: int, metrics: Mapping[str, float]) -> None:
        if not metrics:
            steps.append(done)

    assert worker.run(job, context, on_progress, reports.append) is None
    assert steps == [1, 2, 3, 4, 5, 6], "from the beginning"
    assert len(reports) == 2
    assert results(recorded(client, context.experiment_id, job.key)) == results(undisturbed)
    assert checkpoints.names() == []
    assert worker.run(job, context, on_progress) is None
    assert len(steps) == 6, "a finished job does not run again"


@in_a_folder
def test_a_failed_checkpoint_does_not_stop_the_trial(
    job: TrialJob, context: Context, undisturbed: Record, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(storage: Storage, name: str, write: object) -> None:
        raise OSError("Read-only file system")

    reports: list[str] = []
    monkeypatch.setattr(Storage, "create", read_only)
    assert worker.run(job, context, say=reports.append) is None
    assert reports == [f"no checkpoint at iteration {step}: Read-only file system" for step in (2, 4)]
    assert results(recorded(client, context.experiment_id, job.key)) == results(undisturbed)


@in_a_folder
def test_a_checkpoint_of_another_trial_is_refused(
    job: TrialJob, context: Context, undisturbed: Record, client: MlflowClient
) -> None:
    other = job.model_copy(update={"key": "f" * 32, "trial": job.trial.__class__(**{**vars(job.trial), "seed": 2})})
    with pytest.raises(LostError):
        worker.run(other, context, interrupted_at(3))
    storage = context.store
    (foreign,) = Checkpoints(storage, other.key).names()
    storage.write(f"checkpoints/{job.key}-000000002.safetensors", storage.read(foreign))
    reports: list[str] = []
    assert worker.run(job, context, say=reports.append) is None
    assert "of another training: its trial differs" in reports[0]
    assert results(recorded(client, context.experiment_id, job.key)) == results(undisturbed)


def test_the_newest_checkpoint_of_a_running_trial_is_found_from_its_run(
    job: TrialJob,
    context: Context,
    undisturbed: Record,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its tag is a place in the storage, and whoever may read that can resume the trial."""
    monkeypatch.setattr(run_logger, "PAUSE", 0)
    monkeypatch.setattr(run_logger, "SHARE", 1e9)  # flush as often as possible
    with pytest.raises(LostError):
        worker.run(job, context, interrupted_at(5))
    record = recorded(client, context.experiment_id, job.key)
    assert record.status == "RUNNING"
    newest = Checkpoints(context.store, job.key).names()[0]
    assert "000004" in newest
    assert record.tags["checkpoint"] == context.store.where(newest)

    folder, _, name = record.tags["checkpoint"].rpartition("/")
    copy = Storage(folder).local(name, tmp_path)
    steps: list[int] = []
    outcome = job.train(context, Callbacks(on_step=steps.append), resume=copy)
    assert steps == [5, 6]
    assert [(step, metrics["loss_fan"]) for step, metrics in outcome.history.items()] == undisturbed.metrics["loss_fan"]

    assert worker.run(job, context) is None
    record = recorded(client, context.experiment_id, job.key)
    assert "checkpoint" not in record.tags
    assert results(record) == results(undisturbed)


def test_a_copy_of_a_checkpoint_is_removed_afterwards(
    job: TrialJob, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine's disk must not fill up with copies out of a bucket."""
    train, resumed_from = TrialJob.train, list[Path]()

    def spied(job: TrialJob, context: Context, callbacks: Callbacks, resume: Path | None = None) -> object:
        if resume is not None:
            assert resume.exists()
            resumed_from.append(resume)
        return train(job, context, callbacks, resume)

    monkeypatch.setattr(TrialJob, "train", spied)
    for step in (3, 5):
        with pytest.raises(LostError):
            worker.run(job, context, interrupted_at(step))
    (path,) = resumed_from
    assert path.exists() == context.store.is_folder, "in a folder it is the checkpoint itself"
