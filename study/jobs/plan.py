"""A study resolved: every trial as a job with its key, as far as the hashes of its data and its NIP are known.

Neither pairs nor NIP files are read. A camera's data hash comes from its index in the storage, or else from the newest
run that was made of it; a NIP's hash is a tag of its finished pre-training.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Run

from cameras.pairs import INDEX_FILE, Index
from models.registry import pretrained_as
from study import tracking
from study.jobs.codec_pretraining import CODEC_HASH, CodecPretrainingJob
from study.jobs.job import Context
from study.jobs.pretraining import NIP_HASH, PretrainingJob
from study.jobs.trial import PretrainedCodec, TrialJob
from study.settings import Planned, Study, planned
from study.storage import Storage
from study.tracking import Snapshot


@dataclass(frozen=True)
class Grid:
    """The trials of a study. ``jobs`` goes with ``planned``.

    A trial whose NIP or whose channel's codec is not pre-trained yet has no job.
    """

    planned: tuple[Planned, ...]
    pretrainings: tuple[PretrainingJob, ...]
    codecs: tuple[CodecPretrainingJob, ...]
    jobs: tuple[TrialJob | None, ...]

    @property
    def before_trials(self) -> tuple[PretrainingJob | CodecPretrainingJob, ...]:
        """All pre-trainings."""
        return *self.pretrainings, *self.codecs

    @property
    def ready(self) -> list[TrialJob]:
        return [job for job in self.jobs if job is not None]

    @property
    def keys(self) -> tuple[str | None, ...]:
        return tuple(None if job is None else job.key for job in self.jobs)

    @property
    def table(self) -> list[dict[str, Any]]:
        """The planned trials with their keys, as :mod:`study.results` takes them."""
        return [
            {
                "camera": item.trial.camera,
                "isp": item.trial.isp,
                "lambda": item.trial.lam,
                "seed": item.trial.seed,
                "key": key,
                **item.axes,
            }
            for item, key in zip(self.planned, self.keys, strict=True)
        ]


def context(study: Study, experiment_id: str = "", address: str = "local") -> Context:
    """Where the study's jobs run."""
    storage = Storage(study.storage)
    return Context(
        storage=str(storage.folder.resolve()) if storage.is_folder else storage.uri,
        cache=None if storage.is_folder and address == "local" else study.resources.cache,
        tracking_uri=tracking.tracking_uri(study),
        experiment_id=experiment_id,
        device="cuda" if study.resources.gpus else "cpu",
        threads=study.resources.cpus,
        gpus=study.resources.gpus or 1,
        data=study.resources.data,
        deterministic=study.resources.deterministic,
        checkpoint_seconds=study.resources.checkpoint_seconds,
    )


def resolve(study: Study, snapshot: Snapshot | None, trials: Sequence[Planned] | None = None) -> Grid:
    """Give every NIP its pre-training, and every trial its job, as far as the hashes are known.

    Args:
        trials: those of the study's grid where not given.

    Raises:
        OSError: the storage fails.
    """
    data = data_hashes(study, snapshot)
    runs = snapshot.by_key if snapshot else {}
    pretrainings: dict[tuple[Any, ...], PretrainingJob] = {}
    codecs: dict[tuple[Any, ...], CodecPretrainingJob] = {}
    jobs: list[TrialJob | None] = []
    trials = planned(study) if trials is None else trials
    for item in trials:
        trial = item.trial
        if trial.camera not in data:
            jobs.append(None)
            continue
        of_nip = (trial.camera, pretrained_as(trial.isp), trial.split, item.pretraining)
        if of_nip not in pretrainings:
            pretrainings[of_nip] = PretrainingJob.plan(*of_nip, data[trial.camera])
        pretraining, codec = pretrainings[of_nip], None
        nip_sha256 = _hash_of(runs.get(pretraining.key), NIP_HASH)
        ready = nip_sha256 is not None
        if item.codec_pretraining is not None:
            of_codec = (trial.camera, trial.split, item.codec_pretraining)
            job = codecs.setdefault(of_codec, CodecPretrainingJob.plan(*of_codec, data[trial.camera]))
            codec_sha256 = _hash_of(runs.get(job.key), CODEC_HASH)
            ready = ready and codec_sha256 is not None
            codec = PretrainedCodec(file=job.weights, sha256=codec_sha256 or "")
        if ready:
            assert nip_sha256 is not None
            found = (pretraining.weights, nip_sha256, data[trial.camera], codec)
            jobs.append(TrialJob.plan(trial, item.axes, *found, study.evaluation))
        else:
            jobs.append(None)
    return Grid(tuple(trials), tuple(pretrainings.values()), tuple(codecs.values()), tuple(jobs))


def _hash_of(run: Run | None, tag: str) -> str | None:
    """Hash of the weights that a finished pre-training left."""
    return run.data.tags.get(tag) if run is not None and run.info.status == "FINISHED" else None


def data_hashes(study: Study, snapshot: Snapshot | None) -> Mapping[str, str]:
    """The data hash of every camera that has one: of its index in the storage, else of its newest run.

    Raises:
        OSError: the storage fails.
    """
    storage, found = Storage(study.storage), {}
    for run in snapshot.of_kind(PretrainingJob.kind) if snapshot else ():  # oldest first
        if "data_fingerprint" in run.data.tags:
            found[run.data.params["camera"]] = run.data.tags["data_fingerprint"]
    for camera in study.cameras:
        name = f"cameras/{camera.name}/{INDEX_FILE}"
        if storage.exists(name):
            with suppress(ValueError):  # damaged: `check` and `run` say so
                found[camera.name] = Index.parse(storage.read(name), storage.where(name)).data_hash
    return {camera.name: found[camera.name] for camera in study.cameras if camera.name in found}
