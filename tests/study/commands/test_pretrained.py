"""The paper's Table 1 by command: the pre-trained ISPs of a study."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner

from study import results, tracking
from study.commands.app import app
from study.report.sections.pretraining import pretraining, progress, summary
from study.results.claims import table_1
from study.settings import load_study

CAMERAS, ISPS = ("Alpha", "Beta"), ("INet", "UNet", "unknown")


@pytest.fixture(scope="module")
def uri(client: MlflowClient) -> str:
    return client.tracking_uri


@pytest.fixture(scope="module")
def source(uri: str, client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study of two cameras and three ISPs, one of which is not known here."""
    folder = tmp_path_factory.mktemp("pretrained")
    synthetic_tracking.fill(
        folder, "table 1", CAMERAS, ISPS, ("fixed",), (0,), pretrained=True, tested=True, uri=uri, first=1_000_000
    )
    found = tracking.read(uri, "table 1")
    assert found is not None
    for number, run in enumerate(found.of_kind("pretrain")):
        client.set_tag(run.info.run_id, "stopped", "converged" if number else "max_iterations")
    return written(folder, "table 1", uri)


def written(folder: Path, name: str, uri: str) -> str:
    study = load_study("smoke").model_copy(
        update={"name": name, "storage": str(folder / "elsewhere"), "tracking_uri": uri}
    )
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json")))
    return str(folder / f"{name}.yaml")


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["pretrained", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_as_numbers(source: str) -> None:
    found = pd.DataFrame(json.loads(run(source, "--json")))
    assert list(zip(found["camera"], found["isp"], strict=True)) == [(c, i) for c in CAMERAS for i in ISPS]
    assert set(found["psnr"]) == {42.0} and set(found["test_psnr"]) == {41.0} and set(found["seconds"]) == {120.0}
    assert set(found["iterations"]) == {100}, "where the time was logged, not where it was validated last"
    assert found["stopped"].tolist() == ["max_iterations", *["converged"] * 5]
    for isp in ("INet", "UNet"):
        assert set(found.loc[found["isp"] == isp, "parameters"]) == {table_1().loc[isp, "parameters"]}
    assert found.loc[found["isp"] == "unknown", "parameters"].isna().all()
    table = pd.read_csv(io.StringIO(run(source, "--csv")))
    assert table["run_id"].tolist() == found["run_id"].tolist()
    assert table["iterations"].tolist() == found["iterations"].tolist()


def test_as_a_table(source: str) -> None:
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in run(source).splitlines() if "│" in line]
    places = [(camera, on) for camera in (*CAMERAS, "mean") for on in ("test", "validation")]
    assert [tuple(line[:3]) for line in lines] == [
        *((*place, isp) for place in places for isp in ISPS),
        *(("paper, mean of 8 cameras", "validation", isp) for isp in ("INet", "UNet")),
    ]
    shown = {tuple(line[:3]): line[3:] for line in lines}
    assert shown["Alpha", "validation", "UNet"] == [
        "42.00", "0.980", "0.990", "100", "7760268", "2.0", "converged",
    ]  # fmt: skip
    assert shown["Alpha", "test", "INet"] == ["41.00", "0.970", "0.980", "100", "321", "2.0", "max_iterations"]
    assert shown["mean", "test", "INet"][-1] == "converged, max_iterations"
    assert shown["paper, mean of 8 cameras", "validation", "UNet"] == ["44.3", "", "0.990", "", "7760268", "", ""]


def test_rows_and_the_table_of_the_report_say_the_same() -> None:
    """Means are over cameras, of different numbers."""
    rows = [
        {"camera": camera, "isp": "UNet", "psnr": psnr, "iterations": made, "stopped": "converged", "seconds": 60.0}
        for camera, psnr, made in (("Alpha", 40.0, 100), ("Beta", 43.0, 300))
    ]
    found = pd.DataFrame(rows).assign(seed=0, ssim=0.9, ssim_paper=0.95, parameters=7760268.0)
    found = found.assign(test_psnr=float("nan"), test_ssim=float("nan"), test_ssim_paper=float("nan"))
    one, other = summary(found), pretraining(found).printed
    assert one["PSNR (dB)"].tolist() == other["UNet", "PSNR (dB)"].tolist() == ["40.00", "43.00", "41.50", "44.3"]
    assert one["Iterations"].tolist()[:3] == other["UNet", "Iterations"].tolist()[:3] == ["100", "300", "200"]


def test_progress_is_a_line_for_each_isp(source: str) -> None:
    study = load_study(source)
    snapshot = tracking.read(tracking.tracking_uri(study), study.name)
    assert snapshot is not None
    points = results.curves(snapshot, results.pretrained(snapshot), "psnr")
    (axes,) = progress(points[points["camera"] == "Beta"]).axes
    assert [line.get_label() for line in axes.lines] == ["UNet", "INet", "unknown"]
    assert all(np.asarray(line.get_xydata()).tolist() == [[100, 30], [200, 42]] for line in axes.lines)


def test_nothing_has_finished(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    client.create_experiment("table 0")
    for name, word in (("table 0", "no pre-training of study table 0 has finished yet"), ("none", "has no results in")):
        done = CliRunner().invoke(app, ["pretrained", written(tmp_path, name, uri)])
        assert done.exit_code != 0 and word in str(done.exception)
    done = CliRunner().invoke(app, ["pretrained", written(tmp_path, "table 0", uri), "--csv", "--json"])
    assert "exclude each other" in str(done.exception)
