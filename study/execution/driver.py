"""Drive a study through its stages, in order: cameras → pre-trained NIPs → the grid → its verdicts.

Each does only what is missing. Workers judge a trial as soon as it has finished: the last stage is for trials whose
process was lost in between, and for those that were finished before, by another panel or by none.
"""

import os
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from cameras.console import say, work
from cameras.errors import one_line
from cameras.pairs import Index
from study import tracking
from study.execution import delivery
from study.execution.cameras import open_cameras, prepare_cameras
from study.execution.checkpoints import FOLDER as CHECKPOINTS
from study.execution.checkpoints import key_of
from study.execution.driver_lock import driving
from study.execution.worker import describe, is_done
from study.jobs import Context, Job
from study.jobs.keys import KEY_TAG
from study.jobs.plan import Grid, context, resolve
from study.settings import Study, StudyError
from study.storage.retry import retry
from study.tracking import Snapshot

if TYPE_CHECKING:
    from study.execution.source import Source  # imports Ray

Result = TypeVar("Result")
Preflight = Callable[[Study, str], None]  # raises StudyError where something is not there that the study needs


@dataclass(frozen=True)
class Session:
    """A study at work."""

    study: Study
    cameras: dict[str, Index]
    client: MlflowClient
    context: Context
    address: str
    retry_failed: bool
    remarks: set[str] = field(default_factory=set)  # made so far

    def remark(self, text: str) -> None:
        """Say something once."""
        if text and text not in self.remarks:
            say(text)
        self.remarks.add(text)

    def ask(self, question: Callable[[], Result]) -> Result:
        """Ask the tracker, and wait where it is away: a study of days does not end for that."""
        return retry(question, say, passes=tracking.is_away)

    def snapshot(self) -> Snapshot:
        return self.ask(lambda: tracking.snapshot(self.client, self.context.experiment_id))

    def grid(self, snapshot: Snapshot | None = None) -> Grid:
        """The grid as a snapshot shows it, or as it is now."""
        known = snapshot or self.snapshot()
        return retry(lambda: resolve(self.study, known), say)


def pretrain(study: Study, preflight: Preflight, address: str = "local", retry_failed: bool = False) -> dict[str, str]:
    """Pre-train the NIP of every camera × ISP, and the codecs of channels. Returns why some failed, by name.

    Raises:
        StudyError: cameras, tracking or cluster are not there.
    """
    with at_work(study, preflight, address, retry_failed) as session:
        return stage("pre-training", session, session.grid().before_trials)


def run(study: Study, preflight: Preflight, address: str = "local", retry_failed: bool = False) -> dict[str, str]:
    """All that is missing of a study: cameras, pre-trained NIPs, trials, verdicts. Returns why some failed, by name.

    What failed by itself (a NaN) would fail again, and is tried again only with ``retry_failed``; what was lost with
    its process, node or disk is always tried again.

    Raises:
        StudyError: cameras, tracking or cluster are not there, or another driver runs the study.
    """
    with at_work(study, preflight, address, retry_failed) as session:
        failures = stage("pre-training", session, session.grid().before_trials)
        trials = session.grid().ready
        failures |= stage("trials", session, trials)
        finished = [job for job in trials if label(job) not in failures]
        return failures | stage("verdicts", session, [later for job in finished for later in job.follow_ups])


@contextmanager
def at_work(study: Study, preflight: Preflight, address: str, retry_failed: bool) -> Iterator[Session]:
    """A study whose cameras are ready and whose cluster is checked, with this process as its only driver.

    Raises:
        StudyError: cameras, tracking or cluster are not there, or another driver runs the study.
    """
    client, experiment_id = tracking.connect(study)
    try:
        with driving(client, experiment_id, say):
            retry(lambda: tracking.rebase(client, experiment_id), say, passes=tracking.is_away)
            prepare_cameras(study)
            preflight(study, address)
            where = context(study, experiment_id, address)
            yield Session(study, open_cameras(study), client, where, address, retry_failed)
    except MlflowException as error:
        raise StudyError(f"tracking at {client.tracking_uri} refuses: {one_line(error)}") from error


def stage(title: str, session: Session, jobs: Sequence[Job]) -> dict[str, str]:
    """Run the jobs that are neither finished nor known to fail; returns the failures among all of them."""
    run_keys = {job.key: job.run_key for job in jobs}
    store, experiment_id = session.context.store, session.context.experiment_id
    session.ask(lambda: delivery.deliver(store, session.client, experiment_id, run_keys))  # what an earlier driver left
    snapshot = session.snapshot()
    session.remark(older_keys(snapshot))
    failures: dict[str, str] = {}
    done: set[str] = set()
    left: list[Job] = []
    for job in jobs:
        run = snapshot.by_key.get(job.run_key)
        state = tracking.state(run, job.key, job.run_key)
        if state is not None and state.status == "FAILED" and not session.retry_failed:
            failures[label(job)] = state.reason or "unknown"
        elif run is not None and state is not None and state.status == "FINISHED":
            is_whole = partial(is_done, job, state, run.data.tags, store)
            if retry(is_whole, say) or (_restore(job, run.info.run_id, session) and retry(is_whole, say)):
                done.add(job.key)
            else:
                left.append(job)
        else:
            left.append(job)
    tidy(session, done)  # of those that were killed between finishing and tidying up
    return failures | (_run(title, session, left) if left else {})


