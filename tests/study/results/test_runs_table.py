"""Tables of a synthetic study against what was logged."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking
from mlflow import MlflowClient
from small_grid import (
    AFTER_FAILURE,
    AFTER_NAN,
    AFTER_ORPHAN,
    CAMERAS,
    DUPLICATED,
    FAILED,
    INFINITE,
    ISPS,
    LAMBDAS,
    NAN,
    PAPER_FAILED,
    PAPER_NAN,
    PAPER_RUNNING,
    RESCUED,
    RESUMED,
    RUNNING,
    SEEDS,
    TWICE,
    read,
)

from study import results, tracking
from study.results import searched
from study.tracking import Snapshot, runs


def test_a_row_per_trial(table: pd.DataFrame) -> None:
    assert len(table) == len(CAMERAS) * len(ISPS) * len(LAMBDAS) * len(SEEDS)
    assert len(results.finished(table)) == len(table)
    for row in table.to_dict("records"):
        lam = "fixed" if math.isnan(row["lam"]) else row["lam"]
        assert row["trial_key"] == f"{row['camera']}/{row['isp']}/{lam}/{row['seed']}"
        assert row["mode"] == ("fixed" if lam == "fixed" else "joint")
        expected = synthetic_tracking.metrics(CAMERAS.index(row["camera"]), ISPS.index(row["isp"]), lam, row["seed"])
        assert {metric: row[metric] for metric in results.METRICS} == pytest.approx(expected)
        assert row["seconds"] == 60
    assert set(table["channel.codec"]) == {"jpeg:50"}
    assert results.axes(table) == []  # the same everywhere: no axis
    assert list(table["lam"].iloc[:9]) == pytest.approx([1e-3] * 3 + [1e-1] * 3 + [math.nan] * 3, nan_ok=True)


def test_the_verdict_takes_its_time_too(tmp_path: Path) -> None:
    uri = synthetic_tracking.fill(tmp_path, "judged", CAMERAS[:1], ISPS[:1], LAMBDAS, SEEDS, verdicts=True)
    table = results.trials(read(uri, "judged"))
    assert set(table["seconds"]) == {60 + synthetic_tracking.VERDICT_SECONDS}
    grown = searched.by_device_time(table, ["lam"], "psnr")
    assert grown["seconds"].iloc[-1] == table["seconds"].sum()


def test_pages_join_to_the_same_table(uri: str, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PAGE", 7)
    pd.testing.assert_frame_equal(results.trials(read(uri, "plain")), table)


def test_failed_running_and_nan_trials_are_named_and_never_averaged(irregular: pd.DataFrame) -> None:
    by_key = irregular.set_index("trial_key")
    assert len(by_key) == len(LAMBDAS) * len(SEEDS) + 5
    assert by_key.loc[FAILED, "failure"] == "loss is NaN at iteration 17"
    assert by_key.loc[RUNNING, ["status", "failure"]].tolist() == ["RUNNING", ""]
    assert by_key.loc[NAN, "failure"] == "finished without a valid accuracy"
    assert by_key.loc[INFINITE, "failure"] == "finished without a valid psnr"
    assert by_key.loc[RESUMED, ["status", "failure"]].tolist() == ["RUNNING", ""]
    assert set(results.finished(irregular)["seed"]) == set(SEEDS)
    assert set(results.summary(irregular)["seeds"]) == {len(SEEDS)}


@pytest.mark.parametrize("key", [TWICE, RESCUED, AFTER_FAILURE, AFTER_NAN, AFTER_ORPHAN])
def test_of_several_runs_the_first_finished_counts(irregular: pd.DataFrame, key: str) -> None:
    row = irregular.set_index("trial_key").loc[key]
    assert row["accuracy"] > 0
    assert len(row["superseded"]) == 1
    assert row["run_id"] not in row["superseded"]


def test_missing_trials_say_why(irregular: pd.DataFrame) -> None:
    planned = [
        {"camera": "Alpha", "isp": "INet", "lambda": lam, "seed": seed} for lam in LAMBDAS for seed in range(1, 8)
    ]
    keyed = [{**plan, "key": f"Alpha/INet/{plan['lambda']}/{plan['seed']}"} for plan in planned]
    expected = {
        (1e-3, 4): "failed: loss is NaN at iteration 17",
        (1e-3, 5): "running",
        (1e-3, 6): "failed: finished without a valid accuracy",
        (1e-1, 4): "failed: finished without a valid psnr",
        (1e-1, 5): "running",
    }
    for plans in (planned, keyed):
        missing = results.missing(irregular, plans)
        assert len(missing) == 4 * len(LAMBDAS)
        states = dict(zip(zip(missing["lam"], missing["seed"], strict=True), missing["state"], strict=True))
        assert {key: states.pop(key) for key in expected} == expected
        assert set(states.values()) == {"not started"}


def test_a_varying_parameter_is_an_axis(table: pd.DataFrame) -> None:
    both = pd.concat([table.assign(**{"channel.codec": codec}) for codec in ("jpeg:50", "jpeg:80")])
    both.loc[both["channel.codec"] == "jpeg:80", "accuracy"] += 0.1
    assert results.axes(both) == ["channel.codec"]
    assert len(results.summary(both)) == 2 * len(results.summary(table))
    assert set(results.summary(both)["seeds"]) == {len(SEEDS)}
    np.testing.assert_allclose(results.gain(both)["accuracy"].sum(), 2 * results.gain(table)["accuracy"].sum())


def test_fingerprints(uri: str) -> None:
    """The newest finished run of each camera and kind counts."""
    client = MlflowClient(uri)
    experiment_id = client.create_experiment("fingerprints")
    assert results.fingerprints(read(uri, "fingerprints")).empty
    fig_5 = {"correlation": 0.8, "f1_matching": 0.5, "f1_mismatched": 0.4}
    for number, (camera, metrics, status) in enumerate(
        [
            ("Nikon D90", fig_5, "FINISHED"),
            ("Nikon D90", fig_5 | {"correlation": 0.7}, "FINISHED"),
            ("Nikon D90", {"pce_unet_short": 13.0}, "FINISHED"),
            ("Nikon D90", fig_5, "FAILED"),
        ]
    ):
        tags = {"kind": "prnu", "trial_key": str(number), "simulated": "False"}
        run = client.create_run(experiment_id, 1000 * (number + 1), tags)
        for key, value in {"camera": camera, "prnu.seed": "3"}.items():
            client.log_param(run.info.run_id, key, value)
        for key, value in metrics.items():
            client.log_metric(run.info.run_id, key, value)
        client.set_terminated(run.info.run_id, status)
    found = results.fingerprints(read(uri, "fingerprints"))
    assert found["camera"].tolist() == ["Nikon D90"] * 2
    assert found["seed"].tolist() == [3, 3]
    assert not found["simulated"].any()
    assert found.loc[0, "correlation"] == 0.7
    assert found.loc[1, "pce_unet_short"] == 13
    assert found.isna().sum(axis=1).tolist() == [1, 3]


def test_pretrained(plain: Snapshot) -> None:
    pretrained = results.pretrained(plain)
    assert list(zip(pretrained["camera"], pretrained["isp"], strict=True)) == list(itertools.product(CAMERAS, ISPS))
    assert set(pretrained["psnr"]) == {42.0}


def test_an_unknown_study_and_an_empty_one(uri: str) -> None:
    assert tracking.read(uri, "nothing") is None
    MlflowClient(uri).create_experiment("empty")
    snapshot = read(uri, "empty")
    empty = results.trials(snapshot)
    assert empty.empty
    for frame in (
        results.summary(empty),
        results.means(empty),
        results.gain(empty),
        results.best(results.summary(empty)),
        results.behind_codecs(empty),
        results.fusions(snapshot, empty),
        results.with_queries(results.best(results.summary(empty))),
        results.confusions(snapshot, empty),
    ):
        assert frame.empty
    plan = [{"camera": "Alpha", "isp": "INet", "lambda": "fixed", "seed": 1, "key": None}]
    assert list(results.missing(empty, plan)["state"]) == ["not started"]
    assert json.loads(results.summary(empty).to_json(orient="records")) == []


def test_the_grid_of_the_paper(grid: pd.DataFrame) -> None:
    assert len(results.finished(grid)) == 1320
    assert len(grid) == 1320 + 3
    by_key = grid.set_index("trial_key")
    assert by_key.loc[[DUPLICATED, PAPER_FAILED, PAPER_RUNNING, PAPER_NAN], "failure"].tolist() == [
        "",
        "out of memory",
        "",
        "finished without a valid accuracy",
    ]
    assert by_key.loc[PAPER_RUNNING, "status"] == "RUNNING"
    assert by_key.loc[DUPLICATED, "accuracy"] != 0.123
    assert by_key.loc[DUPLICATED, "superseded"] == (f"{9000:032x}",)


def test_names_of_a_section_are_one_axis_instead_of_its_settings() -> None:
    channels = {"robust": ("soft", "jpeg:70"), "paper": ("sin", "jpeg:50")}
    rows = [
        {"channel": name, "channel.rounding": rounding, "channel.codec": codec, "training.batch": batch}
        for name, (rounding, codec) in channels.items()
        for batch in (5, 10)
    ]
    assert results.axes(pd.DataFrame(rows)) == ["channel", "training.batch"]
    assert results.plan_axes(rows) == ["channel", "training.batch"]
    unnamed = pd.DataFrame(rows).drop(columns="channel")
    assert results.axes(unnamed) == ["channel.rounding", "channel.codec", "training.batch"]


def test_a_training_setting_that_goes_with_the_isp_is_no_axis() -> None:
    """Each ISP may have a learning rate of its own, and they are still compared; a channel of its own is another."""
    rows = [
        {"isp": isp, "training.nip_learning_rate": rate, "training.batch": batch, "channel.codec": codec}
        for isp, rate, codec in (("UNet", "5e-05", "jpeg:50"), ("Pattern", "0.0005", "webp:50"))
        for batch in (5, 10)
    ]
    assert results.axes(pd.DataFrame(rows)) == ["training.batch", "channel.codec"]
    rows.append(rows[0] | {"training.nip_learning_rate": "1e-05"})
    assert results.axes(pd.DataFrame(rows)) == ["training.nip_learning_rate", "training.batch", "channel.codec"]
