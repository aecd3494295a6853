"""Without a cluster, on the Ray that a command starts for itself: what is killed goes on."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from study_process import SEARCH, STUDY, Command, wait_for

from study import tracking
from study.commands.rerun import rerun
from study.execution.checkpoints import key_of


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Command(tmp_path)


def test_killed_and_run_again_ends_bit_identical(command: Command) -> None:
    """SIGKILL hits first a training process, then the driver; each time in the middle of a trial."""
    source = command.folder / "interrupted.yaml"
    source.write_text(STUDY)
    checkpoints = command.folder / "results" / "checkpoints"

    def trial_checkpoints() -> list[Path]:
        return [path for path in checkpoints.glob("*.safetensors") if key_of(path.name) not in pretrainings]

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
    before = set(trial_checkpoints())
    wait_for(lambda: set(trial_checkpoints()) - before, driver)
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
    study = command.study(str(source))
    for run in trials:
        again = rerun(run.info.run_id, study.storage, tracking.tracking_uri(study))
        assert again.identical, again.difference

    assert "to do" not in command.run("run", str(source)), "a finished study has nothing to do"
    assert len(command.runs(str(source), "trial")) == 2


def is_training(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[:1] != [] and process.cmdline()[0].startswith("ray::ImplicitFunc")
    except psutil.NoSuchProcess:
        return False


def test_a_search_that_is_killed_goes_on(command: Command) -> None:
    """And what the other commands know of it."""
    source = command.folder / "searched.yaml"
    source.write_text(STUDY.replace("interrupted", "searched").replace("iterations: 240", "iterations: 60") + SEARCH)
    nips, checkpoints = (command.folder / "results" / name for name in ("nips", "checkpoints"))
    driver = command.start("search", str(source))
    wait_for(
        lambda: list(nips.glob("*.safetensors")) and list(checkpoints.glob("*-0000000[24]0.safetensors")),
        driver,
        240,
    )
    driver.kill()
    driver.wait()
    before = json.loads(command.ask("status", str(source), "--json"))["search"]
    assert before["left"] > 0, "killed too late: the search is done"

    assert "search: done in" in command.run("search", str(source))

    found = json.loads(command.ask("status", str(source), "--json"))["search"]
    assert found == {"points": 4, "finished": 4, "stopped": 0, "failed": 0, "left": 0}
    trials = command.runs(str(source), "trial")
    assert [run.info.status for run in trials] == ["FINISHED"] * 4
    assert len({run.data.params["lambda"] for run in trials}) == 4
    assert {"accuracy_real", "psnr"} <= set(trials[0].data.metrics)
    client = MlflowClient(tracking.tracking_uri(command.study(str(source))))
    for run in trials:
        history = client.get_metric_history(run.info.run_id, "psnr")
        assert [entry.step for entry in history] == [20, 40, 60]
    ranked = json.loads(command.ask("best", str(source), "--json"))
    assert {run_id for row in ranked for run_id in row["run_ids"].split()} == {run.info.run_id for run in trials}
    assert "4 finished" in command.ask("search", str(source), "--dry-run")
    assert "bit-identical" in command.ask("rerun", trials[0].data.tags["trial_key"])
    assert not list(checkpoints.glob("*"))
