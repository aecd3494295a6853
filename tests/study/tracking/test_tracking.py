"""Idempotent logging: whatever is said twice counts once."""

import pytest
from mlflow import MlflowClient

from forensics import Trial
from study import tracking
from study.jobs import TrialJob
from study.jobs.plan import place
from study.settings import Study, StudyError, load_study
from study.tracking import Description


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return load_study("smoke").model_copy(update={"storage": str(tmp_path_factory.mktemp("tracking"))})


@pytest.fixture(scope="module")
def client(study: Study) -> MlflowClient:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return tracking.connect(study)[0]


def open_run(client: MlflowClient, study: Study, key: str) -> str:
    job = TrialJob(
        key=key,
        trial=Trial("a camera", "INet", 0.1, seed=1),
        nip="nips/nip.safetensors",
        nip_sha256="",
        data_fingerprint="",
        place=place(study, tracking.experiment(client, study)),
    )
    return tracking.open_run(client, job.place.experiment_id, Description.of(job)).info.run_id


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
    first = tracking.experiment(client, study)
    assert tracking.experiment(client, study) == first
    client.delete_experiment(first)
    assert tracking.experiment(client, study) == first, "a deleted experiment comes back"


def test_a_key_has_one_run(client: MlflowClient, study: Study) -> None:
    first = open_run(client, study, "aa")
    assert open_run(client, study, "aa") == first
    assert open_run(client, study, "bb") != first
    run = client.get_run(first)
    expected = {"camera": "a camera", "isp": "INet", "lambda": "0.1", "seed": "1", "channel.codec": "jpeg:50"}
    assert expected.items() <= run.data.params.items()
    assert run.data.tags["trial_key"] == "aa"
    assert run.data.tags["threads"] == "1"


def test_a_run_created_and_lost_gets_its_params_when_reopened(client: MlflowClient, study: Study) -> None:
    """As if its process had been killed between the two requests."""
    experiment = tracking.experiment(client, study)
    lost = client.create_run(experiment, tags={"trial_key": "cc", "kind": "trial"})
    assert open_run(client, study, "cc") == lost.info.run_id
    assert client.get_run(lost.info.run_id).data.params["seed"] == "1"


def test_of_two_runs_of_a_key_the_finished_counts(client: MlflowClient, study: Study) -> None:
    experiment = tracking.experiment(client, study)
    runs = [client.create_run(experiment, tags={"trial_key": "dd"}).info.run_id for _ in range(3)]
    assert tracking.runs_by_key(client, experiment)["dd"].info.run_id == runs[0]
    tracking.finish(client, runs[1])
    assert tracking.runs_by_key(client, experiment)["dd"].info.run_id == runs[1]
    found = tracking.find(client, experiment, "dd")
    assert found is not None
    assert found.info.run_id == runs[1]


def test_a_failure_says_why_until_it_is_mended(client: MlflowClient, study: Study) -> None:
    run = open_run(client, study, "ff")
    tracking.fail(client, run, "loss is\nnot finite")
    assert client.get_run(run).info.status == "FAILED"
    assert client.get_run(run).data.tags["failure"] == "loss is not finite"
    assert open_run(client, study, "ff") == run
    tracking.finish(client, run)
    assert client.get_run(run).info.status == "FINISHED"
    assert "failure" not in client.get_run(run).data.tags


def test_artifacts_lie_in_the_storage(client: MlflowClient, study: Study) -> None:
    run = open_run(client, study, "gg")
    tracking.log_texts(client, run, {"confusion.json": {"classes": ["native"]}, "trial.yaml": {"seed": 1}})
    stored = {path.name for path in (study.folder / "artifacts").rglob("*") if path.is_file()}
    assert stored == {"confusion.json", "trial.yaml"}


def test_provenance_names_what_ran() -> None:
    tags = tracking.provenance()
    assert set(tags) == {"git_revision", "packages", "hardware"}
    assert "torch 2.13.0" in tags["packages"]
