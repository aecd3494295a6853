"""One study on the test cluster: started, watched, and read from the tracker at its end."""

import hashlib
import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from machines import BIN, ROOT, Bucket, Cluster, Machine, TrackingServer, wait_for
from mlflow import MlflowClient
from mlflow.entities import Run

STUDY = """
name: {name}
cameras: [{{name: small-rggb, simulate: {{preset: sim-rggb, images: 4, height: 96, width: 128}}}}]
isps: [INet]
lambdas: [{lambdas}]
seeds: 2
split: {{train: 3, validation: 1}}
pretraining: {{patch: 16, batch: 2, max_iterations: 4, check_every: 2, validation_patch: 32}}
training: {{patch: 16, batch: 2, iterations: 120}}
validation: {{every: 20, accuracy_patches: 2, fidelity_patches: 1, textured: false}}
evaluation: {{codecs: ["jpeg:50"], windows: 3}}
resources: {{checkpoint_seconds: 0, cache: {cache}}}
"""
HERE = Path(__file__).resolve().parent
STEPS = list(range(20, 121, 20))  # of the validations; all but the last are followed by a checkpoint
LAMBDAS = "0.01, fixed"
TRIALS = 4
METRICS = {"accuracy", "psnr", "ssim", "ssim_paper", "loss_fan", "loss_nip"}
JUDGED = {"flip", "accuracy_real", "accuracy_real_worst", "accuracy_real_jpeg_50"}  # once, at the end of a trial
WEIGHTS = ("nip.safetensors", "fan.safetensors")
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"


@dataclass(frozen=True)
class Result:
    """What a trial leaves behind: (step, value) of its metrics as they were logged, and SHA-256 of its weights.

    How many ``seconds`` it took is no part of it: these are bound to differ.
    """

    metrics: Mapping[str, list[tuple[int, float]]]
    weights: Mapping[str, str]


@dataclass
class Laboratory:
    """One study, under its own name and with a storage of its own, on the cluster of all.

    Where no ``bucket`` is the storage, ``results`` in ``folder`` is. Drivers find their camera's pictures there, if
    another laboratory has taken them before. ``keys`` are those of the trials, as far as they are known.
    """

    name: str
    folder: Path
    cluster: Cluster
    server: TrackingServer
    pictures_of: "Laboratory | None" = None
    keys: Collection[str] = ()
    bucket: Bucket | None = None
    search: str = ""  # this section of the study file
    environment: dict[str, str] = field(default_factory=dict)  # of drivers, beside the cluster's
    drivers: list[Machine] = field(default_factory=list)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @cached_property
    def client(self) -> MlflowClient:
        return MlflowClient(self.server.uri)

    def start(
        self, lambdas: str = LAMBDAS, verb: str = "run", *options: str, program: Sequence[str] = ("-m", "study")
    ) -> Machine:
        """A driver: ``python -m study run``, or another verb."""
        if self.pictures_of and not self.drivers:
            for part in ("simulated", "cameras"):
                shutil.copytree(self.pictures_of.results / part, self.results / part)
        study = self.folder / "study.yaml"
        study.write_text(STUDY.format(name=self.name, lambdas=lambdas, cache=self.folder / "cache") + self.search)
        storage = f"{self.bucket.uri}/{self.name}" if self.bucket else self.results
        command = [BIN / "python", *program, verb, study, *options]
        command += ["--address", self.cluster.address, "--storage", storage]
        environment = {"PYTHONPATH": f"{ROOT}:{HERE}", **self.cluster.environment, **self.environment}
        if self.bucket:  # the nodes know nothing of it: workers are given what the driver has
            environment |= self.bucket.environment
        name = f"driver-{len(self.drivers) + 1}"
        self.drivers.append(Machine(name, command, environment, self.folder / f"{name}.log", self.folder))
        return self.drivers[-1]

    def run(self, lambdas: str = LAMBDAS, code: int = 0) -> str:
        return self.start(lambdas).finish(code)

    def runs(self) -> list[Run]:
        """Of trials."""
        found = self.client.get_experiment_by_name(self.name)
        assert found is not None
        return list(self.client.search_runs([found.experiment_id], "tags.kind = 'trial'"))

    def finished(self) -> set[str]:
        """Keys of trials."""
        return {run.data.tags["trial_key"] for run in self.runs() if run.info.status == "FINISHED"}

    def names(self, folder: str) -> list[str]:
        """What lies in a folder of the storage, oldest step first."""
        if self.bucket:
            return self.bucket.names(f"{self.name}/{folder}/")
        files = (self.results / folder).rglob("[!.]*")
        return sorted(file.relative_to(self.results).as_posix() for file in files if file.is_file())

    def checkpoints(self) -> dict[str, list[str]]:
        """Names of the checkpoints of trials by key, oldest first."""
        found: dict[str, list[str]] = {}
        for name in self.names("checkpoints"):
            if (key := Path(name).stem.rpartition("-")[0]) in self.keys:
                found.setdefault(key, []).append(name)
        return found

    def wait_for_mid_trial(self, driver: Machine, kept: int = 1) -> None:
        """Wait until every worker is at a trial that has this many checkpoints: not many of all that it will write."""

        def at_trials() -> bool:
            return sum(len(names) >= kept for names in self.checkpoints().values()) >= len(self.cluster.workers)

        wait_for(at_trials, driver)

    def outcome(self) -> dict[str, Result]:
        """By key. Every key has one run, and every run is finished."""
        runs = self.runs()
        assert [run.info.status for run in runs] == ["FINISHED"] * len(runs)
        results = {run.data.tags["trial_key"]: self.result(run) for run in runs}
        assert len(results) == len(runs)
        return results

    def result(self, run: Run) -> Result:
        run_id = run.info.run_id
        metrics = {
            name: [(entry.step, entry.value) for entry in self.client.get_metric_history(run_id, name)]
            for name in run.data.metrics.keys() - {"seconds", "verdict_seconds"}
        }
        with TemporaryDirectory() as folder:
            files = {name: Path(self.client.download_artifacts(run_id, name, folder)) for name in WEIGHTS}
            weights = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
        return Result(metrics, weights)


def resumed_in(output: str) -> set[str]:
    """The trials that a driver has started again, by the beginnings of their keys."""
    return set(re.findall(r"^(\w+): .* resumes from its last checkpoint$", output, re.MULTILINE))
