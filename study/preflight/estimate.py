"""What a study will still cost: device hours at the measured speed, and bytes that it will write."""

import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from mlflow.entities import Run

import models
from cameras.pairs import BYTES_PER_BAYER_PIXEL, BYTES_PER_CELL, INDEX_FILE
from channel import Manipulations
from forensics import FAN, Trial
from forensics.training import EXAMPLES
from models.pretrain import Pretraining
from study.execution.checkpoints import KEPT
from study.jobs import PretrainingJob, TrialJob
from study.jobs.plan import Grid
from study.settings import Planned, Study
from study.storage import Storage
from study.tracking import Snapshot

# The settings that decide how long an iteration takes, as runs carry them among their params.
PACE = (
    ("training", ("batch", "patch", "textured", "precision")),
    ("validation", ("every", "accuracy_patches", "fidelity_patches", "textured")),
    ("channel", ("downsample", "codec", "rounding", "subsampling")),
)
PRETRAINING = tuple(field.name for field in fields(Pretraining) if field.name not in ("seed", "max_iterations"))
MOMENTS = 2  # that Adam keeps of every weight
TEXTS = 8_000  # bytes of a run's settings and confusion matrix
BYTES_PER_MOSAIC_PIXEL = 2  # in a DNG file


@dataclass(frozen=True)
class Jobs:
    """The jobs of one kind ("pre-training" or "trials") and ISP.

    ``seconds`` is how long those that are left take one after the other, None where their speed is not known.
    """

    kind: str
    isp: str
    count: int
    finished: int
    seconds: float | None

    @property
    def left(self) -> int:
        return self.count - self.finished


