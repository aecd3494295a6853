"""Results of a synthetic study against figures computed by hand."""

import io
import itertools
import json
import math
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking
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
            params={"camera": camera, "isp": isp, "lambda": lam, "seed": seed, **synthetic_tracking.SETTINGS},
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
    assert set(table["channel.codec"]) == {"jpeg:50"}
    assert results.axes(table) == []  # the same everywhere: no axis
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
                "trial_key": f"key {lam}-{seed}",
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


def test_queries_find_the_runs_of_a_setting(uri: str, table: pd.DataFrame) -> None:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("plain").experiment_id
    ranked = results.best(results.summary(table))
    for row in ranked.to_dict("records"):
        queries = results.queries(row)
        found = client.search_runs([experiment], queries["filter"])
        assert {run.info.run_id for run in found} == set(queries["run_ids"])
        assert {run.data.tags["trial_key"] for run in found} == {
            shlex.split(command)[-1] for command in queries["rerun"]
        }
        assert all(command.startswith("python -m study rerun ") for command in queries["rerun"])
    text = pd.read_csv(io.StringIO(results.with_queries(ranked).to_csv(index=False)))
    assert list(text["run_ids"].str.split()) == [list(ids) for ids in ranked["run_ids"]]
    assert text["filter"].iloc[0] == results.queries(ranked.iloc[0].to_dict())["filter"]


def test_queries_know_further_axes_and_quotation_marks(uri: str, table: pd.DataFrame) -> None:
    row = results.summary(table).iloc[0].to_dict() | {"manipulations": synthetic_tracking.SETTINGS["manipulations"]}
    query = results.queries(row)["filter"]
    experiment = MlflowClient(uri).get_experiment_by_name("plain").experiment_id
    assert len(MlflowClient(uri).search_runs([experiment], query)) == len(SEEDS)
    other = query.replace("'gaussian', ", "")
    assert other != query
    assert len(MlflowClient(uri).search_runs([experiment], other)) == 0


def test_a_varying_parameter_is_an_axis(table: pd.DataFrame) -> None:
    both = pd.concat([table.assign(**{"channel.codec": codec}) for codec in ("jpeg:50", "jpeg:80")])
    both.loc[both["channel.codec"] == "jpeg:80", "accuracy"] += 0.1
    assert results.axes(both) == ["channel.codec"]
    assert len(results.summary(both)) == 2 * len(results.summary(table))
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


