"""A study on real processes: real Ray, real MLflow, real SIGKILL."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from study import tracking
from study.rerun import rerun
from study.settings import Study, load_study

ROOT = Path(__file__).resolve().parents[2]

STUDY = """
name: interrupted
cameras: [{name: small-rggb, simulate: {preset: sim-rggb, images: 4, height: 96, width: 128}}]
isps: [INet]
lambdas: [0.01, fixed]
seeds: 1
split: {train: 3, validation: 1}
pretraining: {patch: 16, batch: 2, max_iterations: 4, check_every: 2, validation_patch: 32}
training: {patch: 16, batch: 2, iterations: 240}
validation: {every: 20, accuracy_patches: 2, fidelity_patches: 1, textured: false}
resources: {checkpoint_seconds: 0}
"""


class Command:
    """``python -m study …`` with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "study", *arguments, "--storage", str(self.folder / "results")],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == code, output
        return output

    def study(self, source: str) -> Study:
        return load_study(source).model_copy(update={"storage": self.folder / "results"})

    def runs(self, source: str, kind: str) -> list[Run]:
        study = self.study(source)
        client = MlflowClient(tracking.tracking_uri(study))
        found = client.get_experiment_by_name(study.name)
        assert found is not None
        return list(client.search_runs([found.experiment_id], f"tags.kind = '{kind}'"))


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Command(tmp_path_factory.mktemp("study"))


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_killed_and_run_again_ends_bit_identical(command: Command) -> None:
    """SIGKILL hits first a training process, then the driver; each time in the middle of a trial."""
    source = command.folder / "interrupted.yaml"
    source.write_text(STUDY)
    checkpoints = command.folder / "results" / "checkpoints"

    def trial_checkpoints() -> list[Path]:
        return [path for path in checkpoints.glob("*.safetensors") if path.stem not in pretrainings]

    pretrainings: set[str] = set()
    driver = command.start("run", str(source))
    database = command.folder / "results" / "mlflow.db"
    wait_for(lambda: list((command.folder / "results" / "nips").glob("*.safetensors")), driver)
    pretrainings |= {run.data.tags["trial_key"] for run in command.runs(str(source), "pretrain")}
    wait_for(trial_checkpoints, driver)
    workers = [process for process in psutil.Process(driver.pid).children(recursive=True) if is_training(process)]
    assert workers
    for worker in workers:
        worker.kill()
    hit = {path: path.stat().st_mtime_ns for path in trial_checkpoints()}
    wait_for(lambda: any(path.exists() and path.stat().st_mtime_ns > before for path, before in hit.items()), driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert trial_checkpoints(), "killed too late: no trial was in progress"
    assert database.exists()

    output = command.run("run", str(source))
    assert "report:" in output
    trials = command.runs(str(source), "trial")
    assert [run.info.status for run in trials] == ["FINISHED", "FINISHED"]
    assert len({run.data.tags["trial_key"] for run in trials}) == 2
    assert not trial_checkpoints()
    for run in trials:
        again = rerun(run.info.run_id, command.folder / "results", tracking.tracking_uri(command.study(str(source))))
        assert again.identical, again.difference

    assert "to do" not in command.run("run", str(source)), "a finished study has nothing to do"
    assert len(command.runs(str(source), "trial")) == 2


def is_training(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[:1] != [] and process.cmdline()[0].startswith("ray::ImplicitFunc")
    except psutil.NoSuchProcess:
        return False


def test_smoke_and_what_can_be_asked_of_it(command: Command) -> None:
    before = json.loads(command.run("status", "smoke", "--json"))
    assert before["trials"] == before["waiting for data or pre-training"] == 4
    assert "0 finished" in command.run("run", "smoke", "--dry-run")
    assert not (command.folder / "results" / "reports" / "smoke").exists()

    output = command.run("run", "smoke")
    report = command.folder / "results" / "reports" / "smoke" / "report.html"
    assert str(report) in output.replace("\n", "")
    assert "smoke-rggb" in report.read_text()

    after = json.loads(command.run("status", "smoke", "--json"))
    assert after["finished"] == 4
    assert "4 finished" in command.run("run", "smoke", "--dry-run")

    ranked = json.loads(command.run("best", "smoke", "--isp", "INet", "--json"))
    assert {setting["isp"] for setting in ranked} == {"INet"}
    accuracies = [setting["accuracy"] for setting in ranked]
    assert accuracies == sorted(accuracies, reverse=True)

    run = command.runs("smoke", "trial")[0]
    assert "bit-identical" in command.run("rerun", run.data.tags["trial_key"][:10])
    for run in command.runs("smoke", "trial"):
        assert set(run.data.metrics) >= {"accuracy", "psnr", "ssim", "loss_fan", "loss_nip", "seconds"}
        assert set(run.data.params) == {"camera", "isp", "lambda", "seed"}
        artifacts = {item.path for item in MlflowClient(command_uri(command)).list_artifacts(run.info.run_id)}
        assert artifacts >= {"nip.safetensors", "fan.safetensors", "confusion.json", "trial.yaml"}


def command_uri(command: Command) -> str:
    return tracking.tracking_uri(command.study("smoke"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nowhere.yaml"), "there is no study 'nowhere.yaml'"),
        (("run", "paper"), "camera 'Canon EOS 40D' is not in"),
        (("best", "paper"), "paper"),
        (("rerun", "feedbeef"), "no run and no trial key 'feedbeef'"),
        (("import", "--camera", "X", "no-such-folder"), "no-such-folder"),
        (("simulate", "somewhere", "--camera", "X"), "no simulated camera 'X'"),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(command: Command, arguments: tuple[str, ...], message: str) -> None:
    if arguments[0] == "simulate":
        process = subprocess.run(
            [sys.executable, "-m", "study", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        code, output = process.returncode, process.stderr
    else:
        output, code = command.run(*arguments, code=2), 2
    assert code == 2
    assert "Traceback" not in output
    assert message in output
    assert output.count("error:") == 1


def test_a_poisoned_trial_fails_at_once_and_the_rest_goes_on(command: Command) -> None:
    source = command.folder / "poisoned.yaml"
    text = STUDY.replace("name: interrupted", "name: poisoned").replace("[0.01, fixed]", "[3.0e+38, fixed]")
    source.write_text(text.replace("iterations: 240", "iterations: 20"))
    output = command.run("run", str(source), code=1)
    assert "loss is not finite at iteration 1" in " ".join(output.split())
    by_lambda = {run.data.params["lambda"]: run for run in command.runs(str(source), "trial")}
    assert by_lambda["fixed"].info.status == "FINISHED"
    assert by_lambda["3e+38"].info.status == "FAILED"
    assert "not finite at iteration 1" in by_lambda["3e+38"].data.tags["failure"]
    assert "to do" not in command.run("run", str(source), code=1), "what failed by itself is not repeated"
