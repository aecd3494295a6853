"""Rankings against the formula of the synthetic trials, and filters against what MLflow finds by them."""

import io
import math
import shlex
from pathlib import Path

import pandas as pd
import pytest
import synthetic_tracking
from mlflow.entities import Run
from small_grid import SEEDS

from study import results
from study.tracking import Snapshot


def search(snapshot: Snapshot, query: str) -> list[Run]:
    return snapshot.client.search_runs([snapshot.experiment_id], query, max_results=5000)


def test_best_filters_and_ranks(table: pd.DataFrame) -> None:
    summary = results.summary(table)
    ranked = results.best(summary)
    assert list(ranked["accuracy"]) == sorted(summary["accuracy"], reverse=True)
    bounded = results.best(summary, min_psnr=40, where={"camera": ["Beta"]})
    expected = summary[(summary["camera"] == "Beta") & (summary["psnr"] >= 40)]
    assert set(bounded["run_ids"]) == set(expected["run_ids"])
    assert bounded["accuracy"].is_monotonic_decreasing
    accurate = results.best(summary, min_accuracy=0.6, where={"isp": ["UNet"]})
    assert (accurate["accuracy"] >= 0.6).all()
    assert accurate["psnr"].is_monotonic_decreasing
    assert results.best(summary, min_psnr=99).empty


def test_best_of_a_region(table: pd.DataFrame) -> None:
    """Bounds below are part of it, bounds above are not; of several values any will do; seeds may stay apart."""
    for each_seed in (False, True):
        summary = results.summary(table, each_seed)
        few = len(summary) // 6
        low, high = summary["psnr"].nsmallest(few).iloc[-1], summary["psnr"].nlargest(few).iloc[-1]
        top = summary["accuracy"].nlargest(few).iloc[-1]
        where = {"lambda": ["fixed", "0.1"], "isp": ["UNet"]}
        limits = {"min_psnr": low, "max_psnr": high, "min_ssim": 0.85, "max_accuracy": top}
        expected = [
            row.run_ids
            for row in summary.itertuples()
            if row.isp == "UNet"
            and (math.isnan(row.lam) or row.lam == 0.1)
            and low <= row.psnr < high
            and row.ssim >= 0.85
            and row.accuracy < top
        ]
        assert 0 < len(expected) < len(summary) / 2
        assert set(results.best(summary, where=where, **limits)["run_ids"]) == set(expected)
        everything = results.best(summary, max_ssim=summary["ssim"].max())
        assert set(everything["run_ids"]) == set(summary.loc[summary["ssim"] < summary["ssim"].max(), "run_ids"])


def test_best_on_the_test_photographs(table: pd.DataFrame) -> None:
    """There the order is the opposite."""
    summary = results.summary(table)
    tested = summary.assign(test_accuracy=1 - summary["accuracy"], test_psnr=summary["psnr"] - 10)
    ranked = results.best(tested, min_psnr=25, on="test")
    assert ranked["accuracy"].is_monotonic_increasing
    assert len(ranked) == (summary["psnr"] >= 35).sum()
    with pytest.raises(ValueError, match="leave out --on test"):
        results.best(summary, on="test")


def test_a_single_trial_has_a_filter_of_its_own(plain: Snapshot, table: pd.DataFrame) -> None:
    for row in results.best(results.summary(table, each_seed=True)).head(3).to_dict("records"):
        (run,) = search(plain, results.queries(row)["filter"])
        assert (run.info.run_id,) == row["run_ids"]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"where": {"camera": ["Gamma"]}}, "no results for camera 'Gamma'; there are results for: Alpha, Beta"),
        ({"where": {"isp": ["unet"]}}, "no results for isp 'unet'; there are results for: INet, UNet"),
        ({"where": {"lambda": ["0.3"]}}, "no results for lambda '0.3'; there are results for: 0.001, 0.1, fixed"),
        ({"where": {"colour": ["red"]}}, "no axis 'colour'; there are: camera, isp, lambda"),
        ({"min_accuracy": 80}, "min_accuracy is a fraction of 1, not 80"),
        ({"max_accuracy": -1}, "max_accuracy is a fraction of 1, not -1"),
    ],
)
def test_best_refuses_what_cannot_be(table: pd.DataFrame, wish: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        results.best(results.summary(table), **wish)


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


def test_queries_find_the_runs_of_a_setting(plain: Snapshot, table: pd.DataFrame) -> None:
    ranked = results.best(results.summary(table))
    for row in ranked.to_dict("records"):
        queries = results.queries(row)
        found = search(plain, queries["filter"])
        assert {run.info.run_id for run in found} == set(queries["run_ids"])
        assert {run.data.tags["trial_key"] for run in found} == {
            shlex.split(command)[-1] for command in queries["rerun"]
        }
        assert all(command.startswith("python -m study rerun ") for command in queries["rerun"])
    text = pd.read_csv(io.StringIO(results.with_queries(ranked).to_csv(index=False)))
    assert list(text["run_ids"].str.split()) == [list(ids) for ids in ranked["run_ids"]]
    assert text["filter"].iloc[0] == results.queries(ranked.iloc[0].to_dict())["filter"]


def test_queries_know_further_axes_and_quotation_marks(plain: Snapshot, table: pd.DataFrame) -> None:
    axes = {name: synthetic_tracking.SETTINGS[name] for name in ("manipulations", "channel.codec")}
    query = results.queries(results.summary(table).iloc[0].to_dict() | axes)["filter"]
    assert "params.`channel.codec` = 'jpeg:50'" in query
    assert len(search(plain, query)) == len(SEEDS)
    other = query.replace("'gaussian', ", "")
    assert other != query
    assert len(search(plain, other)) == 0


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
def test_the_filters_of_the_readme(paper: Snapshot, question: str, count: int) -> None:
    assert len(search(paper, results.QUESTIONS[question])) == count


def test_a_filter_on_metrics_is_a_filter_on_the_table(paper: Snapshot, grid: pd.DataFrame) -> None:
    low = results.QUESTIONS["at least 90 % accuracy at 42 dB or better"].replace("0.9", "0.6")
    found = {run.info.run_id for run in search(paper, low)}
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