@pytest.fixture(scope="module")
def evaluated(uri: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("evaluated")
    synthetic_tracking.fill(
        folder, "evaluated", CAMERAS[:1], ISPS[:1], LAMBDAS, SEEDS, evaluated=True, uri=uri, first=3000
    )
    return uri, results.trials(uri, "evaluated")


def test_gaps_behind_real_encoders_are_paired_by_trial(evaluated: tuple[str, pd.DataFrame]) -> None:
    _, table = evaluated
    gaps = results.behind_codecs(table)
    assert len(gaps) == len(LAMBDAS) * 3
    expected = {"jpeg:50": -0.01, "jpeg:50 4:2:0": -0.05, "webp:50": -0.1}
    for row in gaps.to_dict("records"):
        assert row["gap"] == pytest.approx(expected[row["codec"]])
        assert row["gap_high"] - row["gap_low"] == pytest.approx(0, abs=1e-9)  # the seeds' spread is in both
        assert row["behind_high"] - row["behind_low"] == pytest.approx(0.008)
        assert row["behind"] - row["accuracy"] == pytest.approx(row["gap"])
        assert row["seeds"] == len(SEEDS)


def test_a_trial_not_evaluated_does_not_count(evaluated: tuple[str, pd.DataFrame]) -> None:
    _, table = evaluated
    partly = table.assign(accuracy_webp_50=table["accuracy_webp_50"].where(table["seed"] > 1))
    gaps = results.behind_codecs(partly)
    assert set(gaps.loc[gaps["codec"] == "webp:50", "seeds"]) == {len(SEEDS) - 1}
    assert set(gaps.loc[gaps["codec"] == "jpeg:50", "seeds"]) == {len(SEEDS)}
    again = results.behind_codecs(table.assign(accuracy=0.0))  # what it was judged by then, not by its last validation
    pd.testing.assert_frame_equal(again, results.behind_codecs(table))


def test_decisions_about_images(evaluated: tuple[str, pd.DataFrame]) -> None:
    uri, table = evaluated
    decisions = results.fusions(uri, table)
    assert len(decisions) == len(LAMBDAS) * 2 * 5
    chosen = decisions[(decisions["rule"] == "mean_log_probability") & decisions["lam"].isna()].set_index("patches")
    patches = table.loc[table["lam"].isna(), "accuracy"].mean()
    for count in (1, 2, 5, 10, 20):
        expected = 1 - (1 - patches) / count
        assert chosen.loc[count, "accuracy"] == pytest.approx(expected)
        assert chosen.loc[count, "low"] == pytest.approx(expected - 0.02)
    assert set(decisions["seeds"]) == {len(SEEDS)}


def test_without_evaluation_there_is_none(uri: str, table: pd.DataFrame) -> None:
    assert results.behind_codecs(table).empty
    assert results.fusions(uri, table).empty


def test_fingerprints(client: MlflowClient, experiment_id: str) -> None:
    """The newest finished run of each camera and kind counts."""
    name = client.get_experiment(experiment_id).name
    assert results.fingerprints(client.tracking_uri, name).empty
    fig_5 = {"correlation": 0.8, "f1_matching": 0.5, "f1_mismatched": 0.4}
    for number, (camera, figures, status) in enumerate(
        [
            ("Nikon D90", fig_5, "FINISHED"),
            ("Nikon D90", fig_5 | {"correlation": 0.7}, "FINISHED"),
            ("Nikon D90", {"pce_unet_short": 13.0}, "FINISHED"),
            ("Nikon D90", fig_5, "FAILED"),
        ]
    ):
        run = client.create_run(experiment_id, 1000 * (number + 1), {"kind": "prnu", "simulated": "False"})
        for key, value in {"camera": camera, "prnu.seed": "3"}.items():
            client.log_param(run.info.run_id, key, value)
        for key, value in figures.items():
            client.log_metric(run.info.run_id, key, value)
        client.set_terminated(run.info.run_id, status)
    found = results.fingerprints(client.tracking_uri, name)
    assert found["camera"].tolist() == ["Nikon D90"] * 2
    assert found["seed"].tolist() == [3, 3]
    assert not found["simulated"].any()
    assert found.loc[0, "correlation"] == 0.7
    assert found.loc[1, "pce_unet_short"] == 13
    assert found.isna().sum(axis=1).tolist() == [1, 3]


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
        results.behind_codecs(empty),
        results.fusions(uri, empty),
        results.with_queries(results.best(results.summary(empty))),
        results.confusions(uri, empty),
    ):
        assert frame.empty
    plan = [{"camera": "Alpha", "isp": "INet", "lambda": "fixed", "seed": 1, "key": None}]
    assert list(results.missing(empty, plan)["state"]) == ["not started"]
    assert json.loads(results.summary(empty).to_json(orient="records")) == []


# The grid of the paper, with accidents: its 1,320 trials and what befell some of them.
PAPER_CAMERAS = ("Canon EOS 40D", "Canon EOS 5D", "Nikon D7000", "Nikon D90")
PAPER_ISPS = ("INet", "UNet", "DNet")
ACCIDENTS = {
    "duplicated": ("Nikon D90/UNet/0.1/0", "FINISHED", [0.123], {}),
    "failed": ("Nikon D90/UNet/0.1/10", "FAILED", [], {"failure": "out of memory"}),
    "running": ("Nikon D90/UNet/0.1/11", "RUNNING", [0.3], {}),
    "nan": ("Nikon D90/UNet/0.1/12", "FINISHED", [math.nan], {}),
}


