"""The stages of a study, in order: cameras → pre-trained NIPs → the grid. Each does only what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

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
                axes=item.axes,
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
    """Pre-train the NIP of every camera × ISP that has none yet. Returns why some failed, by key.

    Raises:
        StudyError: a camera's pairs are missing or damaged.
    """
    session = _open(study, address, retry_failed)
    return _stage("pre-training", session, session.grid().pretrainings)


def run(study: Study, address: str = "local", retry_failed: bool = False) -> dict[str, str]:
    """All that is missing of a study: simulated cameras, pre-trained NIPs, trials. Returns why some failed, by key.

    Trials that failed for a reason of their own (a NaN) would fail again: they are tried again only when asked for.

    Raises:
        StudyError: a camera's pairs are missing or damaged.
    """
    session = _open(study, address, retry_failed)
    failures = _stage("pre-training", session, session.grid().pretrainings)
    return failures | _stage("trials", session, session.grid().ready)


def _open(study: Study, address: str, retry_failed: bool) -> Session:
    prepare_cameras(study)
    cameras = open_cameras(study)
    client, experiment_id = tracking.connect(study)
    return Session(study, cameras, client, place(study, experiment_id), address, retry_failed)


def _stage(title: str, session: Session, jobs: Sequence[Job]) -> dict[str, str]:
    """Perform the jobs that are neither finished nor known to fail; returns the failures among all of them."""
    runs = tracking.runs_by_key(session.client, session.place.experiment_id)
    status = {key: run.info.status for key, run in runs.items()}
    failures: dict[str, str] = {}
    left: list[Job] = []
    for job in jobs:
        if status.get(job.key) == "FAILED" and not session.retry_failed:
            failures[job.key] = runs[job.key].data.tags.get("failure", "unknown")
        elif not _done(job, status.get(job.key)):
            left.append(job)
        else:
            session.place.checkpoint(job.key).unlink(missing_ok=True)  # killed between finishing and tidying up
    return failures | (_perform(title, session, left) if left else {})


def _done(job: Job, status: str | None) -> bool:
    """A pre-training is done when its NIP lies in the storage, a trial when MLflow has it all."""
    return status == "FINISHED" and (not isinstance(job, PretrainingJob) or job.weights.is_file())


def _perform(title: str, session: Session, jobs: Sequence[Job]) -> dict[str, str]:
    from study import schedule  # Ray takes seconds to import and to start: only where there is work for it

    schedule.connect(session.address)
    resources = session.study.resources
    gpus = resources.gpus if schedule.gpus_available() else 0.0
    here = session.place.model_copy(update={"device": "cuda" if gpus else "cpu"})
    jobs = [job.model_copy(update={"place": here}) for job in jobs]

    steps = {job.key: job.steps for job in jobs}
    done = dict.fromkeys(steps, 0)
    ended: set[str] = set()
    with work(f"{title} ({len(jobs)} to do)", sum(steps.values())) as advance:

        def on_progress(key: str, reached: int, has_ended: bool) -> None:
            if has_ended:
                ended.add(key)
            done[key] = steps[key] if key in ended else reached
            advance(sum(done.values()), f"{len(ended)} of {len(jobs)} ended")

        failures = schedule.schedule(jobs, resources, gpus, here.storage / "ray", on_progress)
    for key, reason in failures.items():  # of processes that could not say so themselves
        run = tracking.find(session.client, here.experiment_id, key)
        if run is not None and run.info.status != "FAILED":
            tracking.fail(session.client, run.info.run_id, reason)
    return failures