@dataclass(frozen=True)
class Estimate:
    """What is left of a study.

    Time: the seconds per iteration of a job are the median over this experiment's finished runs of the same ISP, and
    of the same settings where these decide the speed (batch, patch, precision, validation, channel, manipulations,
    threads; *fixed* apart from *joint*), on whatever hardware they ran. A pre-training stops as early as theirs did.
    Jobs in progress count in full. A *device* is what a job gets: its GPUs or share of one, or else its CPUs.

    Bytes: weights are float32. A trial keeps those of its NIP and its FAN, and example patches; a pre-training keeps
    its NIP twice, in the storage and with its run. Of every job that runs at the same time, two checkpoints (weights
    and Adam's two moments; of a NIP in pre-training its best weights, too) lie in the storage, and a third while it is
    written. A simulated camera that is missing is written as a whole. Metrics (some hundred bytes a validation), logs
    and reports do not count.

    Attributes:
        jobs: pre-trainings and trials, by ISP.
        device: "GPU" or "CPU".
        share: devices of a job.
        artifacts: bytes that the runs will keep.
        checkpoints: bytes that lie in the storage at the same time.
        nips: bytes of pre-trained NIPs in the storage.
        simulated: bytes of simulated cameras, DNG files and pairs.
    """

    jobs: tuple[Jobs, ...]
    device: str
    share: float
    artifacts: int
    checkpoints: int
    nips: int
    simulated: int

    @property
    def trials(self) -> int:
        return sum(job.count for job in self.jobs if job.kind == "trials")

    @property
    def finished(self) -> int:
        """Finished trials."""
        return sum(job.finished for job in self.jobs if job.kind == "trials")

    @property
    def hours(self) -> float:
        """Device hours of all that is left and whose speed is known."""
        return sum(job.seconds or 0 for job in self.jobs) * self.share / 3600

    @property
    def unknown(self) -> tuple[str, ...]:
        """What ``hours`` leaves out, such as "UNet trials"."""
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
        slots: jobs that run at the same time; where not given, as many as this machine has CPUs for.
    """
    runs = snapshot.by_key if snapshot else {}
    slots = slots or max((os.cpu_count() or 1) // study.resources.cpus, 1)
    done = [_is_finished(key, runs) for key in grid.keys]
    nips = {(item.trial.camera, item.trial.isp, item.trial.split, item.pretraining): False for item in grid.planned}
    for job in grid.pretrainings:
        nips[job.camera, job.isp, job.split, job.pretraining] = _is_finished(job.key, runs)

    left = [item for item, is_done in zip(grid.planned, done, strict=True) if not is_done]
    nips_left = [(isp, pretraining) for (_, isp, _, pretraining), is_done in nips.items() if not is_done]
    weights = sum(nip_bytes(isp) for isp, _ in nips_left)
    checkpoints = [_checkpoint_bytes(item.trial) for item in left]
    checkpoints += [(2 + MOMENTS) * nip_bytes(isp) for isp, _ in nips_left]  # itself, and its best weights
    return Estimate(
        jobs=(*_pretrainings(study, nips, runs), *_trials(study, grid.planned, done, runs)),
        device="GPU" if study.resources.gpus else "CPU",
        share=study.resources.gpus or study.resources.cpus,
        artifacts=sum(_artifact_bytes(item.trial) for item in left) + weights + TEXTS * len(nips_left),
        checkpoints=(KEPT + 1) * sum(sorted(checkpoints, reverse=True)[:slots]),
        nips=weights,
        simulated=_simulated_bytes(study),
    )


def _is_finished(key: str | None, runs: Mapping[str, Run]) -> bool:
    return key is not None and key in runs and runs[key].info.status == "FINISHED"


# --- Time ---


def _trials(study: Study, planned: Sequence[Planned], done: Sequence[bool], runs: Mapping[str, Run]) -> list[Jobs]:
    seconds: dict[tuple[Any, ...], list[float]] = {}  # for each iteration, by pace
    for run in _measured(study, runs, TrialJob.kind):
        params = run.data.params
        pace = [params.get(f"{section}.{name}") for section, names in PACE for name in names]
        setting = (params.get("isp"), params.get("lambda") == "fixed", params.get("manipulations"), *pace)
        iterations = float(params.get("training.iterations", "nan"))
        seconds.setdefault(setting, []).append(run.data.metrics["seconds"] / iterations)
    needed: dict[str, list[float | None]] = {isp: [] for isp in study.isps}
    for item, is_done in zip(planned, done, strict=True):
        if not is_done:
            trial = item.trial
            paces = seconds.get(_pace(trial))
            needed[trial.isp].append(statistics.median(paces) * trial.training.iterations if paces else None)
    counts = Counter(item.trial.isp for item in planned)
    return [_jobs("trials", isp, counts[isp], needed[isp]) for isp in study.isps]


def _pace(trial: Trial) -> tuple[Any, ...]:
    pace = [str(getattr(getattr(trial, section), name)) for section, names in PACE for name in names]
    return (trial.isp, not trial.joint, str(trial.manipulations), *pace)


def _pretrainings(study: Study, nips: Mapping[tuple[Any, ...], bool], runs: Mapping[str, Run]) -> list[Jobs]:
    seconds: dict[tuple[Any, ...], list[float]] = {}  # for each allowed iteration, by settings
    for run in _measured(study, runs, PretrainingJob.kind):
        params = run.data.params
        setting = (params.get("isp"), *(params.get(f"pretraining.{name}") for name in PRETRAINING))
        allowed = float(params.get("pretraining.max_iterations", "nan"))
        seconds.setdefault(setting, []).append(run.data.metrics["seconds"] / allowed)
    needed: dict[str, list[float | None]] = {isp: [] for isp in study.isps}
    for (_, isp, _, pretraining), is_done in nips.items():
        if not is_done:
            paces = seconds.get((isp, *(str(getattr(pretraining, name)) for name in PRETRAINING)))
            needed[isp].append(statistics.median(paces) * pretraining.max_iterations if paces else None)
    counts = Counter(isp for _, isp, _, _ in nips)
    return [_jobs("pre-training", isp, counts[isp], needed[isp]) for isp in study.isps]


def _measured(study: Study, runs: Mapping[str, Run], kind: str) -> list[Run]:
    """Finished runs that know how long they took, with as many threads as the study gives a job."""
    return [
        run
        for run in runs.values()
        if run.info.status == "FINISHED"
        and run.data.tags.get("kind") == kind
        and run.data.tags.get("threads") == str(study.resources.cpus)
        and "seconds" in run.data.metrics
    ]


def _jobs(kind: str, isp: str, count: int, needed: list[float | None]) -> Jobs:
    known = [seconds for seconds in needed if seconds is not None]
    return Jobs(kind, isp, count, count - len(needed), sum(known) if len(known) == len(needed) else None)


# --- Bytes ---


@cache
def nip_bytes(isp: str) -> int:
    """Bytes of the weights of a pipeline."""
    return sum(value.numel() * value.element_size() for value in models.build(isp).state_dict().values())


@cache
def _fan_bytes(manipulations: tuple[str, ...]) -> int:
    fan = FAN(len(Manipulations(manipulations).classes))
    return sum(value.numel() * value.element_size() for value in fan.state_dict().values())


def _artifact_bytes(trial: Trial) -> int:
    shown = min(EXAMPLES, trial.split.validation * trial.validation.fidelity_patches)
    examples = 3 * shown * 3 * (2 * trial.training.patch) ** 2  # target, native, developed: RGB uint8
    return nip_bytes(trial.isp) + _fan_bytes(trial.manipulations) + examples + TEXTS


def _checkpoint_bytes(trial: Trial) -> int:
    nip, fan = nip_bytes(trial.isp), _fan_bytes(trial.manipulations)
    return nip + fan + MOMENTS * (nip + fan if trial.joint else fan)


def _simulated_bytes(study: Study) -> int:
    """Bytes of the simulated cameras that are missing: DNG files, Bayer stacks and targets."""
    storage = Storage(study.storage)
    return sum(
        simulation.images
        * (simulation.height * simulation.width // 4)
        * (4 * BYTES_PER_MOSAIC_PIXEL + BYTES_PER_BAYER_PIXEL + BYTES_PER_CELL)
        for camera in study.cameras
        if (simulation := camera.simulate) and not storage.exists(f"cameras/{camera.name}/{INDEX_FILE}")
    )


def gigabytes(size: int) -> str:
    """12.3 GB"""
    return f"{size / 1e9:.3g} GB"
