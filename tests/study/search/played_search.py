"""A search without Ray: jobs are played at once, with metrics by a formula, and the tracker is a real one."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Param

from study import tracking
from study.jobs import Job
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import TrialJob
from study.jobs.verdict import VerdictJob
from study.search.search import PointSource
from study.settings import Study, planned_at
from study.settings.point import check_search

DATA, NIP = "d" * 64, "e" * 64
Metrics = Callable[[TrialJob, int], Mapping[str, float]]  # of a trial at an iteration
OVER = {"lambda": {"log": [0.001, 0.1]}, "training.learning_rate": {"log": [1e-4, 1e-2]}}


def searched(storage: str, **search: Any) -> Study:
    """A study of one camera and one ISP, in a storage that holds nothing."""
    study = Study.model_validate(
        {
            "name": "searched",
            "storage": storage,
            "cameras": ["one"],
            "isps": ["INet"],
            "lambdas": ["fixed", 0.01],
            "seeds": 2,
            "training": {"iterations": 80},
            "evaluation": {"codecs": ["jpeg:50"]},
            "search": {"over": OVER, "points": 6, "seeds": 2, "random": 3, **search},
        }
    )
    check_search(study)
    return study


def pretrained(study: Study, client: MlflowClient, experiment_id: str) -> None:
    """Let the tracker know of finished pre-trainings."""
    assert study.search is not None
    corner = {
        path: (domain if isinstance(domain, tuple) else domain.bounds)[0] for path, domain in study.search.over.items()
    }
    for item in planned_at(study, corner):
        if item.trial.seed == study.search.seeds[0]:
            job = PretrainingJob.plan(item.trial.camera, item.trial.isp, item.trial.split, item.pretraining, DATA)
            tags = {"trial_key": job.key, "kind": job.kind, "nip_sha256": NIP, **job.tags}
            run = client.create_run(experiment_id, tags=tags)
            client.log_param(run.info.run_id, "camera", job.camera)
            client.set_terminated(run.info.run_id, "FINISHED")


def trade_off(job: TrialJob, step: int) -> dict[str, float]:
    """Small λ: accurate; the learning rate has an optimum at 1e-3. Seeds differ a little."""
    lam, rate = float(job.trial.lam), job.trial.training.learning_rate
    weight = (math.log10(lam) + 3) / 2  # 0 … 1
    lost = 0.3 * abs(math.log10(rate) + 3)
    accuracy = 0.9 - 0.5 * weight**2 - lost + 0.001 * job.trial.seed
    return {
        "accuracy": accuracy,
        "accuracy_real": accuracy - 0.1,
        "psnr": 30 + 10 * weight**0.5 - 10 * lost,
        "ssim": 0.9,
    }


def source_of(study: Study, client: MlflowClient, experiment_id: str, retry_failed: bool = False) -> PointSource:
    """What a driver that has just started makes of the tracker."""
    snapshot = tracking.snapshot(client, experiment_id)
    return PointSource.of(study, snapshot, retry_failed)


class Worker:
    """Plays jobs. ``played`` are their keys, in order, and ``kinds`` the kind of each."""

    def __init__(self, client: MlflowClient, experiment_id: str, metrics: Metrics = trade_off, every: int = 80) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.metrics = metrics
        self.every = every
        self.played: list[str] = []
        self.kinds: list[str] = []

    def begin(self, job: Job) -> str:
        """Open the run of a job; returns its id."""
        self.played.append(job.key)
        self.kinds.append(job.kind)
        run = tracking.find(self.client, self.experiment_id, job.run_key)
        if run is None:
            tags = {"trial_key": job.run_key, "kind": job.kind}
            run = self.client.create_run(self.experiment_id, tags=tags)
            self.client.log_batch(
                run.info.run_id, params=[Param(name, str(value)) for name, value in job.params.items()]
            )
            return run.info.run_id
        if job.run_key == job.key:
            self.client.update_run(run.info.run_id, status="RUNNING")
        return run.info.run_id

    def play(self, job: Job, source: PointSource, judged: bool = True) -> None:
        """Run a job to its end, or until it is stopped."""
        run_id = self.begin(job)
        trial = job.trial if isinstance(job, VerdictJob) else job
        assert isinstance(trial, TrialJob)
        if job is trial:
            for step in range(self.every, trial.steps + 1, self.every):
                metrics = dict(self.metrics(trial, step))
                metrics.pop("accuracy_real")
                tracking.log_metrics(self.client, run_id, tracking.metrics(step, metrics))
                if source.should_stop(job.key, step, metrics):
                    source.ended(job.key, None)
                    return
            self.client.set_terminated(run_id, "FINISHED")
        if judged:
            real = {"accuracy_real": self.metrics(trial, trial.steps)["accuracy_real"]}
            tracking.log_metrics(self.client, run_id, tracking.metrics(trial.steps, real))
            verdict = job if job is not trial else trial.follow_ups[0]
            self.client.set_tag(run_id, f"{tracking.ADDED}{verdict.key}", "FINISHED")
        source.ended(job.key, None)

    def play_all(self, source: PointSource) -> None:
        for _ in range(1000):
            if source.is_over:
                return
            job = source.next()
            assert job is not None or source.is_over, "nothing to do, and nothing at work"
            if job is not None:
                self.play(job, source)
        raise AssertionError("the search does not end")


def jobs_of(source: PointSource) -> list[TrialJob]:
    return list(itertools.chain.from_iterable(tried.jobs for tried in source.every))
