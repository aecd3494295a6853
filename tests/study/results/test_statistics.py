"""Statistics of a synthetic study against numbers computed by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking
from small_grid import CAMERAS, ISPS, LAMBDAS, SEEDS

from study import results
from study.results import fronts, statistics
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
            half = 4.302653 * values.std(ddof=1) / math.sqrt(3)  # t of two degrees of freedom, from a printed table
            least, greatest = statistics.POSSIBLE.get(metric, (-math.inf, math.inf))
            bounds = max(values.mean() - half, least), min(values.mean() + half, greatest)
            assert (row[metric + "_low"], row[metric + "_high"]) == pytest.approx(bounds)


def test_one_seed_has_no_interval(table: pd.DataFrame) -> None:
    one = table[table["seed"] == 2]
    for found in (results.summary(one), results.gain(one)):
        assert found["accuracy"].notna().all()
        assert found[["accuracy_std", "accuracy_low", "accuracy_high", "psnr_low"]].isna().all(axis=None)


def test_an_accuracy_is_no_more_than_certain(table: pd.DataFrame) -> None:
    spread = table.assign(accuracy=table["seed"].map({1: 0.0, 2: 0.9, 3: 1.0}))
    found = results.summary(spread)
    assert set(found["accuracy_low"]) == {0}
    assert set(found["accuracy_high"]) == {1}


def test_a_seed_that_comes_twice_is_no_second_seed(table: pd.DataFrame) -> None:
    """Two runs that differ in nothing that is known: of another version of the code, or of other photographs."""
    again = table.iloc[[4]].assign(trial_key="another key", run_id="another", accuracy=0.0)
    both = pd.concat([table, again])
    keys = f"{table['trial_key'].iloc[4]}, another key"
    message = f"2 trials of Alpha · INet · λ 0.1 · seed 2 have the same settings and seed.*: trial keys {keys}"
    for function in (results.summary, results.means, results.gain, results.behind_codecs):
        with pytest.raises(ValueError, match=message):
            function(both)
    failed = again.assign(status="FAILED", failure="killed")
    pd.testing.assert_frame_equal(results.summary(pd.concat([table, failed])), results.summary(table))


AXES = [
    ("pretraining.seed", ("0", "1")),
    ("pretraining.learning_rate", ("0.001", "0.0001")),
    ("training.iterations", ("600", "6000")),
    ("validation.seed", ("0", "1")),
    ("split.seed", ("0", "1")),
    ("channel.rounding", ("sin", "soft")),
    ("manipulations", ("('sharpen',)", "('gaussian',)")),
]


@pytest.mark.parametrize(("axis", "values"), AXES)
def test_variants_on_an_axis_are_no_seeds(table: pd.DataFrame, axis: str, values: tuple[str, str]) -> None:
    """Whichever section of the study file the axis is in: each variant has means and partners of its own."""
    variants = [table.assign(**{axis: value}, trial_key=table["trial_key"] + value) for value in values]
    variants[1]["accuracy"] += 0.1
    both = pd.concat(variants, ignore_index=True)
    assert results.axes(both) == [axis]
    summary, gains = results.summary(both), results.gain(both)
    expected = results.summary(table), results.gain(table)
    assert (set(summary["seeds"]), set(gains["seeds"])) == ({len(SEEDS)}, {len(SEEDS)})
    for number, value in enumerate(values):
        part = summary[summary[axis] == value].reset_index(drop=True)
        np.testing.assert_allclose(part["accuracy"], expected[0]["accuracy"] + 0.1 * number)
        np.testing.assert_allclose(part["accuracy_std"], expected[0]["accuracy_std"])
        part = gains[gains[axis] == value].reset_index(drop=True)
        np.testing.assert_allclose(part["accuracy"], expected[1]["accuracy"], atol=1e-12)
        np.testing.assert_allclose(part["fixed_accuracy"], expected[1]["fixed_accuracy"] + 0.1 * number)
    assert len(results.best_within(gains, math.inf)) == 2 * len(CAMERAS) * len(ISPS)
    for offered in (fronts.hypervolume(both, "psnr"), fronts.front(summary, "psnr")):
        assert set(offered[axis]) == set(values)


def with_test(table: pd.DataFrame) -> pd.DataFrame:
    """Test photographs on which the order of the λ is another one."""
    test = {f"test_{metric}": table[metric] - 0.01 for metric in results.METRICS}
    return table.assign(**test | {"test_accuracy": 0.9 - table["accuracy"]})


def test_validation_chooses_and_the_test_is_reported(table: pd.DataFrame) -> None:
    tested = with_test(table)
    gains = results.gain(tested)
    for budget in (3.01, math.inf):
        chosen = results.best_within(gains, budget)
        assert chosen["lam"].tolist() == results.best_within(results.gain(table), budget)["lam"].tolist()
        reported = results.reported(chosen)
        assert set(reported[results.ON]) == {"test"}
        np.testing.assert_allclose(reported["accuracy"], -chosen["accuracy"])
        np.testing.assert_allclose(reported["fixed_accuracy"], 0.9 - chosen["fixed_accuracy"])
        np.testing.assert_allclose(reported["accuracy_low"], -chosen["accuracy_high"])
    summary = results.summary(tested)
    ranked = results.best(summary, min_psnr=40)
    assert ranked["accuracy"].is_monotonic_decreasing
    assert ranked["test_accuracy"].is_monotonic_increasing


def test_both_kinds_of_photographs_are_listed(table: pd.DataFrame) -> None:
    summary = results.summary(with_test(table))
    both = results.by_photographs(summary)
    assert both[results.ON].tolist() == ["test", "validation"] * len(summary)
    np.testing.assert_allclose(both["accuracy"].iloc[::2], summary["test_accuracy"])
    np.testing.assert_allclose(both["accuracy"].iloc[1::2], summary["accuracy"])
    alone = results.by_photographs(results.summary(table))
    assert set(alone[results.ON]) == {"validation"}
    assert len(alone) == len(summary)


def test_a_mean_on_the_test_is_of_all_seeds_or_none(table: pd.DataFrame) -> None:
    tested = with_test(table)
    tested["test_accuracy"] = tested["test_accuracy"].where((tested["seed"] > 1) | (tested["camera"] == "Beta"))
    found = results.reported(results.summary(tested))
    assert found[results.ON].tolist() == ["validation"] * 6 + ["test"] * 6


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
        assert row["behind_high"] - row["behind_low"] == pytest.approx(2 * 4.302653 * 0.004 / math.sqrt(3))
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


def test_gaps_on_the_test_photographs(evaluated: Snapshot) -> None:
    table = results.trials(evaluated)
    columns = [name for name in table if str(name).startswith("accuracy")]
    tested = table.assign(**{f"test_{name}": table[name] - 0.03 for name in columns})
    tested["test_accuracy_webp_50"] -= 0.1
    found = results.reported(results.behind_codecs(tested), ("behind", "gap", "accuracy"))
    assert set(found[results.ON]) == {"test"}
    gaps = found.set_index("codec")["gap"]
    np.testing.assert_allclose(gaps["webp:50"], -0.2)
    np.testing.assert_allclose(gaps["jpeg:50"], -0.01)
    assert set(results.reported(results.behind_codecs(table), ("behind", "gap", "accuracy"))[results.ON]) == {
        "validation"
    }
