"""Statistics of a synthetic study against numbers computed by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking
from small_grid import CAMERAS, ISPS, LAMBDAS, SEEDS

from study import results
from study.results import statistics
from study.tracking import Snapshot


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


def test_settings_resampled_in_slices_are_the_same(grid: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    together = results.summary(grid)
    monkeypatch.setattr(statistics, "AT_ONCE", 10)
    pd.testing.assert_frame_equal(results.summary(grid), together, check_exact=True)
    pd.testing.assert_frame_equal(results.means(grid), together[results.means(grid).columns])


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


def test_gaps_behind_real_encoders_are_paired_by_trial(evaluated: Snapshot) -> None:
    table = results.trials(evaluated)
    gaps = results.behind_codecs(table)
    assert len(gaps) == len(LAMBDAS) * 3
    expected = {"jpeg:50": -0.01, "jpeg:50 4:2:0": -0.05, "webp:50": -0.1}
    for row in gaps.to_dict("records"):
        assert row["gap"] == pytest.approx(expected[row["codec"]])
        assert row["gap_high"] - row["gap_low"] == pytest.approx(0, abs=1e-9)  # the seeds' spread is in both
        assert row["behind_high"] - row["behind_low"] == pytest.approx(0.008)
        assert row["behind"] - row["accuracy"] == pytest.approx(row["gap"])
        assert row["seeds"] == len(SEEDS)


def test_a_trial_not_evaluated_does_not_count(evaluated: Snapshot) -> None:
    table = results.trials(evaluated)
    partly = table.assign(accuracy_webp_50=table["accuracy_webp_50"].where(table["seed"] > 1))
    gaps = results.behind_codecs(partly)
    assert set(gaps.loc[gaps["codec"] == "webp:50", "seeds"]) == {len(SEEDS) - 1}
    assert set(gaps.loc[gaps["codec"] == "jpeg:50", "seeds"]) == {len(SEEDS)}
    again = results.behind_codecs(table.assign(accuracy=0.0))  # what it was judged by then, not by its last validation
    pd.testing.assert_frame_equal(again, results.behind_codecs(table))
    older = table.assign(accuracy_dJPEG=math.nan)  # nothing but its last validation to compare with
    gaps = results.behind_codecs(older.assign(accuracy=table["accuracy_webp_50"]))
    assert gaps.loc[gaps["codec"] == "webp:50", "gap"].tolist() == pytest.approx([0] * len(LAMBDAS))
