"""The same study through every fault: real processes, real SIGKILL, and the same bits in the end."""

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
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
resources: {{checkpoint_seconds: 0, cache: {cache}}}
"""
STEPS = list(range(20, 121, 20))  # of the validations; all but the last are followed by a checkpoint
LAMBDAS = "0.01, fixed"
TRIALS = 4
METRICS = {"accuracy", "psnr", "ssim", "ssim_paper", "loss_fan", "loss_nip"}
WEIGHTS = ("nip.safetensors", "fan.safetensors")
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
OUTAGE = 30.0  # seconds that the tracking server stays away


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
    environment: dict[str, str] = field(default_factory=dict)  # of drivers, beside the cluster's
    drivers: list[Machine] = field(default_factory=list)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @cached_property
    def client(self) -> MlflowClient:
        return MlflowClient(self.server.uri)

    def start(self, lambdas: str = LAMBDAS, verb: str = "run", *options: str) -> Machine:
        """A driver: ``python -m study run``, or another verb."""
        if self.pictures_of and not self.drivers:
            for part in ("simulated", "cameras"):
                shutil.copytree(self.pictures_of.results / part, self.results / part)
        study = self.folder / "study.yaml"
        study.write_text(STUDY.format(name=self.name, lambdas=lambdas, cache=self.folder / "cache"))
        storage = f"{self.bucket.uri}/{self.name}" if self.bucket else self.results
        command = [BIN / "python", "-m", "study", verb, study, *options]
        command += ["--address", self.cluster.address, "--storage", storage]
        environment = {"PYTHONPATH": str(ROOT), **self.cluster.environment, **self.environment}
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
            for name in run.data.metrics.keys() - {"seconds"}
        }
        with TemporaryDirectory() as folder:
            files = {name: Path(self.client.download_artifacts(run_id, name, folder)) for name in WEIGHTS}
            weights = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
        return Result(metrics, weights)


@pytest.fixture(scope="module")
def reference(
    tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, tracking_server: TrackingServer
) -> Laboratory:
    """The study where nothing happens."""
    laboratory = Laboratory("undisturbed", tmp_path_factory.mktemp("undisturbed"), cluster, tracking_server)
    laboratory.run()
    return laboratory


@pytest.fixture(scope="module")
def undisturbed(reference: Laboratory) -> dict[str, Result]:
    """What the study should come to."""
    results = reference.outcome()
    assert len(results) == TRIALS
    for result in results.values():
        assert result.metrics.keys() == METRICS
        assert all([step for step, _ in history] == STEPS for history in result.metrics.values())
    assert len({result.weights["fan.safetensors"] for result in results.values()}) == TRIALS, "all trials are alike"
    return results


@pytest.fixture
def laboratory(
    request: pytest.FixtureRequest, tmp_path: Path, reference: Laboratory, undisturbed: dict[str, Result]
) -> Iterator[Laboratory]:
    """Two workers, and pictures of the camera: the rest is to do."""
    cluster = reference.cluster
    cluster.start_workers(2 - len(cluster.workers))  # an earlier test may have killed some
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")
    laboratory = Laboratory(name, tmp_path, cluster, reference.server, reference, undisturbed.keys())
    yield laboratory
    for driver in laboratory.drivers:
        driver.kill()


def test_training_process_killed(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver)
    for process in laboratory.cluster.training().values():
        process.kill()
    hit = laboratory.checkpoints()
    assert resumed_in(driver.finish()) & {key[:8] for key in hit}, "killed too late: no trial was in progress"
    assert laboratory.outcome() == undisturbed


def test_worker_node_killed(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """The other worker takes over, until a new one joins."""
    lose_a_node(laboratory)
    assert laboratory.outcome() == undisturbed


def lose_a_node(laboratory: Laboratory) -> None:
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver)
    laboratory.cluster.kill_worker(next(iter(laboratory.cluster.training())))
    hit = laboratory.checkpoints()
    laboratory.cluster.start_worker()
    assert resumed_in(driver.finish()) & {key[:8] for key in hit}, "killed too late: no trial was in progress there"


def resumed_in(output: str) -> set[str]:
    """The trials that a driver has started again, by the beginnings of their keys."""
    return set(re.findall(r"^(\w+): .* resumes from its last checkpoint$", output, re.MULTILINE))


def test_worker_node_killed_in_an_evaluation(laboratory: Laboratory) -> None:
    """Every finished trial is scored once behind every codec, and the scores do not depend on the loss."""
    laboratory.run()
    qualities = range(40, 70)
    codecs = f"jpeg:{','.join(map(str, qualities))}"
    names = {"accuracy_dJPEG", *(f"accuracy_jpeg_{quality}" for quality in qualities)}
    driver = laboratory.start(LAMBDAS, "evaluate", "--codec", codecs)

    def scored() -> int:
        return sum(len(run.data.metrics.keys() & names) for run in laboratory.runs())

    wait_for(lambda: scored() >= 4, driver)
    laboratory.cluster.kill_worker(laboratory.cluster.workers[0])
    assert scored() < TRIALS * len(names), "killed too late: everything was scored"
    laboratory.cluster.start_worker()
    driver.finish()
    for run in laboratory.runs():
        assert run.info.status == "FINISHED"
        assert names <= run.data.metrics.keys()
        for name in names:
            history = laboratory.client.get_metric_history(run.info.run_id, name)
            assert [entry.step for entry in history] == [STEPS[-1]], f"{name} was logged {len(history)} times"
        assert run.data.metrics["accuracy_dJPEG"] == run.data.metrics["accuracy"]
        files = {item.path for item in laboratory.client.list_artifacts(run.info.run_id, "evaluation")}
        assert files == {f"evaluation/{name.removeprefix('accuracy_')}.json" for name in names}
    assert "to do" not in laboratory.start(LAMBDAS, "evaluate", "--codec", codecs).finish(), "nothing is left to score"


def test_driver_killed(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver)
    driver.kill()
    assert laboratory.checkpoints(), "killed too late: no trial was in progress"
    laboratory.run()
    assert laboratory.outcome() == undisturbed
    assert not laboratory.checkpoints()


def test_tracking_server_away(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """Trials go on without it, and their results wait for its return."""
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver)
    assert laboratory.finished() < undisturbed.keys(), "killed too late: the study is done"
    laboratory.server.kill()
    back = time.monotonic() + OUTAGE
    try:
        results = wait_for(lambda: [name for name in laboratory.names("pending") if "result.json" in name], driver)
        assert Path(results[0]).parent.name in undisturbed
        wait_for(lambda: time.monotonic() > back, driver)
    finally:
        laboratory.server.start()
    driver.finish()
    assert laboratory.outcome() == undisturbed
    assert not laboratory.names("pending")


def test_head_killed(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """And the driver on it. The workers of the lost cluster live on for a while beside those of the next."""
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver)
    cluster = laboratory.cluster
    orphans = cluster.kill_head()
    driver.kill()
    assert laboratory.checkpoints(), "killed too late: no trial was in progress"
    cluster.start_head()
    cluster.start_workers(2)
    laboratory.run()
    for orphan in orphans:
        orphan.kill()
    assert laboratory.outcome() == undisturbed


def truncate(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip_bits(file: Path) -> None:
    """In the middle: safetensors itself would not notice."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0b00010001
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_bits])
def test_checkpoint_damaged(
    laboratory: Laboratory, damage: Callable[[Path], None], undisturbed: dict[str, Result]
) -> None:
    """The newest of two: the one before it serves."""
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver, kept=2)
    driver.kill()
    wait_for(lambda: not laboratory.cluster.training())
    damaged = [names[-1] for names in laboratory.checkpoints().values() if len(names) == 2]
    assert damaged, "killed too late: no trial was in progress"
    for name in damaged:
        damage(laboratory.results / name)
    output = laboratory.run()
    told = [line for line in output.splitlines() if "resuming from the one before it" in line]
    assert Counter(name for name in damaged for line in told if name in line) == Counter(damaged)
    assert len(told) == len(damaged), "the ones before are sound"
    assert laboratory.outcome() == undisturbed


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[str], bool]]:
    """A disk of its own, on a folder; yields a function that makes it ``ro`` or ``rw`` and says whether it could.

    Where nobody may mount one, the folders below lose their permission to be written to instead.
    """
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode == 0:
        try:
            yield lambda mode: subprocess.run(["mount", "-o", f"remount,{mode}", folder]).returncode == 0
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
        return
    if os.geteuid() == 0:
        pytest.skip("may not mount a tmpfs, and permissions mean nothing to root: storage cannot be made read-only")

    def permit(mode: str) -> bool:
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod({"ro": 0o555, "rw": 0o755}[mode])
        return True

    try:
        yield permit
    finally:
        permit("rw")


