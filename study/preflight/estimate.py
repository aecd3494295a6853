"""What a study will still cost: device hours and time at the measured speed, and bytes that it will write."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import pandas as pd
from mlflow.entities import Run

from cameras.dng import simulated_size
from cameras.pairs import INDEX_FILE
from forensics.compression.pretraining import CodecPretraining
from forensics.sizes import checkpoint_size, codec_checkpoint_size, codec_size, outcome_size
from forensics.trial import Distribution
from models.pretrain import Pretraining
from models.registry import pretrained_as
from models.sizes import nip_size, pretraining_checkpoint_size
from study.execution.checkpoints import KEPT
from study.jobs.codec_pretraining import CodecPretrainingJob
from study.jobs.keys import flat
from study.jobs.plan import Grid
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import TrialJob
from study.preflight.cluster import this_machine
from study.settings import Study
from study.storage import Storage
from study.tracking import Snapshot

# By kind of job: the param with its iterations, and the other params that decide how long an iteration takes.
PRETRAINING = [field.name for field in fields(Pretraining) if field.name not in ("seed", "max_iterations")]
OF_CODEC = [field.name for field in fields(CodecPretraining) if field.name not in ("seed", "rate_weight", "iterations")]
PACE = {
    PretrainingJob.kind: ("pretraining.max_iterations", [f"pretraining.{name}" for name in PRETRAINING]),
    CodecPretrainingJob.kind: ("codec_pretraining.iterations", [f"codec_pretraining.{name}" for name in OF_CODEC]),
    TrialJob.kind: (
        "training.iterations",
        [
            "manipulations",
            *(f"training.{name}" for name in ("batch", "patch", "textured", "precision")),
            *(f"validation.{name}" for name in ("every", "accuracy_patches", "fidelity_patches", "textured")),
            *(f"channel.{field.name}" for field in fields(Distribution)),
        ],
    ),
}
LABELS = {
    PretrainingJob.kind: "pre-training",
    CodecPretrainingJob.kind: "pre-training",
    TrialJob.kind: "trials",
}
TEXTS = 8_000  # bytes of a run's settings and confusion matrix


@dataclass(frozen=True)
class Jobs:
    """The jobs of one kind ("pre-training" or "trials") and ISP; of codecs, ``isp`` is one such as "learned:32".

    ``seconds`` is how long those that are left take one after the other, None where their speed is not known.
    """

    kind: str
    isp: str
    count: int
    finished: int
    seconds: float | None


@dataclass(frozen=True)
class Estimate:
    """What is left of a study.

    Time: the seconds per iteration of a job are the median over this experiment's finished runs of the same ISP, and
    of the same settings where these decide the speed (batch, patch, precision, validation, channel, manipulations,
    threads; *fixed* apart from *joint*, and codecs that learn apart from others), on whatever hardware they ran,
    verdicts included. A pre-training stops as early as theirs did. The missing verdict of a finished trial does not
    count. Of jobs in progress counts what is left since their last checkpoint. What has failed by itself takes no time:
    it is left alone. A *device* is what a job gets: its share of a GPU, or else its CPUs.

    Bytes: a trial keeps the weights of its NIP, its FAN and its channel's codec, and example patches; a pre-training
    keeps its NIP or codec twice, in the storage and with its run. Of every job that runs at the same time, two
    checkpoints lie in the storage, and a third while it is written. A simulated camera that is missing is written as a
    whole. Metrics (some hundred bytes a validation), logs and reports do not count.

    Attributes:
        jobs: pre-trainings and trials, by ISP.
        device: "GPU" or "CPU".
        share: devices of a job.
        slots: jobs that run at the same time.
        seconds_to_go: until the last job ends, pre-trainings before trials, each as soon as a slot is free. What has no
            measured speed is left out, as in ``hours``.
        artifacts: bytes that the runs will keep.
        checkpoints: bytes that lie in the storage at the same time.
        nips: bytes of pre-trained NIPs and codecs in the storage.
        simulated: bytes of simulated cameras, DNG files and pairs.
    """

    jobs: tuple[Jobs, ...]
    device: str
    share: float
    slots: int
    seconds_to_go: float
    artifacts: int
    checkpoints: int
    nips: int
    simulated: int

    @property
    def hours(self) -> float:
        """Device hours of all that is left and whose speed is known."""
        return sum(job.seconds or 0 for job in self.jobs) * self.share / 3600

    @property
    def unknown(self) -> tuple[str, ...]:
        """What ``hours`` and ``seconds_to_go`` leave out, such as "UNet trials"."""
        return tuple(f"{job.isp} {job.kind}" for job in self.jobs if job.seconds is None)

    @property
    def written(self) -> int:
        """Bytes in all."""
        return self.artifacts + self.checkpoints + self.nips + self.simulated


def estimate(study: Study, grid: Grid, snapshot: Snapshot | None, slots: int | None = None) -> Estimate:
    """Reckon what is left of a study.

    Args:
        grid: the study's, as far as its jobs are known.
        snapshot: what the tracker knows; None where nothing was tracked yet.
        slots: jobs that run at the same time; where not given, as many as this machine has room for.
    """
    runs = snapshot.by_key if snapshot else {}
    slots = slots or max(this_machine().slots(study.resources), 1)
    nips: dict[Any, str | None] = {
        (item.trial.camera, pretrained_as(item.trial.isp), item.trial.split, item.pretraining): None
        for item in grid.planned
    }
    nips |= {(job.camera, job.isp, job.split, job.pretraining): job.key for job in grid.pretrainings}
    pretrainings = [
        _Job.of(PretrainingJob.kind, isp, {"isp": isp, **flat({"pretraining": asdict(of)})}, runs.get(key or ""))
        for (_, isp, _, of), key in nips.items()
    ]
    codecs: dict[Any, str | None] = {
        (item.trial.camera, item.trial.split, item.codec_pretraining): None
        for item in grid.planned
        if item.codec_pretraining is not None
    }
    codecs |= {(job.camera, job.split, job.codec_pretraining): job.key for job in grid.codecs}
    of_codecs = [
        _Job.of(
            CodecPretrainingJob.kind,
            f"learned:{of.features}",
            flat({"codec_pretraining": asdict(of)}),
            runs.get(key or ""),
        )
        for (*_, of), key in codecs.items()
    ]
    trials = [
        _Job.of(
            TrialJob.kind,
            item.trial.isp,
            {"lambda": item.trial.lam, **flat(asdict(item.trial))},
            runs.get(key or ""),
        )
        for item, key in zip(grid.planned, grid.keys, strict=True)
    ]
    speed = _seconds_per_iteration(study, snapshot)
    tables = [_with_seconds(jobs, speed) for jobs in ([*pretrainings, *of_codecs], trials)]
    left = [
        (item.trial, item.codec_pretraining) for item, job in zip(grid.planned, trials, strict=True) if not job.finished
    ]
    nips_left = [job.isp for job in pretrainings if not job.finished]
    codecs_left = [of for (*_, of), job in zip(codecs, of_codecs, strict=True) if not job.finished]
    weights = sum(map(nip_size, nips_left)) + sum(map(codec_size, codecs_left))
    checkpoints = [
        *(checkpoint_size(*each) for each in left),
        *map(pretraining_checkpoint_size, nips_left),
        *map(codec_checkpoint_size, codecs_left),
    ]
    return Estimate(
        jobs=tuple(jobs for table in tables for jobs in _by_isp(table)),
        device="GPU" if study.resources.gpus else "CPU",
        share=study.resources.gpus or study.resources.cpus,
        slots=slots,
        seconds_to_go=sum(last_end(table.seconds.fillna(0), slots) for table in tables),
        artifacts=sum(outcome_size(*each) for each in left)
        + weights
        + TEXTS * (len(left) + len(nips_left) + len(codecs_left)),
        checkpoints=(KEPT + 1) * sum(sorted(checkpoints, reverse=True)[:slots]),
        nips=weights,
        simulated=sum(
            simulated_size(simulation.images, simulation.height, simulation.width)
            for camera in study.cameras
            if (simulation := camera.simulate)
            and not Storage(study.storage).exists(f"cameras/{camera.name}/{INDEX_FILE}")
        ),
    )


def last_end(seconds: Iterable[float], slots: int) -> float:
    """When the last of some jobs ends that begin in their order, each as soon as one of the slots is free."""
    ends = [0.0] * slots
    for job in seconds:
        heapq.heapreplace(ends, ends[0] + job)
    return max(ends)


class _Job(NamedTuple):
    """A job, by what decides how long it takes, and its state: ``made`` are the seconds that lie behind it."""

    kind: str
    isp: str
    pace: str
    iterations: float
    finished: bool
    failed: bool
    made: float

    @classmethod
    def of(cls, kind: str, isp: str, params: Mapping[str, Any], run: Run | None) -> "_Job":
        status = run.info.status if run else ""
        made = run.data.metrics.get("seconds", 0.0) if run else 0.0
        return cls(kind, isp, *_pace(kind, params), status == "FINISHED", status == "FAILED", made)


def _pace(kind: str, params: Mapping[str, Any]) -> tuple[str, float]:
    """What decides how long an iteration of a job takes, as text; and its number of iterations."""
    iterations, names = PACE[kind]
    modes = params.get("lambda") == "fixed", str(params.get("training.codec_lambda")) == "None"
    decisive = [kind, params.get("isp"), *modes, *(str(params.get(name)) for name in names)]
    return str(decisive), float(params.get(iterations, "nan"))


def _seconds_per_iteration(study: Study, snapshot: Snapshot | None) -> "pd.Series[float]":
    """Medians by pace, over finished runs with as many threads as the study gives a job."""
    measured = []
    for run in snapshot.finished.values() if snapshot else ():
        tags, metrics = run.data.tags, run.data.metrics
        if tags.get("kind") in PACE and tags.get("threads") == str(study.resources.cpus) and "seconds" in metrics:
            pace, iterations = _pace(tags["kind"], run.data.params)
            seconds = metrics["seconds"] + metrics.get("verdict_seconds", 0.0)  # which follows in the same process
            measured.append((pace, seconds / iterations))
    return (
        pd.DataFrame(measured, columns=["pace", "seconds"]).astype({"seconds": float}).groupby("pace").seconds.median()
    )


def _with_seconds(jobs: list[_Job], speed: "pd.Series[float]") -> pd.DataFrame:
    """A row for each job, with the ``seconds`` that are left of it, NaN where its speed is not known."""
    table = pd.DataFrame(jobs, columns=_Job._fields)
    seconds = (table.pace.map(speed) * table.iterations - table.made).clip(lower=0)
    return table.assign(seconds=seconds.mask(table.finished | table.failed, 0))


def _by_isp(table: pd.DataFrame) -> list[Jobs]:
    return [
        Jobs(LABELS[kind], isp, len(of), int(of.finished.sum()), None if of.seconds.isna().any() else of.seconds.sum())
        for (kind, isp), of in table.groupby(["kind", "isp"], sort=False)
    ]
