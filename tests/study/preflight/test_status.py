"""How long a study will still take, as `status` says it: by what is at work now."""

import time
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from typer.testing import CliRunner

from study import tracking
from study.commands.app import app
from study.execution import driver_lock
from study.execution.driver_lock import TAG, Driver
from study.jobs.plan import resolve
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import TrialJob
from study.preflight import estimate
from study.preflight.cluster import Node
from study.preflight.status import status
from study.settings import Study

STUDY = {
    "name": "watched",
    "cameras": ["camera"],
    "isps": ["INet"],
    "lambdas": ["fixed", 0.1],
    "seeds": 6,
    "training": {"iterations": 100},
}


@pytest.fixture
def study(tmp_path: Path, client: MlflowClient, experiment_id: str, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Twelve trials, three of either λ finished after 10 and 40 s, three joint ones in progress for 30 s.

    On a machine of seven CPUs.
    """
    monkeypatch.setattr(estimate, "this_machine", lambda: Node("here", "", cpus=7, gpus=0))
    study = Study.model_validate({**STUDY, "storage": str(tmp_path)})
    log(client, experiment_id, PretrainingJob.plan("camera", "INet", *settings(study), "d" * 64), "FINISHED", 5)
    jobs = resolve(study, tracking.snapshot(client, experiment_id)).ready
    joint = [job for job in jobs if job.trial.joint]
    for job in jobs:
        if job.trial.seed < 3:
            log(client, experiment_id, job, "FINISHED", 40 if job.trial.joint else 10)
    for job in joint[3:]:
        log(client, experiment_id, job, "RUNNING", 30)
    return study


def settings(study: Study) -> tuple:  # type: ignore[type-arg]
    item = resolve(study, None).planned[0]
    return item.trial.split, item.pretraining


def log(client: MlflowClient, experiment_id: str, job: PretrainingJob | TrialJob, state: str, seconds: float) -> None:
    tags = {"trial_key": job.key, "kind": job.kind, "threads": "1", "nip_sha256": "e" * 64, **job.tags}
    run = client.create_run(experiment_id, tags=tags).info.run_id
    params = [Param(name, str(value)) for name, value in job.params.items()]
    client.log_batch(run, [Metric("seconds", seconds, 0, 0)], params)
    if state != "RUNNING":
        client.set_terminated(run, state)


def drive(client: MlflowClient, experiment_id: str, at: float) -> None:
    driver = Driver.here().model_copy(update={"machine": "another", "at": at})
    client.set_experiment_tag(experiment_id, TAG, driver.model_dump_json())


def test_as_many_at_a_time_as_run_now(study: Study, client: MlflowClient, experiment_id: str) -> None:
    drive(client, experiment_id, time.time())
    found = status(study, tracking.snapshot(client, experiment_id))
    assert (found.counts["running"], found.cost.slots) == (3, 3)
    assert found.seconds_to_go == pytest.approx(20), "three of 10 s, and three that have 10 of their 40 s left"


def test_a_dead_driver_elsewhere_runs_nothing(
    study: Study, client: MlflowClient, experiment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_lock, "HEARTBEAT_SECONDS", 0.1)
    drive(client, experiment_id, time.time() - 3600)
    found = status(study, tracking.snapshot(client, experiment_id))
    assert (found.counts["running"], found.counts["left"]) == (0, 6)
    assert (found.cost.slots, found.seconds_to_go) == (7, pytest.approx(10))


def test_the_command_says_how_long_it_takes(
    study: Study, client: MlflowClient, experiment_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    name = client.get_experiment(experiment_id).name
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "name": name, "resources": {"cpus": 1}}))
    asked = CliRunner().invoke(app, ["status", str(path), "--storage", str(tmp_path)])
    assert asked.exit_code == 0, asked.output
    assert "to go: 0:00:10 with 7 jobs at a time" in asked.stdout
    path.write_text(yaml.safe_dump({**STUDY, "name": name, "isps": ["INet", "UNet"]}))
    asked = CliRunner().invoke(app, ["status", str(path), "--storage", str(tmp_path)])
    assert "to go: at least" in asked.stdout
    assert "unmeasured: UNet pre-training, UNet trials" in asked.stdout
