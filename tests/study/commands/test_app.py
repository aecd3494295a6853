"""Commands that look at a study: one pass over its runs each, and neither pairs nor NIP files."""

import json
import shlex
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from small_study import new_experiment
from typer.testing import CliRunner

from study import tracking
from study.commands.app import app
from study.commands.rerun import Comparison
from study.jobs import Job
from study.jobs.keys import KEY_RECIPE, KEY_TAG
from study.jobs.plan import resolve
from study.jobs.pretraining import NIP_HASH, PretrainingJob
from study.settings import load_study, planned

METRICS = {"accuracy": 0.5, "psnr": 30.0, "ssim": 0.9, "seconds": 60.0}


def finish(client: MlflowClient, experiment_id: str, job: Job, **tags: str) -> None:
    tags = {tracking.KEY: job.key, KEY_TAG: KEY_RECIPE, "kind": job.kind, **job.tags, **tags}
    run_id = client.create_run(experiment_id, tags=tags).info.run_id
    for name, value in job.params.items():
        client.log_param(run_id, name, value)
    tracking.log_metrics(client, run_id, tracking.metrics(job.steps, METRICS))
    client.set_terminated(run_id)


@pytest.fixture
def source(client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The smoke study, finished on a machine whose storage is not here."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    experiment_id = new_experiment(client, tmp_path)
    name = client.get_experiment(experiment_id).name
    study = load_study("smoke").model_copy(update={"name": name, "storage": str(tmp_path / "elsewhere")})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json")))
    for item in planned(study)[:3:2]:  # an item of each NIP
        job = PretrainingJob.plan(item.trial.camera, item.trial.isp, item.trial.split, item.pretraining, "data")
        finish(client, experiment_id, job, **{NIP_HASH: f"hash of {item.trial.isp}"})
    for trial in resolve(study, tracking.snapshot(client, experiment_id)).ready:
        finish(client, experiment_id, trial)
    return str(tmp_path / "study.yaml")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each page of runs that is read."""
    search, found = MlflowClient.search_runs, []

    def counted(self: MlflowClient, *arguments: object, **options: object) -> object:
        found.append("page")
        return search(self, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "search_runs", counted)
    return found


def ask(*arguments: str) -> str:
    asked = CliRunner().invoke(app, list(arguments))
    assert asked.exit_code == 0, asked.output
    assert "older recipe" not in asked.stderr
    return asked.stdout


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["status"], "4 finished, 0 running"),
        (["run", "--dry-run"], "to go: 0.0 CPU hours"),
        (["best"], "Its runs in MLflow"),
    ],
)
def test_one_pass_over_the_runs_and_no_data(
    source: str, passes: list[str], tmp_path: Path, command: list[str], expected: str
) -> None:
    assert expected in ask(*command, source)
    assert passes == ["page"]
    assert not (tmp_path / "elsewhere").exists()


def test_the_best_of_what_was_found(source: str) -> None:
    ranked = json.loads(ask("best", source, "--isp", "INet", "--json"))
    assert {setting["isp"] for setting in ranked} == {"INet"}
    assert [setting["accuracy"] for setting in ranked] == [0.5, 0.5]


@pytest.mark.parametrize("tracker", ["", "sqlite:///a tracker"])
def test_the_command_of_a_trial_finds_its_storage_and_tracker(
    source: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    study = load_study(source)
    calls, found = [], Comparison("a trial", [], "")
    monkeypatch.setattr("study.commands.rerun.rerun", lambda *arguments: calls.append(arguments) or found)
    (row, *_) = json.loads(ask("best", source, "--json"))
    if tracker:  # named by the study file: what `best` reads there, `rerun` must be told
        read = tracking.read(client.tracking_uri, study.name)
        monkeypatch.setattr(tracking, "read", lambda uri, name: read)
        Path(source).write_text(yaml.safe_dump(study.model_dump(mode="json") | {"tracking_uri": tracker}))
        (row, *_) = json.loads(ask("best", source, "--json"))
    printed = ask("best", source)
    assert row["rerun"].split("; ")[0] in printed
    ask(*shlex.split(row["rerun"].split("; ")[0])[3:])
    ((key, storage, uri),) = calls
    assert key in row["rerun"]
    assert (storage, uri) == (study.storage, tracker or client.tracking_uri)


def test_the_best_of_a_region(source: str) -> None:
    known = json.loads(ask("best", source, "--json"))
    camera, lam = known[0]["camera"], known[0]["lam"]
    options = ("--camera", camera, "--isp", "INet", "--isp", "UNet", "--where", f"lambda={lam:.3f}", "--each-seed")
    found = json.loads(ask("best", source, *options, "--max-psnr", "30.001", "--max-ssim", "0.91", "--json"))
    assert len(found) == len([row for row in known if row["lam"] == lam])
    assert {row["seed"] for row in found} == {0}
    assert " seed " in ask("best", source, "--each-seed")
    assert json.loads(ask("best", source, "--max-psnr", "30", "--json")) == []
    for wrong, message in (("lambda", "write NAME=VALUE"), ("colour=red", "there are: camera, isp, lambda")):
        asked = CliRunner().invoke(app, ["best", source, "--where", wrong])
        assert asked.exit_code != 0
        assert message in str(asked.exception)


@pytest.fixture
def judged(source: str, client: MlflowClient) -> str:
    """The finished trials, judged behind two encoders: what is best behind one is not behind the other."""
    runs = tracking.read(client.tracking_uri, load_study(source).name).of_kind("trial")  # type: ignore[union-attr]
    for number, run in enumerate(runs):
        step, run_id = 0.05 * number, run.info.run_id
        figures = {"accuracy_real": 0.3 + step, "accuracy_real_worst": 0.25, "accuracy_real_webp_50": 0.3 - step}
        tracking.log_metrics(client, run_id, tracking.metrics(6, figures | {"accuracy_real_jpeg_50_420": 0.3 + step}))
        client.log_dict(run_id, {"unseen": ["webp:50"]}, "verdict.json")
    return source


def test_the_best_is_ranked_behind_real_encoders(judged: str) -> None:
    ranked = json.loads(ask("best", judged, "--json"))
    assert [setting["accuracy_real"] for setting in ranked] == pytest.approx([0.45, 0.40, 0.35, 0.30])
    assert {setting["behind"] for setting in ranked} == {"real"}
    assert {setting["accuracy"] for setting in ranked} == {0.5}  # named as in MLflow: behind dJPEG
    assert all("accuracy_real_webp_50_low" in setting for setting in ranked)
    assert {setting["behind"] for setting in json.loads(ask("best", judged, "--json", "--codec", "dJPEG"))} == {"dJPEG"}
    text = " ".join(ask("best", judged).split())
    assert "behind real encoders, mean over the panel" in text
    assert "gap to dJPEG" in text
    assert "-0.050" in text
    assert "unseen" not in text
    assert len(json.loads(ask("best", judged, "--json", "--min-accuracy", "0.36"))) == 2


def test_the_best_behind_one_encoder(judged: str) -> None:
    ranked = json.loads(ask("best", judged, "--json", "--codec", "webp:50"))
    assert [setting["accuracy_real"] for setting in ranked] == pytest.approx([0.30, 0.35, 0.40, 0.45])
    for spelling in ("jpeg:50 4:2:0", "jpeg:50:4:2:0", "jpeg_50_420"):
        ranked = json.loads(ask("best", judged, "--json", "--codec", spelling))
        assert ranked[0]["accuracy_real_jpeg_50_420"] == pytest.approx(0.45)
        assert ranked[0]["behind"] == "jpeg:50 4:2:0"
    text = ask("best", judged, "--codec", "webp:50")
    assert "the training of these trials could not have drawn webp:50" in text
    assert "unseen" not in ask("best", judged, "--codec", "jpeg:50 4:2:0")
    asked = CliRunner().invoke(app, ["best", judged, "--codec", "webp:80"])
    assert asked.exit_code != 0
    assert "there are: real, worst, jpeg:50 4:2:0, webp:50, dJPEG" in str(asked.exception)


def test_trials_that_were_not_judged_are_counted(judged: str, client: MlflowClient) -> None:
    for run in tracking.read(client.tracking_uri, load_study(judged).name).of_kind("trial")[:1]:  # type: ignore[union-attr]
        client.log_metric(run.info.run_id, "accuracy_real", float("nan"), step=7)
    assert "finished trials that were not judged behind it: 1." in ask("best", judged)


def test_finished_runs_of_an_older_recipe_are_named(source: str, client: MlflowClient) -> None:
    found = tracking.read(client.tracking_uri, load_study(source).name)
    assert found is not None
    for run in found.runs:
        client.delete_tag(run.info.run_id, KEY_TAG)
    asked = CliRunner().invoke(app, ["status", source])
    assert "6 finished runs have keys of an older recipe: 'python -m study adopt STUDY' renews them" in asked.stderr
