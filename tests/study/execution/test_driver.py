"""A study on real processes: real Ray, real MLflow, real Ctrl-C."""

import io
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from study_process import STUDY, Command, wait_for

from study import tracking
from study.commands.app import main
from study.jobs.plan import resolve
from study.settings import Study


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Command(tmp_path_factory.mktemp("study"))


# Runs a command, and writes down every result that a worker reports to Ray Tune.
SPY = """
import json, os, secrets, sys
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
from study.commands.app import main
from study.execution import scheduler

class Spy(scheduler._Watcher):
    def on_trial_result(self, iteration, trials, trial, result, **info):
        with open(NOTES, "a") as file:
            file.write(json.dumps(result, default=str) + chr(10))
        super().on_trial_result(iteration, trials, trial, result, **info)

scheduler._Watcher = Spy
main()
"""


def test_smoke_and_its_results(command: Command) -> None:
    before = json.loads(command.ask("status", "smoke", "--json"))
    assert before["trials"] == before["waiting for data or pre-training"] == 4
    assert "0 finished" in command.ask("run", "smoke", "--dry-run")
    assert not (command.folder / "results" / "reports" / "smoke").exists()

    notes = command.folder / "notes.jsonl"
    output = command.run("run", "smoke", module=("-c", SPY.replace("NOTES", repr(str(notes)))))
    report = command.folder / "results" / "reports" / "smoke" / "report.html"
    assert str(report) in output.replace("\n", "")
    assert "smoke-rggb" in report.read_text()

    after = json.loads(command.ask("status", "smoke", "--json"))
    assert after["finished"] == 4
    assert "4 finished" in command.ask("run", "smoke", "--dry-run")

    ranked = json.loads(command.ask("best", "smoke", "--isp", "INet", "--json"))
    assert {setting["isp"] for setting in ranked} == {"INet"}
    accuracies = [setting["accuracy"] for setting in ranked]
    assert accuracies == sorted(accuracies, reverse=True)

    trials = command.runs("smoke", "trial")
    assert "bit-identical" in command.ask("rerun", trials[0].data.tags["trial_key"][:10])
    client = MlflowClient(tracking.tracking_uri(command.study("smoke")))
    for run in trials:
        assert set(run.data.metrics) >= {"accuracy", "psnr", "ssim", "flip", "loss_fan", "loss_nip", "seconds"}
        assert set(run.data.params) >= {"camera", "isp", "lambda", "seed", "channel.codec", "training.iterations"}
        artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert artifacts >= {"nip.safetensors", "fan.safetensors", "confusion.json", "trial.yaml"}
    check_what_tune_sees([json.loads(line) for line in notes.read_text().splitlines()], trials)


def check_what_tune_sees(reported: list[dict[str, Any]], trials: list[Run]) -> None:
    """Tune knows the axes of every trial, and the same iterations and metrics as MLflow."""
    by_key: dict[str, list[dict[str, Any]]] = {}
    for result in reported:
        by_key.setdefault(result["config"]["key"], []).append(result)
    assert len(by_key) == 2 + len(trials), "two pre-trainings, too"
    for run in trials:
        results = by_key[run.data.tags["trial_key"]]
        config = results[0]["config"]
        assert {
            name: str(config[name]) for name in ("camera", "isp", "lambda", "seed")
        }.items() <= run.data.params.items()
        iterations = [result["iteration"] for result in results]
        assert iterations == sorted(iterations)
        assert {5, 10} <= set(iterations), "the validations"
        last = results[-1]
        assert last["ended"]
        assert last["iteration"] == 10
        for name in ("accuracy", "psnr", "ssim"):
            assert last[name] == run.data.metrics[name]


def test_a_damaged_nip_is_restored_from_its_run(command: Command) -> None:
    """Trials are known by the bytes that they start from: these must come back, not others like them."""
    study = command.study("smoke")
    keys = keys_of(study)
    weights = sorted((command.folder / "results" / "nips").glob("smoke-rggb-*.safetensors"))
    content = [path.read_bytes() for path in weights]
    weights[0].write_bytes(content[0][:-1])
    weights[1].unlink()
    assert "to do" not in command.run("run", "smoke")
    assert [path.read_bytes() for path in weights] == content
    assert keys_of(study) == keys


def keys_of(study: Study) -> tuple[str | None, ...]:
    return resolve(study, tracking.read(tracking.tracking_uri(study), study.name)).keys


def user_error(*arguments: str) -> str:
    """The one line of a command that fails for a reason that the user can put right."""
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SystemExit) as left,
        redirect_stderr(io.StringIO()) as output,
    ):
        patch.setattr(sys, "argv", ["study", *arguments])
        main()
    assert left.value.code == 2, output.getvalue()
    assert output.getvalue().startswith("error: ")
    assert output.getvalue().strip().count("\n") == 0
    return output.getvalue()


def test_user_errors_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    storage = ("--storage", str(tmp_path))
    assert "there is no study 'nowhere.yaml'" in user_error("run", "nowhere.yaml")
    assert "camera 'Canon EOS 40D' is not in" in user_error("run", "paper", *storage)
    assert "study smoke has no results in" in user_error("best", "smoke", *storage)
    assert "no results in" in user_error("report", "smoke", "--storage", str(tmp_path / "nothing here [at all]"))
    assert "no run and no trial key 'feedbeef'" in user_error("rerun", "feedbeef", *storage)
    assert "no-such-folder" in user_error("import", "--camera", "X", "no-such-folder", *storage)
    assert "use letters" in user_error("import", "--camera", "../X", ".", *storage)
    assert "no simulated camera 'X'" in user_error("simulate", str(tmp_path / "raw"), "--camera", "X")
    assert "photographs" in user_error("simulate", str(tmp_path / "raw"), "--photos", str(tmp_path / "no-photos"))


def test_unusable_storage_and_tracking_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in user_error("run", "smoke", "--storage", str(file))
    damaged = tmp_path / "damaged" / "cameras" / "smoke-rggb"
    damaged.mkdir(parents=True)
    (damaged / "index.json").write_text("{}")
    assert "is damaged" in user_error("run", "smoke", "--storage", str(tmp_path / "damaged"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert "tracking at http://127.0.0.1:9" in user_error("status", "smoke")


@pytest.mark.parametrize("moment", ["pre-training", "trials"])
def test_ctrl_c_ends_the_command_and_the_next_resumes(command: Command, moment: str) -> None:
    source = command.folder / "stopped.yaml"
    source.write_text(
        STUDY.replace("name: interrupted", "name: stopped").replace("max_iterations: 4", "max_iterations: 8")
    )
    driver = command.start("run", str(source))
    folder = command.folder / "results" / ("ray" if moment == "pre-training" else "checkpoints")
    before = set(folder.glob("*"))
    wait_for(lambda: set(folder.glob("*")) - before, driver)
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, output
    assert "Traceback" not in output
    assert "report:" not in output


def test_a_poisoned_trial_fails_at_once_and_the_others_run(command: Command) -> None:
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
