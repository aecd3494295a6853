"""Another process holds the database file, or it is none."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from own_process import ROOT, Run, is_one_line

from study import tracking
from study.execution import delivery, worker
from study.execution.driver import at_work
from study.jobs.pretraining import PretrainingJob
from study.settings import Study, StudyError
from study.tracking import client as module


@contextmanager
def held(database: Path, seconds: float | None = None) -> Iterator[None]:
    """Hold it exclusively: within the block, or for so long."""
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        if seconds is None:
            yield
            connection.execute("ROLLBACK")
        else:
            timer = threading.Timer(seconds, lambda: connection.execute("ROLLBACK"))
            timer.start()
            yield
            timer.join()


def test_a_command_waits_and_says_so(here: Path) -> None:
    command = [sys.executable, "-m", "study", "status", here / "study.yaml", "--storage", here / "results"]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    with held(here / "results" / "mlflow.db"):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
        assert process.stderr is not None
        said = process.stderr.readline()
    output, further = process.communicate(timeout=120)
    assert process.returncode == 0, said + further
    assert "2 finished" in output
    assert "another process holds the file (database is locked); trying again" in said
    assert further.strip() == "it works again"


def test_a_command_does_not_wait_forever(study: Study, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCKED_SECONDS", 1.0)
    with held(here / "results" / "mlflow.db"):
        for command in (
            lambda: tracking.read(tracking.tracking_uri(study), study.name),
            lambda: tracking.connect(study),
        ):
            with pytest.raises(StudyError, match=r"mlflow\.db cannot be used: .*database is locked") as refused:
                command()
            assert "\n" not in str(refused.value)


def test_a_driver_and_its_jobs_wait(study: Study, here: Path) -> None:
    """No failure is counted: the job ends in its first attempt."""
    database = here / "results" / "mlflow.db"
    with at_work(study, lambda study, address: None, "local", False) as session:
        job = session.grid().pretrainings[0]
        job = PretrainingJob.plan(job.camera, "INet", job.split, job.pretraining, job.data_hash)
        said: list[str] = []
        with held(database, 5):
            assert worker.run(job, session.context, say=said.append) is None
        assert session.snapshot().finished[job.key]
        assert "database is locked" in said[0]
        with held(database, 3):
            assert session.grid()


def test_a_file_that_is_no_database_is_said_in_a_line(run_study: Run, here: Path) -> None:
    (here / "results" / "mlflow.db").write_bytes(b"no database" * 1000)
    for command in ("status", "report"):
        ran = run_study(command)
        assert is_one_line(ran), ran.stderr
        assert "file is not a database" in ran.stderr


def test_an_error_of_whatever_library_carries_files_is_no_failure(
    study: Study, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result of the job waits in the storage, and is delivered once files arrive again."""

    class ClientError(Exception):
        """As botocore has it."""

    def refuse(*arguments: object) -> None:
        raise ClientError("SlowDown")

    with at_work(study, lambda study, address: None, "local", False) as session:
        job = session.grid().pretrainings[0]
        job = PretrainingJob.plan(job.camera, "INet", job.split, job.pretraining, job.data_hash)
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "log_artifacts", refuse)
            assert worker.run(job, session.context) is None
        assert (here / "results" / "pending" / job.key / "result.json").exists()
        assert (
            delivery.deliver(session.context.store, session.client, session.context.experiment_id, {job.key: job.key})
            == 0
        )
        assert job.key in session.snapshot().finished
