"""The stages of a study, in order: cameras → pre-trained NIPs → the grid. Each does only what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from cameras.pairs import Pairs
from study import tracking
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
from study.data import open_cameras, prepare_cameras
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


def place(study: Study, experiment_id: str, device: str) -> Place:
    return Place(
        storage=study.storage.resolve(),
        tracking_uri=tracking.tracking_uri(study),
        experiment_id=experiment_id,
        device=device,
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
class Ran:
    """What a call did: ``failures`` by key, of this call and of earlier ones that were not tried again."""

    finished: int
    failures: dict[str, str]
    planned: int


def pretrain(study: Study, address: str = "local") -> Ran:
    """Pre-train the NIP of every camera × ISP that has none yet.

    Raises:
        StudyError: a camera's pairs are missing or damaged.
    """
    session = _open(study, address)
    return _stage("pre-training", session, resolve(study, session.cameras, session.place).pretrainings, retry=True)


def run(study: Study, address: str = "local", retry_failed: bool = False) -> Ran:
    """Everything that is missing of a study: simulated cameras, pre-trained NIPs, trials.

    Trials that failed for a reason of their own (a NaN) would fail again: they are tried again only when asked for.
    """
    session = _open(study, address)
    pretrained = _stage(
        "pre-training", session, resolve(study, session.cameras, session.place).pretrainings, retry_failed
    )
    grid = resolve(study, session.cameras, session.place)
    ran = _stage("trials", session, grid.ready, retry_failed)
    return Ran(ran.finished, {**pretrained.failures, **ran.failures}, len(grid.planned))


@dataclass(frozen=True)
class Session:
    """A study at work: its data, its tracking and its share of the hardware."""

    study: Study
    cameras: dict[str, Pairs]
    client: MlflowClient
    place: Place
    gpus: float


def _open(study: Study, address: str) -> Session:
    from study.schedule import connect, gpus_available  # Ray takes a second to import: only where it is used

    prepare_cameras(study)
    cameras = open_cameras(study)
    client, experiment_id = tracking.connect(study)
    connect(address)
    gpus = study.resources.gpus if gpus_available() > 0 else 0.0
    where = place(study, experiment_id, "cuda" if gpus else "cpu")
    return Session(study, cameras, client, where, gpus)


def _stage(title: str, session: Session, jobs: Sequence[Job], retry: bool) -> Ran:
    """Perform the jobs that are neither finished nor known to fail."""
    from study.schedule import schedule

    runs = tracking.runs_by_key(session.client, session.place.experiment_id)
    finished = [job for job in jobs if job.key in runs and runs[job.key].info.status == "FINISHED"]
    for job in finished:
        session.place.checkpoint(job.key).unlink(missing_ok=True)
    failed = {
        job.key: runs[job.key].data.tags.get("failure", "unknown")
        for job in jobs
        if job.key in runs and runs[job.key].info.status == "FAILED" and not retry
    }
    left = [job for job in jobs if job not in finished and job.key not in failed]
    if not left:
        return Ran(len(finished), failed, len(jobs))

    done = {job.key: 0 for job in left}
    ended: set[str] = set()
    total = sum(job.steps for job in left)
    steps = {job.key: job.steps for job in left}
    with work(f"{title} ({len(left)} of {len(jobs)} to do)", total) as advance:

        def on_progress(key: str, reached: int, failure: str | None, has_ended: bool) -> None:
            done[key] = steps[key] if has_ended else reached
            if has_ended:
                ended.add(key)
            advance(sum(done.values()), f"{len(ended)} of {len(left)} ended")

        failures = schedule(
            left, session.study.resources, session.gpus, session.place.storage / "ray", on_progress
        )
    for key, reason in failures.items():
        run = tracking.find(session.client, session.place.experiment_id, key)
        if run is not None and run.info.status != "FAILED":
            tracking.fail(session.client, run.info.run_id, reason)
    return Ran(len(finished) + len(left) - len(failures), {**failed, **failures}, len(jobs))
