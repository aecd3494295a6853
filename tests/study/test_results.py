"""Results of a synthetic study against figures computed by hand."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from study import results

CAMERAS, ISPS, LAMBDAS, SEEDS = ("Alpha", "Beta"), ("INet", "UNet"), (1e-3, 1e-1, "fixed"), (1, 2, 3)
# What befell some trials of the study "irregular": each has one more run, or an unfit one only.
FAILED, RUNNING, NAN = "Alpha/INet/0.001/4", "Alpha/INet/0.001/5", "Alpha/INet/0.001/6"
TWICE, RESCUED = "Alpha/INet/0.001/1", "Alpha/INet/0.001/2"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the studies "plain" (the whole grid) and "irregular"."""
    folder = tmp_path_factory.mktemp("tracking")
    uri = synthetic_tracking.fill(folder, "plain", CAMERAS, ISPS, LAMBDAS, SEEDS, pretrained=True)
    synthetic_tracking.fill(folder, "irregular", CAMERAS[:1], ISPS[:1], LAMBDAS, SEEDS, uri=uri, first=1000)
    experiment = MlflowClient(uri).get_experiment_by_name("irregular").experiment_id
    rows: dict = {}
    ends = {"accuracy": [0.5], "psnr": [40.0], "ssim": [0.9]}
    for number, (key, status, history, tags) in enumerate(
        [
            (FAILED, "FAILED", {}, {"failure": "loss is NaN at iteration 17"}),
            (RUNNING, "RUNNING", {"accuracy": [0.3]}, {}),
            (NAN, "FINISHED", ends | {"accuracy": [math.nan]}, {}),
            (TWICE, "FINISHED", {name: [0.0] for name in ends}, {}),
            (RESCUED, "FAILED", {name: [0.0] for name in ends}, {"failure": "killed"}),
        ],
        start=2000,
    ):
        camera, isp, lam, seed = key.split("/")
        synthetic_tracking.add(
            rows,
            folder,
            experiment,
            number,
            status=status,
            tags={"kind": "trial", "trial_key": key, **tags},
            params={"camera": camera, "isp": isp, "lambda": lam, "seed": seed, "channel.codec": "jpeg:50"},
            history=history,
        )
    synthetic_tracking.write(uri, rows)
    return uri


@pytest.fixture(scope="module")
def table(uri: str) -> pd.DataFrame:
    return results.trials(uri, "plain")


@pytest.fixture(scope="module")
def irregular(uri: str) -> pd.DataFrame:
    return results.trials(uri, "irregular")


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
    assert "channel.codec" not in table  # the same everywhere: no axis
    assert list(table["lam"].iloc[:9]) == pytest.approx([1e-3] * 3 + [1e-1] * 3 + [math.nan] * 3, nan_ok=True)


def test_pages_join_to_the_same_table(uri: str, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PAGE", 7)
    pd.testing.assert_frame_equal(results.trials(uri, "plain"), table)


def test_failed_running_and_nan_trials_are_named_and_never_averaged(irregular: pd.DataFrame) -> None:
    by_key = irregular.set_index("trial_key")
    assert len(by_key) == len(LAMBDAS) * len(SEEDS) + 3
    assert by_key.loc[FAILED, "failure"] == "loss is NaN at iteration 17"
    assert by_key.loc[RUNNING, ["status", "failure"]].tolist() == ["RUNNING", ""]
    assert by_key.loc[NAN, "failure"] == "finished without a valid accuracy"
    assert set(results.finished(irregular)["seed"]) == set(SEEDS)
    assert set(results.summary(irregular)["seeds"]) == {len(SEEDS)}


@pytest.mark.parametrize("key", [TWICE, RESCUED])
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
    }
    for plans in (planned, keyed):
        missing = results.missing(irregular, plans)
        assert len(missing) == 4 * len(LAMBDAS)
        states = dict(zip(zip(missing["lam"], missing["seed"], strict=True), missing["state"], strict=True))
        assert {key: states.pop(key) for key in expected} == expected
        assert set(states.values()) == {"not started"}


