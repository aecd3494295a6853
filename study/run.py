"""The stages of a study, in order: cameras → pre-trained NIPs → the grid. Each does only what is missing."""

import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from cameras.pairs import Pairs
from study import tracking
from study.data import open_cameras, prepare_cameras
from study.jobs import (
    Job,
    Place,
    PretrainingJob,
    TrialJob,
    file_sha256,
    nip_file,
    pretraining_key,
    trial_key,
)
from study.progress import work
from study.settings import Planned, Study
from study.work import place_nip


@dataclass(frozen=True)
class Grid:
    """The trials of a study. ``jobs`` goes with ``planned``; a trial whose NIP is not pre-trained yet has no job."""

    planned: tuple[Planned, ...]
    pretrainings: tuple[PretrainingJob, ...]
    jobs: tuple[TrialJob | None, ...]

    @property
    def ready(self) -> list[TrialJob]:
        return [job for job in self.jobs if job is not None]

    @property
    def keys(self) -> tuple[str | None, ...]:
        return tuple(None if job is None else job.key for job in self.jobs)


def place(study: Study, experiment_id: str) -> Place:
    """Where the study's jobs are done; whether on GPUs is decided when they are scheduled."""
    return Place(
        storage=study.storage.resolve(),
        tracking_uri=tracking.tracking_uri(study),
        experiment_id=experiment_id,
        threads=study.resources.cpus,
        checkpoint_seconds=study.resources.checkpoint_seconds,
    )


def resolve(study: Study, cameras: dict[str, Pairs], where: Place) -> Grid:
    """Give every trial its job, as far as its NIP is there, and every NIP its pre-training."""
    pretrainings: dict[str, PretrainingJob] = {}
    jobs: list[TrialJob | None] = []
    planned = study.planned()
    hashes: dict[Path, str] = {}  # of the NIP files
    for item in planned:
        trial, pairs = item.trial, cameras[item.trial.camera]
        key = pretraining_key(item, pairs)
        pretrainings[key] = PretrainingJob(
            key=key,
            camera=trial.camera,
            isp=trial.isp,
            split=trial.split,
            pretraining=item.pretraining,
            data_fingerprint=pairs.fingerprint,
            place=where,
        )
        nip = nip_file(where.storage, trial.camera, trial.isp, key)
        if not nip.is_file():
            jobs.append(None)
            continue
        if nip not in hashes:
            hashes[nip] = file_sha256(nip)
        jobs.append(
            TrialJob(
                key=trial_key(trial, pairs, hashes[nip]),
                trial=trial,
                nip=nip,
                nip_sha256=hashes[nip],
                data_fingerprint=pairs.fingerprint,
                place=where,
            )
        )
    return Grid(tuple(planned), tuple(pretrainings.values()), tuple(jobs))


@dataclass(frozen=True)
class Session:
    """A study at work."""

    study: Study
    cameras: dict[str, Pairs]
    client: MlflowClient
    place: Place
    address: str
    retry_failed: bool

    def grid(self) -> Grid:
        return resolve(self.study, self.cameras, self.place)


def pretrain(study: Study, address: str = "local", retry_failed: bool = False) -> dict[str, str]:
    """Pre-train the NIP of every camera × ISP that has none yet. Returns why some failed, by name.

    Raises:
        StudyError: cameras, tracking or cluster are not there.
    """
    session = _open(study, address, retry_failed)
    return _stage("pre-training", session, session.grid().pretrainings)


def run(study: Study, address: str = "local", retry_failed: bool = False) -> dict[str, str]:
    """All that is missing of a study: simulated cameras, pre-trained NIPs, trials. Returns why some failed, by name.

    What failed by itself (a NaN) would fail again, and is tried again only with ``retry_failed``; what was lost with
    its process, node or disk is always tried again.

    Raises:
        StudyError: cameras, tracking or cluster are not there.
    """
    session = _open(study, address, retry_failed)
    failures = _stage("pre-training", session, session.grid().pretrainings)
    return failures | _stage("trials", session, session.grid().ready)


def _open(study: Study, address: str, retry_failed: bool) -> Session:
    client, experiment_id = tracking.connect(study)
    prepare_cameras(study)
    return Session(study, open_cameras(study), client, place(study, experiment_id), address, retry_failed)


def _stage(title: str, session: Session, jobs: Sequence[Job]) -> dict[str, str]:
    """Perform the jobs that are neither finished nor known to fail; returns the failures among all of them."""
    runs = tracking.runs_by_key(session.client, session.place.experiment_id)
    failures: dict[str, str] = {}
    left: list[Job] = []
    for job in jobs:
        run = runs.get(job.key)
        if run is not None and run.info.status == "FAILED" and not session.retry_failed:
            failures[_label(job)] = run.data.tags.get("failure", "unknown")
        elif tracking.is_done(job, run):
            session.place.checkpoint(job.key).unlink(missing_ok=True)  # killed between finishing and tidying up
        elif not (isinstance(job, PretrainingJob) and run is not None and _restored(job, run, session.client)):
            left.append(job)
    return failures | (_perform(title, session, left) if left else {})


def _label(job: Job) -> str:
    """Its name for people, and its key: trials that differ only along a further axis share their name."""
    return f"{job.name} ({job.key[:8]})"


def _restored(job: PretrainingJob, run: Run, client: MlflowClient) -> bool:
    """Fetch the weights of a finished pre-training that are missing or damaged in the storage: the keys of all finished
    trials depend on these very bytes, and another GPU might not make them again."""
    if run.info.status != "FINISHED":
        return False
    with tempfile.TemporaryDirectory() as folder:
        place_nip(job, Path(client.download_artifacts(run.info.run_id, "nip.safetensors", folder)))
    return tracking.is_done(job, run)


def _perform(title: str, session: Session, jobs: Sequence[Job]) -> dict[str, str]:
    if session.address == "local":
        # Some of Ray's processes listen on all interfaces, whatever address they are given: let them answer only to a
        # token drawn here. Ray reads it when it is imported.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    from study import schedule  # Ray takes seconds to import and to start: only where there is work for it

    resources = session.study.resources
    gpus = schedule.connect(session.address, resources)
    here = session.place.model_copy(update={"device": "cuda" if gpus else "cpu"})
    todo = {job.key: job.model_copy(update={"place": here}) for job in jobs}
    done = dict.fromkeys(todo, 0)
    ended: set[str] = set()
    with work(f"{title} ({len(todo)} to do)", sum(job.steps for job in todo.values())) as advance:

        def on_progress(key: str, reached: int, has_ended: bool) -> None:
            if has_ended:
                ended.add(key)
            done[key] = todo[key].steps if key in ended else reached
            advance(sum(done.values()), f"{len(ended)} of {len(todo)} ended")

        failures = schedule.schedule(list(todo.values()), resources, gpus, here.storage / "ray", on_progress)
    for key, reason in failures.items():
        run = tracking.find(session.client, here.experiment_id, key)
        if run is not None and run.info.status == "RUNNING":  # its process could not say so itself
            tracking.fail(session.client, run.info.run_id, reason, status="KILLED")
    return {_label(todo[key]): reason for key, reason in failures.items()}
