"""What the engine concludes from an error: try again, elsewhere or alone, or close the job."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from mlflow import MlflowClient
from small_study import recorded

from study.execution import attempts, card, failures, place
from study.execution.attempts import attempt
from study.execution.place import Place
from study.jobs import Callbacks, Context
from study.jobs.job import BaseJob, JobResult
from study.tracking import find

pytestmark = pytest.mark.parametrize("storage", ["folder"], indirect=True)
KEYS = ["ab" * 16, "cd" * 16, "ef" * 16]
HERE = Place("10.0.0.3", is_only_machine=False)
THERE = Place("10.0.0.4", is_only_machine=False)


class FragileJob(BaseJob):
    """Raises what ``errors`` hold, one an attempt, at the third of four steps."""

    kind: ClassVar[str] = "fragile"
    errors: ClassVar[list[Exception]] = []
    seen: ClassVar[list[Context]] = []

    @property
    def name(self) -> str:
        return "fragile"

    @property
    def params(self) -> dict[str, Any]:
        return {}

    @property
    def steps(self) -> int:
        return 4

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        self.seen.append(context)
        callbacks.on_step(3)
        if self.errors:
            raise self.errors.pop(0)
        return JobResult(4)


Try = Callable[..., str | None]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def once(context: Context, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Try:
    """One attempt at a job: raises, or returns why it failed."""
    monkeypatch.setattr(place, "notes_folder", lambda: tmp_path)
    monkeypatch.setattr(place, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(FragileJob, "errors", [])
    monkeypatch.setattr(FragileJob, "seen", [])

    def once(key: str, where: Place, *errors: Exception, gpus: float = 0.25) -> str | None:
        FragileJob.errors.extend(errors)
        shared = context.model_copy(update={"gpus": gpus})
        return attempt(FragileJob(key=key), shared, replace(where), lambda step, metrics: None, said.append)

    return once


def bug() -> Exception:
    return TypeError("unsupported operand")


def test_cuda_errors_are_never_the_jobs_own(once: Try, context: Context, client: MlflowClient) -> None:
    for where in (HERE, THERE, HERE, HERE, THERE):
        with pytest.raises(torch.AcceleratorError):
            once(KEYS[0], where, torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))
    run = find(client, context.experiment_id, KEYS[0])
    assert run is not None
    assert run.info.status == "RUNNING", "as after a kill"
    assert len(HERE.row()) == len(THERE.row()) == 1, "one job"
    assert once(KEYS[0], HERE) is None
    assert recorded(client, context.experiment_id, KEYS[0]).status == "FINISHED"
    assert HERE.row() == []
    assert once(KEYS[1], THERE) is None
    assert THERE.row() == [], "a success clears the place, whatever failed there before"


def test_a_nan_is_the_jobs_own_at_once(once: Try, context: Context, client: MlflowClient) -> None:
    assert once(KEYS[0], HERE, FloatingPointError("the loss is not finite")) == "the loss is not finite"
    assert recorded(client, context.experiment_id, KEYS[0]).status == "FAILED"
    assert HERE.row() == []
    assert failures.failures(context.store) == []


def test_an_unknown_error_is_the_jobs_own_when_it_repeats_and_two_machines_have_seen_it(
    once: Try, context: Context, client: MlflowClient
) -> None:
    for _ in range(3):
        with pytest.raises(TypeError):
            once(KEYS[0], HERE, bug())  # maybe this machine's installation is broken
    assert len(HERE.row()) == 1
    assert once(KEYS[0], THERE, bug()) == "TypeError: unsupported operand"
    assert THERE.row() == [], "which is not to blame"
    record = recorded(client, context.experiment_id, KEYS[0])
    assert record.status == "FAILED"
    assert record.tags["failure"] == "TypeError: unsupported operand"
    assert b"raise self.errors.pop(0)" in record.artifacts["failure.txt"]


def test_a_machine_that_breaks_every_job_ruins_none(once: Try, client: MlflowClient, context: Context) -> None:
    for key in KEYS * 2:
        with pytest.raises(AttributeError):
            once(key, HERE, AttributeError("broken installation"))
    assert len(HERE.row()) == 3
    for key in KEYS:
        assert once(key, THERE) is None
        assert recorded(client, context.experiment_id, key).status == "FINISHED"
    assert failures.failures(context.store) == [], "of jobs that have ended well"


def test_where_there_is_one_machine_an_error_that_repeats_is_the_jobs_own(once: Try) -> None:
    only = replace(HERE, is_only_machine=True)
    with pytest.raises(TypeError):
        once(KEYS[0], only, bug())
    with pytest.raises(TypeError):
        once(KEYS[0], only, TypeError("another one"))
    assert only.row() == [], "to wait would not help"
    assert once(KEYS[0], only, bug()) == "TypeError: unsupported operand"


def test_a_mistake_that_all_jobs_meet_costs_each_two_attempts_and_no_waiting(once: Try) -> None:
    with pytest.raises(TypeError):
        once(KEYS[0], THERE, bug())
    for key in KEYS[1:]:
        with pytest.raises(TypeError):
            once(key, HERE, bug())
        assert HERE.row() == [], "another machine has seen the same"
        assert once(key, HERE, bug()) == "TypeError: unsupported operand"


def shortage() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_out_of_memory_is_tried_again_alone(once: Try, said: list[str], context: Context) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        once(KEYS[0], HERE, shortage())
    assert said == []
    assert once(KEYS[0], THERE) is None
    assert said == ["out of memory with resources.gpus: 0.25; tried again alone on 10.0.0.4, with all of its memory"]
    assert [seen.gpus for seen in FragileJob.seen] == [0.25, 1]
    assert failures.failures(context.store) == []
    assert HERE.row() == [], "the machine is not to blame"
    assert once(KEYS[1], HERE) is None
    assert FragileJob.seen[-1].gpus == 0.25


def test_twice_out_of_memory_alone_is_too_large(
    once: Try, context: Context, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "figures", lambda context: "at most 23.1 GB were in use of the 23.7 GB of this L4")
    alone = []
    shared = Place.shared
    monkeypatch.setattr(Place, "shared", lambda self, how=False: alone.append(how) or shared(self, how))
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            once(KEYS[0], HERE, shortage())
    failure = once(KEYS[0], HERE, shortage())
    assert failure == (
        "out of memory with resources.gpus: 0.25, and twice alone on 10.0.0.3 (at most 23.1 GB were in use of the 23.7 "
        "GB of this L4; CUDA out of memory. Tried to allocate 2.00 GiB.): make training.patch or training.batch "
        "smaller, or use cards with more memory; 'python -m study check' says what each NIP needs"
    )
    assert recorded(client, context.experiment_id, KEYS[0]).status == "FAILED"
    assert alone == [False, True, True]


def test_the_peak_of_a_card_is_logged_at_the_end_and_its_memory_given_back(
    once: Try, context: Context, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[Context] = []
    monkeypatch.setattr(card, "peak", lambda context: {"gpu_peak_gb": 5.25})
    monkeypatch.setattr(card, "release", released.append)
    assert once(KEYS[0], HERE) is None
    assert recorded(client, context.experiment_id, KEYS[0]).metrics["gpu_peak_gb"] == [(4, 5.25)]
    assert len(released) == 1


def test_a_late_cuda_error_ends_the_process_and_the_job_is_done(
    once: Try, context: Context, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def release(context: Context) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    with monkeypatch.context() as patch, pytest.raises(torch.AcceleratorError):
        patch.setattr(card, "release", release)
        once(KEYS[0], HERE)
    assert once(KEYS[0], HERE, AssertionError("it is done already")) is None


def test_a_run_of_a_study_begins_without_notes_on_its_jobs(once: Try, context: Context) -> None:
    for key in KEYS[:2]:
        with pytest.raises(TypeError):
            once(key, HERE, bug())
    (first, second) = failures.failures(context.store)
    assert {first.key, second.key} == set(KEYS[:2])
    assert first.what == second.what
    assert b"raise self.errors.pop(0)" in context.store.read(first.name)
    failures.forget(context.store, {KEYS[0]})
    assert {failure.key for failure in failures.failures(context.store)} == {KEYS[1]}


def test_a_storage_that_fails_leaves_the_judgement_open(once: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("Read-only file system")

    only = replace(HERE, is_only_machine=True)
    monkeypatch.setattr(attempts.failures, "note", fail)
    for _ in range(3):
        with pytest.raises(TypeError):
            once(KEYS[0], only, bug())
