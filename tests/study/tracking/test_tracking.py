"""Logging is idempotent: what is logged twice counts once."""

import os
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import ViewType

from study import tracking
from study.settings import Study, StudyError, load_study
from study.tracking import Description
from study.tracking.client import experiment
from study.tracking.provenance import provenance


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return load_study("smoke").model_copy(update={"storage": str(tmp_path_factory.mktemp("tracking"))})


@pytest.fixture(scope="module")
def client(study: Study) -> MlflowClient:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return tracking.connect(study)[0]


def description(key: str, run_key: str | None = None) -> Description:
    return Description(
        key=key,
        run_key=run_key or key,
        kind="trial",
        name="a trial",
        params={"camera": "a camera", "seed": "1", "channel.codec": "jpeg:50"},
        tags={"threads": "1"},
    )


def open_run(client: MlflowClient, study: Study, key: str, run_key: str | None = None) -> str:
    run = tracking.open_run(client, experiment(client, study), description(key, run_key))
    return run.info.run_id


def test_the_environment_names_the_server_unless_the_study_does(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking.tracking_uri(study) == f"sqlite:///{study.folder / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking.tracking_uri(study) == "http://127.0.0.1:5000"
    assert tracking.tracking_uri(study.model_copy(update={"tracking_uri": "http://own"})) == "http://own"


def test_a_bucket_needs_a_server(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(StudyError, match="s3://bucket/study need a tracking server"):
        tracking.tracking_uri(study.model_copy(update={"storage": "s3://bucket/study"}))


def test_a_study_has_one_experiment(client: MlflowClient, study: Study) -> None:
    first = experiment(client, study)
    assert experiment(client, study) == first
    client.delete_experiment(first)
    assert experiment(client, study) == first, "a deleted experiment is restored"


def test_a_key_has_one_run(client: MlflowClient, study: Study) -> None:
    first = open_run(client, study, "aa")
    assert open_run(client, study, "aa") == first
    assert open_run(client, study, "bb") != first
    run = client.get_run(first)
    assert run.data.params == description("aa").params
    assert run.data.tags["trial_key"] == "aa"
    assert run.data.tags["kind"] == "trial"
    assert run.data.tags["threads"] == "1"


def test_a_run_created_and_lost_gets_its_params_when_reopened(client: MlflowClient, study: Study) -> None:
    """As if its process had been killed between the two requests."""
    lost = client.create_run(experiment(client, study), tags={"trial_key": "cc", "kind": "trial"})
    assert open_run(client, study, "cc") == lost.info.run_id
    assert client.get_run(lost.info.run_id).data.params["seed"] == "1"


def test_of_two_runs_of_a_key_the_finished_counts(client: MlflowClient, study: Study) -> None:
    experiment_id = experiment(client, study)
    runs = [client.create_run(experiment_id, tags={"trial_key": "dd"}).info.run_id for _ in range(3)]
    assert tracking.snapshot(client, experiment_id).by_key["dd"].info.run_id == runs[0]
    tracking.finish(client, runs[1], description("dd"))
    assert tracking.snapshot(client, experiment_id).by_key["dd"].info.run_id == runs[1]
    found = tracking.find(client, experiment_id, "dd")
    assert found is not None
    assert found.info.run_id == runs[1]


def test_a_snapshot_holds_all_pages(client: MlflowClient, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of other people, without a key, are left out."""
    experiment_id = experiment(client, study)
    for key in ("p1", "p2", "p3"):
        client.create_run(experiment_id, tags={"trial_key": key, "kind": "paged"})
    client.create_run(experiment_id)
    whole = tracking.snapshot(client, experiment_id)
    assert {run.data.tags["trial_key"] for run in whole.of_kind("paged")} == {"p1", "p2", "p3"}
    starts = [run.info.start_time for run in whole.of_kind("paged")]
    assert starts == sorted(starts), "oldest first"
    monkeypatch.setattr("study.tracking.runs.PAGE", 2)
    paged = tracking.snapshot(client, experiment_id)
    assert [run.info.run_id for run in paged.runs] == [run.info.run_id for run in whole.runs]
    everything = client.search_runs([experiment_id], run_view_type=ViewType.ALL)
    assert len(paged.runs) < len(everything)


def test_an_experiment_is_read_by_its_name(client: MlflowClient, study: Study) -> None:
    uri = client.tracking_uri
    found = tracking.read(uri, study.name)
    assert found is not None
    assert found.experiment_id == experiment(client, study)
    assert tracking.read(uri, "no such study") is None
    assert tracking.read(uri.replace("mlflow.db", "nothing.db"), study.name) is None


def test_a_failed_run_has_the_reason_until_it_finishes(client: MlflowClient, study: Study) -> None:
    run = open_run(client, study, "ff")
    tracking.fail(client, run, description("ff"), "loss is\nnot finite")
    assert client.get_run(run).info.status == "FAILED"
    assert client.get_run(run).data.tags["failure"] == "loss is not finite"
    assert tracking.state(client.get_run(run), "ff", "ff") == tracking.State("FAILED", "loss is not finite")
    assert open_run(client, study, "ff") == run
    tracking.finish(client, run, description("ff"))
    assert client.get_run(run).info.status == "FINISHED"
    assert "failure" not in client.get_run(run).data.tags
    assert tracking.state(client.get_run(run), "ff", "ff") == tracking.State("FINISHED")
    assert tracking.state(None, "ff", "ff") is None


def test_a_job_that_adds_to_a_run_has_a_state_of_its_own(client: MlflowClient, study: Study) -> None:
    run = open_run(client, study, "host")
    tracking.finish(client, run, description("host"))

    def state(key: str) -> tracking.State | None:
        found = client.get_run(run)
        assert found.info.status == "FINISHED"
        assert "failure" not in found.data.tags
        assert found.data.params == description("host").params
        return tracking.state(found, key, "host")

    assert state("guest") is None
    guest = description("guest", "host").model_copy(update={"params": {"seed": "2"}})
    assert tracking.open_run(client, experiment(client, study), guest).info.run_id == run
    assert state("guest") == tracking.State("RUNNING")
    tracking.fail(client, run, guest, "loss is\nnot: finite")
    assert state("guest") == tracking.State("FAILED", "loss is not: finite")
    tracking.fail(client, run, guest, "its process was lost", status="KILLED")
    assert state("guest") == tracking.State("KILLED", "its process was lost")
    assert state("another") is None
    tracking.finish(client, run, guest)
    assert state("guest") == tracking.State("FINISHED")
    with pytest.raises(StudyError, match="the run that a trial adds to is not there"):
        open_run(client, study, "guest", "nowhere")


def test_artifacts_lie_in_the_storage(client: MlflowClient, study: Study, tmp_path: Path) -> None:
    run = open_run(client, study, "gg")
    tracking.write_texts(tmp_path, {"confusion.json": {"classes": ["native"]}, "trial.yaml": {"seed": 1}})
    tracking.log_artifacts(client, run, str(tmp_path))
    stored = {path.name for path in (study.folder / "artifacts").rglob("*") if path.is_file()}
    assert stored == {"confusion.json", "trial.yaml"}


def test_provenance_says_what_ran() -> None:
    tags = tracking.provenance()
    assert set(tags) == {"git_revision", "packages", "hardware"}
    assert "torch 2.13.0" in tags["packages"]


@pytest.mark.parametrize("has_gpu", [True, False])
def test_a_gpu_is_named_only_for_what_computes_on_it(has_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA L4 ({device})")
    provenance.cache_clear()
    try:
        assert f"{os.cpu_count()} CPUs" in tracking.provenance("cpu")["hardware"]
        assert tracking.provenance("cuda")["hardware"] == ("NVIDIA L4 (cuda)" if has_gpu else "unknown GPU")
    finally:
        provenance.cache_clear()
