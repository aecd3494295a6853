"""`study export`: what a package of a trial says and holds, which trial it is, and how errors end."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from small_study import Data, new_experiment, small_job
from typer.testing import CliRunner

import models
from forensics.fan import build as build_fan
from forensics.package import load_package
from study import results, tracking
from study.commands import export as exporting
from study.commands.app import app
from study.commands.export import Choice, by_run, by_setting
from study.execution import worker
from study.jobs import Context
from study.settings import StudyError, load_study


@pytest.fixture(scope="module")
def finished(data: Data, client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The trial of a second has finished."""
    experiment_id = new_experiment(client, tmp_path_factory.mktemp("finished"))
    uri = client.tracking_uri
    context = Context(storage=str(data.folder), cache=None, tracking_uri=uri, experiment_id=experiment_id)
    assert worker.run(small_job(data), context) is None
    return context


@pytest.fixture(scope="module")
def run_id(finished: Context) -> str:
    (run,) = finished.client.search_runs([finished.experiment_id])
    return run.info.run_id


@pytest.fixture
def command(finished: Context, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run the command, and return why it refused."""

    def refused(*arguments: object) -> str:
        done = CliRunner().invoke(
            app,
            ["export", *map(str, arguments), "--storage", finished.storage, "--tracking-uri", finished.tracking_uri],
        )
        assert isinstance(done.exception, StudyError), done.exception
        assert "\n" not in str(done.exception)
        return str(done.exception)

    return refused


def test_a_package_holds_what_the_trial_left(finished: Context, run_id: str, tmp_path: Path) -> None:
    choice, out = by_run(run_id, finished.tracking_uri), tmp_path / "camera.zip"
    written = exporting.export(choice, finished.storage, out, licence="only for tests", onnx=False)
    package = load_package(out)
    artifacts = Path(choice.run.info.artifact_uri.removeprefix("file://"))
    nip, fan = models.load(artifacts / "nip.safetensors"), models.load(artifacts / "fan.safetensors", build=build_fan)
    for found, expected in ((package.nip, nip), (package.fan, fan)):
        torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert package.trial == small_job_trial(finished, run_id)
    assert package.size == (96, 128)
    about, metrics = package.about, choice.run.data.metrics
    assert about == written.about
    assert about["licence"] == "only for tests"
    assert about["classes"] == ["native", "sharpen", "gaussian", "jpeg", "resample"]
    assert about["lambda"] == 0.1
    assert about["camera"] == {"name": "camera", "model": "a camera"}
    assert about["lattice"] == {"developed": 32, "received": 16, "window": 16}
    assert about["metrics"]["photographs"] == "validation"
    assert {name: metrics[name] for name in ("accuracy", "psnr", "ssim")} == about["metrics"]["trial"]
    assert about["metrics"]["setting"]["seeds"] == 1
    assert about["metrics"]["setting"]["psnr"] == {"mean": metrics["psnr"], "interval": [None, None]}
    provenance = about["provenance"]
    assert (provenance["run_id"], provenance["seed"]) == (run_id, 1)
    assert {"git_revision", "packages", "hardware", "data_fingerprint", "nip_sha256"} <= provenance.keys()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["camera.html", "camera.zip"]
    page = (tmp_path / "camera.html").read_text("utf-8")
    for text in ("camera.zip – package", "only for tests", f"{metrics['psnr']:.2f}", "has no calibration", run_id):
        assert text in page
    exporting.export(choice, finished.storage, out, licence="another", onnx=False)
    assert "another" in (tmp_path / "camera.html").read_text("utf-8")


def small_job_trial(context: Context, run_id: str) -> object:
    from study.commands.rerun import TRIAL_FILE, logged_trial

    run = context.client.get_run(run_id)
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (artifacts / TRIAL_FILE).exists()
    return logged_trial(run, artifacts)[0].trial


def test_with_onnx_both_networks_are_checked_and_8_bits_measured(
    finished: Context, run_id: str, tmp_path: Path
) -> None:
    out = tmp_path / "camera"
    package = exporting.export(by_run(run_id, finished.tracking_uri), finished.storage, out)
    assert {"nip.onnx", "fan.onnx", "nip-int8.onnx"} <= {each.name for each in out.iterdir()}
    assert package.about["onnx"]["nip"] >= 0.999
    assert package.about["int8"]["on"] == "validation"
    rows = dict(exporting.figures(load_package(out)))
    lost = package.about["int8"]["psnr"]["difference"]
    assert f"changes by {lost:+.2f}".replace("-", "−") in (tmp_path / "camera.html").read_text("utf-8")
    assert rows["photographs"] == "96×128" and "psnr with 8 bits, validation" in rows


def test_a_setting_has_the_mean_and_the_interval_of_its_seeds(finished: Context, run_id: str) -> None:
    choice = by_run(run_id, finished.tracking_uri)
    (row,) = choice.setting.to_dict("records")
    others = [row | {"seed": seed, "run_id": f"{seed}", "psnr": row["psnr"] + seed - 1} for seed in (2, 3)]
    again = row | {"run_id": "older", "psnr": 0.0, "end": row["end"] - pd.Timedelta(days=1)}
    three = Choice(choice.run, pd.DataFrame([again, row, *others]), choice.tracking_uri)
    found = exporting._metrics(three)
    assert found["trial"]["psnr"] == row["psnr"]
    assert found["setting"]["seeds"] == 3
    assert found["setting"]["psnr"]["mean"] == pytest.approx(row["psnr"] + 1)
    low, high = found["setting"]["psnr"]["interval"]
    half = 4.302652729911275 / 3**0.5  # Student's t at 97.5 %, two degrees of freedom; the standard deviation is 1
    assert (low, high) == (pytest.approx(row["psnr"] + 1 - half), pytest.approx(row["psnr"] + 1 + half))


def test_of_a_setting_validation_chooses_the_seed(
    finished: Context, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the better of two settings, unless another is named."""
    snapshot = tracking.snapshot(finished.client, finished.experiment_id)
    (row,) = results.trials(snapshot).to_dict("records")

    def trial(run: str, lam: float, seed: int, accuracy: float, on_test: float) -> dict[str, object]:
        values = {"lam": lam, "seed": seed, "accuracy": accuracy, "test_accuracy": on_test}
        return row | values | {"run_id": run, "trial_key": run}

    table = [trial("a", 0.1, 0, 0.5, 0.9), trial("b", 0.1, 1, 0.7, 0.1), trial("c", 1.0, 0, 0.9, 0.1)]
    monkeypatch.setattr(results, "trials", lambda snapshot: pd.DataFrame(table))
    monkeypatch.setattr(results, "of_plan", lambda table, planned: table)
    monkeypatch.setattr(exporting, "_chosen", lambda snapshot, table, run_id: run_id)
    study = load_study("smoke")
    assert by_setting(study, snapshot, {}) == "c"  # type: ignore[comparison-overlap]
    assert by_setting(study, snapshot, {"lambda": ["0.1"]}) == "b"  # type: ignore[comparison-overlap]
    with pytest.raises(StudyError, match=r"no results for lambda '2\.0'"):
        by_setting(study, snapshot, {"lambda": ["2.0"]})


def test_errors_are_one_line_and_nothing_is_written(
    command: Callable[..., str], finished: Context, run_id: str, data: Data, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert "no run and no trial key 'ffff'" in command("ffff", "--out", out)
    assert "name a study, not a run" in command(run_id, "--out", out, "--camera", "camera")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("dear to somebody")
    assert "is no package: name another place" in command(run_id, "--out", tmp_path / "photos")
    choice = by_run(run_id, finished.tracking_uri)
    with pytest.raises(StudyError, match=r"no pairs in .*: import or simulate the camera first"):
        exporting.export(choice, str(tmp_path / "elsewhere"), out)
    artifact = Path(choice.run.info.artifact_uri.removeprefix("file://")) / "fan.safetensors"
    intact = artifact.read_bytes()
    artifact.unlink()
    assert "fan.safetensors is missing" in command(run_id, "--out", out)
    artifact.write_bytes(intact)
    finished.client.update_run(run_id, status="RUNNING")
    assert "is RUNNING and has no result" in command(run_id, "--out", out)
    finished.client.set_terminated(run_id, "FINISHED")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["photos"]


def test_a_foreign_page_is_refused_before_any_work(
    command: Callable[..., str], run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "fetch", lambda *arguments: pytest.fail("it has begun"))
    (tmp_path / "camera.html").write_text("dear to somebody")
    for out in (tmp_path / "camera.zip", tmp_path / "camera"):
        assert "camera.html is there and is no page about a package" in command(run_id, "--out", out)
    assert (tmp_path / "camera.html").read_text() == "dear to somebody"
    assert [each.name for each in tmp_path.iterdir()] == ["camera.html"]


def test_a_full_disk_leaves_nothing(
    finished: Context, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forensics import package

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(package, "pack", full)
    with pytest.raises(OSError, match="No space left"):
        exporting.export(by_run(run_id, finished.tracking_uri), finished.storage, tmp_path / "a.zip", onnx=False)
    assert not list(tmp_path.iterdir())