def test_storage_read_only_for_a_while(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """Trials go on without checkpoints, and end."""
    with small_disk(laboratory.results) as make:
        driver = laboratory.start()
        laboratory.wait_for_mid_trial(driver)
        wait_for(lambda: make("ro"), driver)  # a disk with a file being written to stays as it is
        before, ended = laboratory.names("checkpoints"), laboratory.finished()
        assert laboratory.checkpoints(), "too late: no trial was in progress"
        wait_for(lambda: laboratory.finished() > ended, driver, pause=0.5)
        assert laboratory.names("checkpoints") == before
        assert make("rw")
        output = driver.finish()
        assert "no checkpoint at iteration" in output
        assert laboratory.outcome() == undisturbed


def test_poison_trial(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """It fails at once and is not repeated; the good ones do not care."""
    output = laboratory.run(f"3.0e+38, {LAMBDAS}", code=1)
    assert "loss is not finite at iteration 1" in " ".join(output.split())
    by_status: dict[str, list[Run]] = {}
    for run in laboratory.runs():
        by_status.setdefault(run.info.status, []).append(run)
    assert {status: len(runs) for status, runs in by_status.items()} == {"FINISHED": TRIALS, "FAILED": 2}
    assert all("not finite at iteration 1" in run.data.tags["failure"] for run in by_status["FAILED"])
    assert {run.data.tags["trial_key"]: laboratory.result(run) for run in by_status["FINISHED"]} == undisturbed
    assert "to do" not in laboratory.run(f"3.0e+38, {LAMBDAS}", code=1), "what failed by itself is not repeated"
    assert len(laboratory.runs()) == TRIALS + 2


def test_two_drivers(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """The second says so and ends, and the first goes on. (That a dead one is taken over, its killing shows.)"""
    first = laboratory.start()
    wait_for(lambda: first.output, first)  # it is at the study
    assert "is being run by" in " ".join(laboratory.run(code=2).split())
    assert first.alive, "too late: the first driver has ended"
    first.finish()
    assert laboratory.outcome() == undisturbed


def test_worker_node_killed_with_storage_on_s3(
    laboratory: Laboratory, bucket: Bucket, undisturbed: dict[str, Result]
) -> None:
    laboratory.bucket = bucket
    lose_a_node(laboratory)
    assert laboratory.outcome() == undisturbed
    assert not laboratory.checkpoints()


def test_a_password_is_in_no_log(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """Of the driver's environment; workers get it as an argument, since Ray writes down what it sets for them."""
    laboratory.environment = {"MLFLOW_TRACKING_USERNAME": "somebody", "MLFLOW_TRACKING_PASSWORD": "hunter2-of-the-test"}
    laboratory.run()
    assert laboratory.outcome() == undisturbed
    cluster = laboratory.cluster
    places = (cluster.scratch, cluster.folder, laboratory.folder, laboratory.server.folder)
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    logs = [path for path in files if "runtime_env_agent" in path.name]
    assert logs, "Ray writes no such log any more: look where it writes them now"
    assert [path for path in files if b"hunter2-of-the-test" in path.read_bytes()] == []