def test_statistics_over_seeds(table: pd.DataFrame) -> None:
    summary = results.summary(table)
    assert len(summary) == len(CAMERAS) * len(ISPS) * len(LAMBDAS)
    for row in summary.to_dict("records"):
        lam = "fixed" if math.isnan(row["lam"]) else row["lam"]
        seeds = [
            synthetic_tracking.metrics(CAMERAS.index(row["camera"]), ISPS.index(row["isp"]), lam, seed)
            for seed in SEEDS
        ]
        for metric in results.METRICS:
            values = np.array([seed[metric] for seed in seeds])
            assert row[metric] == pytest.approx(values.mean())
            assert row[metric + "_std"] == pytest.approx(math.sqrt(((values - values.mean()) ** 2).sum() / 2))
            # Of 27 equally likely resamples of three, one is all the lowest: more than 2.5 %.
            assert (row[metric + "_low"], row[metric + "_high"]) == pytest.approx((values.min(), values.max()))


@pytest.mark.parametrize("seeds", [1, 2, 5, 6])
def test_interval_equals_the_exhaustive_bootstrap(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(0.8, 0.05, (2, seeds))
    row = {"status": "FINISHED", "failure": "", "isp": "UNet", "mode": "joint", "psnr": 40.0, "ssim": 0.9}
    table = pd.DataFrame(
        [
            {
                **row,
                "camera": "Alpha",
                "lam": lam,
                "seed": seed,
                "run_id": f"{lam}-{seed}",
                "accuracy": values[number, seed],
            }
            for seed in range(seeds)
            for number, lam in enumerate((0.1, 1.0))
        ]
    )
    summary = results.summary(table)
    for number in range(2):
        found = summary.iloc[number]
        if seeds == 1:
            assert found[["accuracy_std", "accuracy_low", "accuracy_high"]].isna().all()
            continue
        means = [np.mean(resample) for resample in itertools.product(values[number], repeat=seeds)]
        low, high = np.percentile(means, [2.5, 97.5], method="inverted_cdf")
        assert found["accuracy_low"] == pytest.approx(low, abs=0.003)
        assert found["accuracy_high"] == pytest.approx(high, abs=0.003)
        assert found["run_ids"] == tuple(f"{found['lam']}-{seed}" for seed in range(seeds))


def test_gain_is_paired_by_seed(table: pd.DataFrame) -> None:
    incomplete = table[~((table["mode"] == "fixed") & (table["seed"] == 3))]
    gains = results.gain(incomplete)
    assert set(gains["seeds"]) == {2}
    for row in gains.to_dict("records"):
        joint, fixed = (
            synthetic_tracking.metrics(CAMERAS.index(row["camera"]), ISPS.index(row["isp"]), lam, 1)
            for lam in (row["lam"], "fixed")
        )
        for metric in results.METRICS:  # the offset of a seed is in both, and cancels
            assert row[metric] == pytest.approx(joint[metric] - fixed[metric])
            assert row[metric + "_std"] == pytest.approx(0, abs=1e-9)


def test_best_within_a_loss(table: pd.DataFrame) -> None:
    gains = results.gain(table)
    assert set(results.best_within(gains, math.inf)["lam"]) == {1e-3}
    assert set(results.best_within(gains, 3.01)["lam"]) == {1e-1}
    assert results.best_within(gains, 0).empty


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_front_equals_brute_force(rows: list[tuple[str, int, int]]) -> None:
    points = pd.DataFrame(rows, columns=["camera", "psnr", "accuracy"]).assign(isp="UNet", number=range(len(rows)))
    expected = {
        number
        for number, (camera, psnr, accuracy) in enumerate(rows)
        if not any(c == camera and p >= psnr and a >= accuracy and (p, a) != (psnr, accuracy) for c, p, a in rows)
    }
    front = results.front(points, "psnr")
    assert set(front["number"]) == expected
    assert all(group["psnr"].is_monotonic_increasing for _, group in front.groupby("camera"))


def test_front_without_groups_and_with_a_misspelt_fidelity(table: pd.DataFrame) -> None:
    summary = results.summary(table)
    assert set(results.front(summary, "ssim", within=[])["isp"]) <= set(ISPS)
    assert len(results.front(summary, "ssim", within=[])) < len(results.front(summary, "ssim"))
    with pytest.raises(ValueError, match="use psnr or ssim"):
        results.front(summary, "PSNR")


def test_best_filters_and_ranks(table: pd.DataFrame) -> None:
    summary = results.summary(table)
    ranked = results.best(summary)
    assert list(ranked["accuracy"]) == sorted(summary["accuracy"], reverse=True)
    bounded = results.best(summary, min_psnr=40, camera="Beta")
    expected = summary[(summary["camera"] == "Beta") & (summary["psnr"] >= 40)]
    assert set(bounded["run_ids"]) == set(expected["run_ids"])
    assert bounded["accuracy"].is_monotonic_decreasing
    accurate = results.best(summary, min_accuracy=0.6, isp="UNet")
    assert (accurate["accuracy"] >= 0.6).all()
    assert accurate["psnr"].is_monotonic_decreasing
    assert results.best(summary, min_psnr=99).empty


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"camera": "Gamma"}, "no results for camera 'Gamma'; there are results for: Alpha, Beta"),
        ({"isp": "unet"}, "no results for isp 'unet'; there are results for: INet, UNet"),
        ({"min_accuracy": 80}, "fraction of 1, not 80"),
    ],
)
def test_best_refuses_what_cannot_be(table: pd.DataFrame, wish: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        results.best(results.summary(table), **wish)


def test_a_varying_parameter_is_an_axis(table: pd.DataFrame) -> None:
    both = pd.concat([table.assign(**{"channel.codec": codec}) for codec in ("jpeg:50", "jpeg:80")])
    both.loc[both["channel.codec"] == "jpeg:80", "accuracy"] += 0.1
    assert results.axes(both) == ["channel.codec"]
    assert len(results.summary(both)) == 2 * len(results.summary(table))
    assert set(results.front(results.summary(both), "psnr")["channel.codec"]) == {"jpeg:50", "jpeg:80"}
    assert set(results.summary(both)["seeds"]) == {len(SEEDS)}
    np.testing.assert_allclose(results.gain(both)["accuracy"].sum(), 2 * results.gain(table)["accuracy"].sum())


def test_confusions_are_means_over_seeds(uri: str, table: pd.DataFrame) -> None:
    confusions = results.confusions(uri, table)
    merged = confusions.merge(results.summary(table), on=["camera", "isp", "mode", "lam"])
    assert len(merged) == len(CAMERAS) * len(ISPS) * len(LAMBDAS)
    for row in merged.to_dict("records"):
        assert row["classes"] == tuple(synthetic_tracking.CLASSES)
        np.testing.assert_allclose(row["confusion"].diagonal(), row["accuracy"])
        np.testing.assert_allclose(row["confusion"].sum(axis=1), 1)


def test_a_missing_confusion_matrix_is_not_counted(uri: str, irregular: pd.DataFrame) -> None:
    without = irregular.assign(
        artifact_uri=[
            "file:///nowhere" if seed == 1 else location
            for seed, location in zip(irregular["seed"], irregular["artifact_uri"], strict=True)
        ]
    )
    assert set(results.confusions(uri, without)["seeds"]) == {len(SEEDS) - 1}


def test_a_repeated_iteration_counts_once_as_logged_last(uri: str, table: pd.DataFrame) -> None:
    run_id = table["run_id"].iloc[0]
    client = MlflowClient(uri)
    before = results.curves(uri, table.head(1), "loss_nip")
    assert before.empty
    for value, step in ((3.0, 100), (2.0, 200), (9.0, 100), (1.0, 300)):
        client.log_metric(run_id, "loss_nip", value, timestamp=1_800_000_000_000 + int(value), step=step)
    points = results.curves(uri, table.head(2), "loss_nip")
    assert list(zip(points["iteration"], points["value"], strict=True)) == [
        (100, 9.0),
        (200, 2.0),
        (300, 1.0),
    ]
    assert set(points["run_id"]) == {run_id}


def test_pretrained(uri: str) -> None:
    pretrained = results.pretrained(uri, "plain")
    assert list(zip(pretrained["camera"], pretrained["isp"], strict=True)) == list(itertools.product(CAMERAS, ISPS))
    assert set(pretrained["psnr"]) == {42.0}


def test_an_unknown_study_and_an_empty_one(uri: str) -> None:
    with pytest.raises(ValueError, match="no study named 'nothing'"):
        results.trials(uri, "nothing")
    MlflowClient(uri).create_experiment("empty")
    empty = results.trials(uri, "empty")
    assert empty.empty
    for frame in (
        results.summary(empty),
        results.gain(empty),
        results.best(results.summary(empty)),
        results.front(results.summary(empty), "psnr"),
        results.confusions(uri, empty),
    ):
        assert frame.empty
    plan = [{"camera": "Alpha", "isp": "INet", "lambda": "fixed", "seed": 1, "key": None}]
    assert list(results.missing(empty, plan)["state"]) == ["not started"]
    assert json.loads(results.summary(empty).to_json(orient="records")) == []
