"""What is read from the runs' artifacts and histories against what the synthetic trials keep there."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking
from small_grid import CAMERAS, ISPS, LAMBDAS, SEEDS, read

from study import results
from study.tracking import Snapshot


def test_confusions_are_means_over_seeds(plain: Snapshot, table: pd.DataFrame) -> None:
    confusions = results.confusions(plain, table)
    merged = confusions.merge(results.summary(table), on=["camera", "isp", "mode", "lam"])
    assert len(merged) == len(CAMERAS) * len(ISPS) * len(LAMBDAS)
    for row in merged.to_dict("records"):
        assert row["classes"] == tuple(synthetic_tracking.CLASSES)
        np.testing.assert_allclose(row["confusion"].diagonal(), row["accuracy"])
        np.testing.assert_allclose(row["confusion"].sum(axis=1), 1)


def test_a_missing_confusion_matrix_is_not_counted(plain: Snapshot, irregular: pd.DataFrame) -> None:
    without = irregular.assign(
        artifact_uri=[
            "file:///nowhere" if seed == 1 else location
            for seed, location in zip(irregular["seed"], irregular["artifact_uri"], strict=True)
        ]
    )
    assert set(results.confusions(plain, without)["seeds"]) == {len(SEEDS) - 1}


def test_a_repeated_iteration_counts_once_as_logged_last(plain: Snapshot, table: pd.DataFrame) -> None:
    run_id = table["run_id"].iloc[0]
    client = plain.client
    before = results.curves(plain, table.head(1), "loss_nip")
    assert before.empty
    for value, step in ((3.0, 100), (2.0, 200), (9.0, 100), (1.0, 300)):
        client.log_metric(run_id, "loss_nip", value, timestamp=1_800_000_000_000 + int(value), step=step)
    points = results.curves(plain, table.head(2), "loss_nip")
    assert list(zip(points["iteration"], points["value"], strict=True)) == [
        (100, 9.0),
        (200, 2.0),
        (300, 1.0),
    ]
    assert set(points["run_id"]) == {run_id}


def test_decisions_about_images(evaluated: Snapshot) -> None:
    table = results.trials(evaluated)
    decisions = results.fusions(evaluated, table)
    assert len(decisions) == len(LAMBDAS) * 2 * 5
    chosen = decisions[(decisions["rule"] == "mean_log_probability") & decisions["lam"].isna()].set_index("patches")
    patches = table.loc[table["lam"].isna(), "accuracy"].mean()
    for count in (1, 2, 5, 10, 20):
        expected = 1 - (1 - patches) / count
        assert chosen.loc[count, "accuracy"] == pytest.approx(expected)
        assert chosen.loc[count, "low"] == pytest.approx(expected - 0.02)
    assert set(decisions["seeds"]) == {len(SEEDS)}


def test_without_evaluation_there_is_none(plain: Snapshot, table: pd.DataFrame) -> None:
    assert results.behind_codecs(table).empty
    assert results.fusions(plain, table).empty


def test_older_runs_hold_one_document_for_all_codecs(uri: str, folder: Path, evaluated: Snapshot) -> None:
    grid = (CAMERAS[:1], ISPS[:1], LAMBDAS, SEEDS)
    synthetic_tracking.fill(folder, "older", *grid, evaluated=True, older_evaluation=True, uri=uri, first=4000)
    older = read(uri, "older")
    expected = results.fusions(evaluated, results.trials(evaluated))
    pd.testing.assert_frame_equal(results.fusions(older, results.trials(older)), expected)


def test_examples(folder: Path, uri: str) -> None:
    synthetic_tracking.fill(folder, "patches", ("Alpha",), ("UNet",), (0.1,), (1,), examples=True, uri=uri, first=4500)
    snapshot = read(uri, "patches")
    found = results.examples(snapshot, results.trials(snapshot)["artifact_uri"].iloc[0])
    expected = synthetic_tracking.patches(1)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert results.examples(snapshot, (folder / "nowhere").as_uri()) == {}