@pytest.fixture(scope="module")
def grid_uri(uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("grid")
    synthetic_tracking.fill(
        folder,
        "paper",
        PAPER_CAMERAS,
        PAPER_ISPS,
        synthetic_tracking.LAMBDAS,
        range(10),
        points=1,
        confusions=False,
        pretrained=True,
        uri=uri,
        first=5000,
    )
    experiment = MlflowClient(uri).get_experiment_by_name("paper").experiment_id
    rows: dict = {}
    for number, (key, status, accuracy, tags) in enumerate(ACCIDENTS.values(), 9000):
        camera, isp, lam, seed = key.split("/")
        synthetic_tracking.add(
            rows,
            folder,
            experiment,
            number,
            status=status,
            tags={"kind": "trial", "trial_key": key, **tags},
            params={"camera": camera, "isp": isp, "lambda": lam, "seed": seed, **synthetic_tracking.SETTINGS},
            history={"accuracy": accuracy, "psnr": [40.0], "ssim": [0.9]} if accuracy else {},
        )
    synthetic_tracking.write(uri, rows)
    return uri


@pytest.fixture(scope="module")
def grid(grid_uri: str) -> pd.DataFrame:
    return results.trials(grid_uri, "paper")


def test_the_grid_of_the_paper(grid: pd.DataFrame) -> None:
    assert len(results.finished(grid)) == 1320
    assert len(grid) == 1320 + 3
    by_key = grid.set_index("trial_key")
    assert {name: by_key.loc[key, "failure"] for name, (key, *_) in ACCIDENTS.items()} == {
        "duplicated": "",
        "failed": "out of memory",
        "running": "",
        "nan": "finished without a valid accuracy",
    }
    assert by_key.loc[ACCIDENTS["running"][0], "status"] == "RUNNING"
    assert by_key.loc[ACCIDENTS["duplicated"][0], "accuracy"] != 0.123
    assert by_key.loc[ACCIDENTS["duplicated"][0], "superseded"] == (f"{9000:032x}",)


def test_best_of_the_grid_is_what_the_formula_says(grid: pd.DataFrame) -> None:
    summary = results.summary(grid)
    assert len(summary) == 4 * 3 * 11
    assert set(summary["seeds"]) == {10}
    # Ten seeds add 0.004 × 4.5 = 0.018. INet at the first camera: s(λ) = 1 + 0.2 log10 λ; accuracy 0.98 − s²/2 + 0.018;
    # PSNR 26 + 17.5 s + 0.018. At λ = 0.1, s = 0.8: 67.8 %, 40.018 dB.
    row = summary[(summary["camera"] == "Canon EOS 40D") & (summary["isp"] == "INet") & (summary["lam"] == 0.1)].iloc[0]
    assert (row["accuracy"], row["psnr"]) == pytest.approx((0.678, 40.018))
    assert row["accuracy_std"] == pytest.approx(0.004 * math.sqrt(sum((k - 4.5) ** 2 for k in range(10)) / 9))
    # Above 40 dB DNet (2 dB better, errors × 0.8) can afford the smallest s: λ = 0.05, s = 0.7398, 40.965 dB.
    best = results.best(summary, min_psnr=40).iloc[0]
    assert (best["camera"], best["isp"], best["lam"]) == ("Canon EOS 40D", "DNet", 0.05)
    strength = 1 + 0.2 * math.log10(0.05)
    assert best["accuracy"] == pytest.approx(0.98 - 0.4 * strength**2 + 0.018)
    assert best["psnr"] == pytest.approx(26 + 17.5 * strength + 2 + 0.018)


@pytest.mark.parametrize(
    ("question", "count"),
    [
        ("all finished trials", 1320 + 2),
        # λ = 0.1, 0.25, 0.5, 1: UNet has 41.0 dB at 0.1, and at 0.05 never more than 39.95 + 0.004 × 9.
        ("joint UNet trials of one camera above 40 dB", 4 * 10),
        ("trials with a fixed ISP", 120),
        ("one λ, all cameras and ISPs", 120 + 4),
        ("one seed of everything", 132 + 1),
        ("trials behind a certain codec", 1320 + 4),
        ("failed trials", 1),
        ("trials that are running", 1),
        ("the pre-training of one ISP", 4),
    ],
)
def test_the_filters_of_the_readme(grid_uri: str, question: str, count: int) -> None:
    client = MlflowClient(grid_uri)
    experiment = client.get_experiment_by_name("paper").experiment_id
    assert len(client.search_runs([experiment], results.QUESTIONS[question], max_results=5000)) == count


def test_a_filter_on_figures_is_a_filter_on_the_table(grid_uri: str, grid: pd.DataFrame) -> None:
    client = MlflowClient(grid_uri)
    experiment = client.get_experiment_by_name("paper").experiment_id
    low = results.QUESTIONS["at least 90 % accuracy at 42 dB or better"].replace("0.9", "0.6")
    found = {run.info.run_id for run in client.search_runs([experiment], low, max_results=5000)}
    done = results.finished(grid)
    assert found == set(done.loc[(done["accuracy"] >= 0.6) & (done["psnr"] >= 42), "run_id"])
    assert found


def test_readme_asks_what_is_tested_here() -> None:
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    table = readme.partition("| question | filter |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert rows
    for question, query in rows:
        assert query == f"`{results.QUESTIONS[question]}`"
