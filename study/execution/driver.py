"""The stages of a study, in order: cameras → pre-trained NIPs → the grid. Each does only what is missing."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from cameras.pairs import Index
from study import tracking
from study.execution.cameras import open_cameras, prepare_cameras
from study.execution.checkpoints import FOLDER as CHECKPOINTS
from study.execution.checkpoints import key_of
from study.execution.delivery import deliver, delivering
from study.execution.driver_lock import driving
from cameras.console import say, work
from study.jobs import Job, Place, PretrainingJob
from study.jobs.plan import Grid, place, resolve
from study.preflight.check import require
from study.settings import Study, StudyError
from study.storage.retry import patiently

Result = TypeVar("Result")


@dataclass(frozen=True)
class Session:
    """A study at work."""

    study: Study
    cameras: dict[str, Index]
    client: MlflowClient
    place: Place
    address: str
    retry_failed: bool

    def grid(self) -> Grid:
        return patiently(lambda: resolve(self.study, self.cameras, self.place), say)

    def ask(self, question: Callable[[], Result]) -> Result:
        """Put a question to the tracker, and wait where it is away: a study of days does not end for that."""
        return patiently(question, say, passes=tracking.is_away)


def pretrain(study: Study, address: str = "local", retry_failed: bool = False) -> dict[str, str]:
    """Pre-train the NIP of every camera × ISP that has none yet. Returns why some failed, by name.

    Raises:
        StudyError: cameras, tracking or cluster are not there.
    """
    with at_work(study, address, retry_failed) as session:
        return stage("pre-training", session, session.grid().pretrainings)


def run(study: Study, address: str = "local", retry_failed: bool = False) -> dict[str, str]:
    """All that is missing of a study: simulated cameras, pre-trained NIPs, trials. Returns why some failed, by name.

    What failed by itself (a NaN) would fail again, and is tried again only with ``retry_failed``; what was lost with
    its process, node or disk is always tried again.

    Raises:
        StudyError: cameras, tracking or cluster are not there, or another driver runs the study.
    """
    with at_work(study, address, retry_failed) as session:
        failures = stage("pre-training", session, session.grid().pretrainings)
        return failures | stage("trials", session, session.grid().ready)


@contextmanager
def at_work(study: Study, address: str, retry_failed: bool) -> Iterator[Session]:
    """A study whose cameras are ready and whose cluster is checked, with this process as its only driver.

    Raises:
        StudyError: cameras, tracking or cluster are not there, or another driver runs the study.
    """
    client, experiment_id = tracking.connect(study)
    try:
        with driving(client, experiment_id, say):
            prepare_cameras(study)
            require(study, address)
            where = place(study, experiment_id, address)
            yield Session(study, open_cameras(study), client, where, address, retry_failed)
    except MlflowException as error:
        raise StudyError(f"tracking at {client.tracking_uri} refuses: {' '.join(str(error).split())}") from error


def stage(title: str, session: Session, jobs: Sequence[Job]) -> dict[str, str]:
    """Perform the jobs that are neither finished nor known to fail; returns the failures among all of them."""
    keys = {job.key for job in jobs}
    # What the last driver could not deliver, if any:
    session.ask(lambda: deliver(session.place.shared, session.client, session.place.experiment_id, keys))
    runs = session.ask(lambda: tracking.runs_by_key(session.client, session.place.experiment_id))
    failures: dict[str, str] = {}
    done: set[str] = set()
    left: list[Job] = []
    for job in jobs:
        run = runs.get(job.key)
        if run is not None and run.info.status == "FAILED" and not session.retry_failed:
            failures[_label(job)] = run.data.tags.get("failure", "unknown")
        elif tracking.is_done(job, run):
            done.add(job.key)
        elif not (isinstance(job, PretrainingJob) and run is not None and _restored(job, run, session)):
            left.append(job)
    shared = session.place.shared
    for name in patiently(lambda: shared.names(CHECKPOINTS), say):
        if key_of(name) in done:  # killed between finishing and tidying up
            patiently(partial(shared.delete, name), say)
    return failures | (_perform(title, session, left) if left else {})


def _label(job: Job) -> str:
    """Its name for people, and its key: trials that differ only along a further axis share their name."""
    return f"{job.name} ({job.key[:8]})"


def _restored(job: PretrainingJob, run: Run, session: Session) -> bool:
    """Fetch the weights of a finished pre-training that are missing or damaged in the storage: the keys of all finished
    trials depend on these very bytes, and another GPU might not make them again."""
    if run.info.status != "FINISHED":
        return False
    with tempfile.TemporaryDirectory() as folder:
        fetch = partial(session.client.download_artifacts, run.info.run_id, "nip.safetensors", folder)
        job.place.shared.upload(Path(session.ask(fetch)), job.weights)
    return tracking.is_done(job, run)


def _perform(title: str, session: Session, jobs: Sequence[Job]) -> dict[str, str]:
    if session.address == "local":
        # Ray listens on loopback alone (whatever the name of that switch), and answers only to a token drawn here, as
        # others may use this machine. It reads all three when it is imported.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    from study.execution import (
        scheduler as schedule,  # Ray takes seconds to import and to start: only where there is work for it
    )

    resources = session.study.resources
    schedule.connect(session.address)
    here = session.place
    todo = {job.key: job for job in jobs}
    done = dict.fromkeys(todo, 0)
    ended: set[str] = set()
    with work(f"{title} ({len(todo)} to do)", sum(job.steps for job in todo.values())) as advance:

        def on_progress(key: str, reached: int, has_ended: bool) -> None:
            if has_ended:
                ended.add(key)
            done[key] = todo[key].steps if key in ended else reached
            advance(sum(done.values()), f"{len(ended)} of {len(todo)} ended")

        notes = session.study.folder.resolve() / "ray"
        with delivering(here.shared, session.client, here.experiment_id, set(todo), say):
            failures = schedule.schedule(list(todo.values()), resources, notes, on_progress)
    for key, reason in failures.items():
        session.ask(partial(_close, session.client, here.experiment_id, key, reason))
    return {_label(todo[key]): reason for key, reason in failures.items()}


def _close(client: MlflowClient, experiment_id: str, key: str, reason: str) -> None:
    """End the run of a job whose process could not say so itself."""
    run = tracking.find(client, experiment_id, key)
    if run is not None and run.info.status == "RUNNING":
        tracking.fail(client, run.info.run_id, reason, status="KILLED")
