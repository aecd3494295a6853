"""``python -m study search`` on real processes: killed in the middle, and what the other commands know of it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from study.commands.app import app
from study.settings import StudyError

ROOT = Path(__file__).resolve().parents[3]
STUDY = """
name: searched
cameras: [{name: small-rggb, simulate: {preset: sim-rggb, images: 4, height: 96, width: 128}}]
isps: [INet]
lambdas: [0.01]
seeds: 1
split: {train: 3, validation: 1}
pretraining: {patch: 16, batch: 2, max_iterations: 4, check_every: 2, validation_patch: 32}
training: {patch: 16, batch: 2, iterations: 60}
validation: {every: 20, accuracy_patches: 2, fidelity_patches: 1, textured: false}
evaluation: {codecs: ["jpeg:50"], windows: 3}
resources: {checkpoint_seconds: 0}
search:
  over: {lambda: {log: [0.001, 0.1]}}
  points: 4
  random: 2
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def start(study: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "study", "search", str(study), "--storage", str(study.parent / "results")]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ask(study: Path, *arguments: str) -> str:
    asked = CliRunner().invoke(app, [*arguments, "--storage", str(study.parent / "results")])
    assert asked.exit_code == 0, asked.output
    return asked.stdout


def test_a_search_that_is_killed_goes_on(study: Path) -> None:
    driver = start(study)
    nips, end = study.parent / "results" / "nips", time.monotonic() + 240
    checkpoints = study.parent / "results" / "checkpoints"
    while not (list(nips.glob("*.safetensors")) and list(checkpoints.glob("*-0000000[24]0.safetensors"))):
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    before = json.loads(ask(study, "status", str(study), "--json"))["search"]
    assert before["left"] > 0, "killed too late: the search is done"

    driver = start(study)
    output, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, output
    assert "search: done in" in output

    found = json.loads(ask(study, "status", str(study), "--json"))["search"]
    assert found == {"points": 4, "finished": 4, "stopped": 0, "failed": 0, "left": 0}
    client = MlflowClient(f"sqlite:///{study.parent / 'results' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("searched")
    assert experiment is not None
    trials = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    assert [run.info.status for run in trials] == ["FINISHED"] * 4
    assert len({run.data.params["lambda"] for run in trials}) == 4
    assert {"accuracy_real", "psnr"} <= set(trials[0].data.metrics)
    for run in trials:
        history = client.get_metric_history(run.info.run_id, "psnr")
        assert [entry.step for entry in history] == [20, 40, 60]
    ranked = json.loads(ask(study, "best", str(study), "--json"))
    assert {run_id for row in ranked for run_id in row["run_ids"].split()} == {run.info.run_id for run in trials}
    assert "4 finished" in ask(study, "search", str(study), "--dry-run")
    assert (
        "bit-identical"
        in CliRunner()
        .invoke(app, ["rerun", trials[0].data.tags["trial_key"], "--storage", str(study.parent / "results")])
        .stdout
    )
    assert not list(checkpoints.glob("*"))


def test_a_study_without_a_search_is_told_so(study: Path) -> None:
    study.write_text(STUDY[: STUDY.index("search:")])
    asked = CliRunner().invoke(app, ["search", str(study), "--dry-run", "--storage", str(study.parent / "results")])
    assert isinstance(asked.exception, StudyError)
    assert "has no section 'search'" in str(asked.exception)


def test_before_anything_has_run_the_cost_is_known_in_kind(study: Path) -> None:
    output = ask(study, "search", str(study), "--dry-run")
    assert "search: 4 points: 0 finished, 0 stopped, 0 failed, 4 left" in output
    assert "what was never measured" in output
    assert not (study.parent / "results").exists(), "nothing was written"