def tidy(session: Session, keys: Collection[str]) -> None:
    """Remove the checkpoints of jobs that need them no more."""
    store = session.context.store
    for name in retry(lambda: store.names(CHECKPOINTS), say):
        if key_of(name) in keys:
            retry(partial(store.delete, name), say)


def older_keys(snapshot: Snapshot | None) -> str:
    """A line about finished runs whose keys were made by an older recipe; "" where there are none."""
    runs = snapshot.runs if snapshot else ()
    older = sum(run.info.status == "FINISHED" and KEY_TAG not in run.data.tags for run in runs)
    if not older:
        return ""
    return f"{older} finished runs have keys of an older recipe: 'python -m study adopt STUDY' renews them"


def label(job: Job) -> str:
    """Its name for people, and its key: trials that differ only along a further axis share their name."""
    return f"{job.name} ({job.key[:8]})"


def _restore(job: Job, run_id: str, session: Session) -> bool:
    """Fetch stored artifacts of a finished job that are missing or damaged in the storage.

    The keys of other finished jobs depend on these very bytes, and another GPU might not make them again.
    """
    with tempfile.TemporaryDirectory() as folder:
        for artifact, name in job.stored.items():
            fetch = partial(session.client.download_artifacts, run_id, artifact, folder)
            path = Path(session.ask(fetch))
            retry(partial(session.context.store.upload, path, name), say)
    return True


def _run(title: str, session: Session, jobs: Sequence[Job]) -> dict[str, str]:
    scheduler = _cluster(session)
    here, resources = session.context, session.study.resources
    if not any(job.needs_gpu for job in jobs):
        here, resources = here.model_copy(update={"device": "cpu"}), resources.model_copy(update={"gpus": 0.0})
    todo = {job.key: job for job in jobs}
    done = dict.fromkeys(todo, 0)
    ended: set[str] = set()
    with work(f"{title} ({len(todo)} to do)", sum(job.steps for job in todo.values())) as advance:

        def on_progress(key: str, reached: int, has_ended: bool) -> None:
            if has_ended:
                ended.add(key)
            done[key] = todo[key].steps if key in ended else reached
            advance(sum(done.values()), f"{len(ended)} of {len(todo)} ended")

        run_keys = {job.key: job.run_key for job in jobs}
        with delivery.delivering(here.store, session.client, here.experiment_id, run_keys, say):
            failures = scheduler.schedule(list(todo.values()), here, resources, _notes(session), on_progress)
    return _closed(session, failures, todo)


def feed(title: str, session: Session, source: "Source") -> dict[str, str]:
    """Run jobs that are made while others run, until their source is over; returns why some failed, by name."""
    if source.is_over:
        return {}
    scheduler = _cluster(session)
    here, made = session.context, source.handed_out
    run_keys: dict[str, str] = {}
    reached: dict[str, float] = {}
    with work(title, source.left) as advance:

        def on_progress(key: str, steps: int, has_ended: bool) -> None:
            run_keys[key] = made[key].run_key
            reached[key] = 1 if has_ended else steps / made[key].steps
            advance(sum(reached.values()), source.progress)

        with delivery.delivering(here.store, session.client, here.experiment_id, run_keys, say):
            failures = scheduler.schedule_from(source, here, session.study.resources, _notes(session), on_progress)
    return _closed(session, failures, made)


def _cluster(session: Session) -> ModuleType:
    """Join the cluster, or start Ray on this machine; returns the module that schedules there."""
    if session.address == "local":
        # Ray listens on loopback alone (whatever the name of that switch), and answers only to a token drawn here, as
        # others may use this machine. It reads all three when it is imported.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    from study.execution import scheduler  # Ray takes seconds to import and to start: only where there is work for it

    scheduler.connect(session.address)
    return scheduler


def _notes(session: Session) -> Path:
    return session.study.folder.resolve() / "ray"


def _closed(session: Session, failures: Mapping[str, str], jobs: Mapping[str, Job]) -> dict[str, str]:
    """End the runs of jobs that failed; returns why, by name."""
    failures = {
        key: reason for key, reason in failures.items() if not session.ask(partial(_close, session, jobs[key], reason))
    }
    return {label(jobs[key]): reason for key, reason in failures.items()}


def _close(session: Session, job: Job, reason: str) -> bool:
    """End the run of a job whose process could not do so itself; whether the job had finished before that was lost."""
    run = tracking.find(session.client, session.context.experiment_id, job.run_key)
    state = tracking.state(run, job.key, job.run_key)
    is_open = state is None or state.status == "RUNNING"
    if run is not None and is_open and (run.info.status == "RUNNING" or job.run_key != job.key):
        tracking.fail(session.client, run.info.run_id, describe(job, session.context), reason, status="KILLED")
    return state is not None and state.status == "FINISHED"
