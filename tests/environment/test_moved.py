"""A results folder that was moved, or that has lost a file."""

from pathlib import Path

import pytest

from study import tracking
from study.commands.report import write_report
from study.commands.rerun import rerun
from study.execution.driver import at_work
from study.settings import Study, StudyError


def read(study: Study) -> tracking.Snapshot:
    snapshot = tracking.read(tracking.tracking_uri(study), study.name)
    assert snapshot is not None
    return snapshot


def test_a_report_has_all_of_its_figures(study: Study, capfd: pytest.CaptureFixture[str]) -> None:
    page = write_report(study)
    assert "missing" not in capfd.readouterr().err
    assert list(page.parent.glob("figures/patch-*.pdf"))
    assert len((page.parent / "tables" / "confusions.csv").read_text("utf-8").splitlines()) > 2


def test_a_trial_is_repeated(study: Study) -> None:
    key = read(study).of_kind("trial")[0].data.tags["trial_key"]
    assert rerun(key, study.storage, tracking.tracking_uri(study)).identical


def test_what_is_missing_is_named(study: Study, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_id = read(study).of_kind("trial")[0].info.run_id
    folder = here / "results" / "artifacts" / "tiny" / run_id / "artifacts"
    (folder / "confusion.json").unlink()
    page = write_report(study).read_text("utf-8")
    printed = capfd.readouterr().err
    assert "artifacts are missing" in printed
    assert f"{run_id}/artifacts/confusion.json" in printed
    assert f"{run_id}/artifacts/confusion.json" in page
    for name in ("fan.safetensors", "trial.yaml"):
        (folder / name).unlink()
        with pytest.raises(StudyError, match=f"{run_id}.*{name} is missing") as refused:
            rerun(run_id, study.storage, tracking.tracking_uri(study))
        assert "another version" not in str(refused.value)


def test_new_artifacts_go_to_the_new_place(study: Study, here: Path, finished: Path) -> None:
    old = read(study).of_kind("trial")[0].info
    assert "before" in Path(old.artifact_uri.removeprefix("file://")).parts
    with at_work(study, lambda study, address: None, "local", False) as session:
        client, experiment_id = session.client, session.context.experiment_id
        run = client.create_run(experiment_id)
        client.log_text(run.info.run_id, "new", "new.txt")
        client.log_text(old.run_id, "added", "added.txt")
        assert Path(client.download_artifacts(old.run_id, "trial.yaml")).is_file()
    artifacts = here / "results" / "artifacts" / "tiny"
    assert (artifacts / run.info.run_id / "artifacts" / "new.txt").is_file()
    assert (artifacts / old.run_id / "artifacts" / "added.txt").is_file()
    assert not (finished.parent / "before").exists()


def test_artifacts_that_were_sent_elsewhere_on_purpose_stay_there(study: Study, tmp_path: Path) -> None:
    client, _ = tracking.connect(study)
    elsewhere = (tmp_path / "big disk").as_uri()
    experiment_id = client.create_experiment("elsewhere", artifact_location=elsewhere)
    tracking.rebase(client, experiment_id)
    assert client.get_experiment(experiment_id).artifact_location == elsewhere
    assert tracking.present(client.tracking_uri, f"{elsewhere}/run/artifacts") == f"{elsewhere}/run/artifacts"
    assert tracking.present("http://server", "mlflow-artifacts:/1/run/artifacts") == "mlflow-artifacts:/1/run/artifacts"
