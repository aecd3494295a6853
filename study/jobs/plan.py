"""A study resolved: every trial as a job with its key, as far as its data and its NIP are there."""

from dataclasses import dataclass

from cameras.pairs import Index
from study import tracking
from study.jobs import Place, PretrainingJob, TrialJob, nip_name, pretraining_key, trial_key
from study.settings import Planned, Study
from study.storage import Storage


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


def place(study: Study, experiment_id: str, address: str = "local") -> Place:
    """Where the study's jobs are done."""
    storage = Storage(study.storage)
    return Place(
        storage=str(storage.folder.resolve()) if storage.is_folder else storage.uri,
        staging=None if storage.is_folder and address == "local" else study.resources.staging,
        tracking_uri=tracking.tracking_uri(study),
        experiment_id=experiment_id,
        device="cuda" if study.resources.gpus else "cpu",
        threads=study.resources.cpus,
        checkpoint_seconds=study.resources.checkpoint_seconds,
    )


def resolve(study: Study, cameras: dict[str, Index], where: Place) -> Grid:
    """Give every trial its job, as far as its NIP is there, and every NIP its pre-training."""
    pretrainings: dict[str, PretrainingJob] = {}
    jobs: list[TrialJob | None] = []
    planned = study.planned()
    hashes: dict[str, str | None] = {}  # of the NIP files, None where there is none
    for item in planned:
        trial, fingerprint = item.trial, cameras[item.trial.camera].fingerprint
        key = pretraining_key(trial.camera, trial.isp, trial.split, item.pretraining, fingerprint)
        pretrainings[key] = PretrainingJob(
            key=key,
            camera=trial.camera,
            isp=trial.isp,
            split=trial.split,
            pretraining=item.pretraining,
            data_fingerprint=fingerprint,
            place=where,
        )
        nip = nip_name(trial.camera, trial.isp, key)
        if nip not in hashes:
            hashes[nip] = where.shared.sha256(nip) if where.shared.exists(nip) else None
        sha256 = hashes[nip]
        if sha256 is None:
            jobs.append(None)
            continue
        jobs.append(
            TrialJob(
                key=trial_key(trial, fingerprint, sha256),
                trial=trial,
                nip=nip,
                nip_sha256=sha256,
                data_fingerprint=fingerprint,
                place=where,
            )
        )
    return Grid(tuple(planned), tuple(pretrainings.values()), tuple(jobs))
