"""Two checkpoints of every job are kept, and a damaged one costs the time since the one before it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from small_study import Record, recorded, results

from study.execution import worker as work
from study.execution.checkpoints import Checkpoints, key_of
from study.execution.worker import perform
from study.jobs import TrialJob
from study.storage import Storage

KEY, OTHER = "aa" * 16, "aaa" + "a" * 29 + "b"


def write(path: str | Path) -> None:
    Path(path).write_bytes(b"a checkpoint")


def test_the_newest_and_the_one_before_are_kept(storage: Storage) -> None:
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


def test_later_ones_that_proved_damaged_do_not_crowd_out_new_ones(storage: Storage) -> None:
    checkpoints = Checkpoints(storage, KEY)
    for step in (30, 40):
        checkpoints.save(step, write)
    for step in (10, 20):  # an attempt that could use neither
        checkpoints.save(step, write)
    assert [int(name[-21:-12]) for name in checkpoints.names()] == [20, 10]


def test_one_that_cannot_be_written_leaves_those_that_are_there(storage: Storage) -> None:
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


def interrupted_at(step: int) -> Callable[[int], None]:
    def on_step(done: int) -> None:
        if done == step:
            raise LostError

    return on_step


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_a_flipped_bit(content: bytes) -> bytes:
    place = len(content) - 1000  # in a tensor, where no parser would notice
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


in_a_folder = pytest.mark.parametrize("storage", ["folder"], indirect=True)


@in_a_folder
def test_a_damaged_checkpoint_costs_no_more_than_time(job: TrialJob, undisturbed: Record, client: MlflowClient) -> None:
    checkpoints = job.place.checkpoints(job.key)
    said: list[str] = []

    def begun_again_at(interrupted: int) -> int:
        steps: list[int] = []

        def on_step(done: int) -> None:
            steps.append(done)
            interrupted_at(interrupted)(done)

        with pytest.raises(LostError):
            perform(job, on_step, said.append)
        return steps[0]

    def damage(name: str, how: Callable[[bytes], bytes]) -> None:
        checkpoints.storage.write(name, how(checkpoints.storage.read(name)))

    assert begun_again_at(5) == 1
    assert len(checkpoints.names()) == 2
    assert begun_again_at(5) == 5, "goes on after the fourth iteration"
    assert said == []

    damage(checkpoints.names()[0], truncated)
    assert begun_again_at(3) == 3, "goes on after the second"
    assert len(said) == 1
    assert "truncated" in said[0]

    for name, how in zip(checkpoints.names(), (with_a_flipped_bit, truncated), strict=True):
        damage(name, how)
    said.clear()
    steps: list[int] = []
    assert perform(job, steps.append, said.append) is None
    assert steps == [1, 2, 3, 4, 5, 6], "from the beginning"
    assert len(said) == 2
    assert results(recorded(client, job.place.experiment_id, job.key)) == results(undisturbed)
    assert checkpoints.names() == []
    assert perform(job, steps.append) is None
    assert len(steps) == 6, "done is done"


@in_a_folder
def test_a_checkpoint_that_cannot_be_kept_does_not_stop_the_trial(
    job: TrialJob, undisturbed: Record, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(storage: Storage, name: str, write: object) -> None:
        raise OSError("Read-only file system")

    said: list[str] = []
    monkeypatch.setattr(Storage, "create", read_only)
    assert perform(job, lambda step: None, said.append) is None
    assert said == [f"no checkpoint at iteration {step}: Read-only file system" for step in (2, 4)]
    assert results(recorded(client, job.place.experiment_id, job.key)) == results(undisturbed)


@in_a_folder
def test_one_of_another_trial_is_not_gone_on_from(
    job: TrialJob, undisturbed: Record, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "PATIENCE", 0)
    other = job.model_copy(update={"key": "f" * 32, "trial": job.trial.__class__(**{**vars(job.trial), "seed": 2})})
    with pytest.raises(LostError):
        perform(other, interrupted_at(3))
    (foreign,) = other.place.checkpoints(other.key).names()
    storage = job.place.shared
    storage.write(f"checkpoints/{job.key}-000000002.safetensors", storage.read(foreign))
    said: list[str] = []
    assert perform(job, lambda step: None, said.append) is None
    assert "of another training: its trial differs" in said[0]
    assert results(recorded(client, job.place.experiment_id, job.key)) == results(undisturbed)
