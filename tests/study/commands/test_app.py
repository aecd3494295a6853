"""Commands that look at a study: one pass over its runs each, and neither pairs nor NIP files."""

import json
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from small_study import new_experiment
from typer.testing import CliRunner

from study import tracking
from study.commands.app import app
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


def test_finished_runs_of_an_older_recipe_are_named(source: str, client: MlflowClient) -> None:
    found = tracking.read(client.tracking_uri, load_study(source).name)
    assert found is not None
    for run in found.runs:
        client.delete_tag(run.info.run_id, KEY_TAG)
    asked = CliRunner().invoke(app, ["status", source])
    assert "6 finished runs have keys of an older recipe: 'python -m study adopt STUDY' renews them" in asked.stderr
