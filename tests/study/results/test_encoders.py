"""The verdict behind real encoders: which accuracy counts, what it is compared with, and how its members are named."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking
from small_grid import CAMERAS, ISPS, LAMBDAS, SEEDS, read

from study import results
from study.results import encoders, fronts
from study.tracking import Snapshot


@pytest.fixture(scope="module")
def judged(folder: Path, uri: str) -> Snapshot:
    grid = (CAMERAS[:1], ISPS[:1], LAMBDAS, SEEDS)
    synthetic_tracking.fill(folder, "judged", *grid, verdicts=True, tested=True, uri=uri, first=20000)
    return read(uri, "judged")


@pytest.fixture(scope="module")
def table(judged: Snapshot) -> pd.DataFrame:
    return results.trials(judged)


@pytest.mark.parametrize(
    ("channel", "metric"),
    [
        ("real", "accuracy_real"),
        ("worst", "accuracy_real_worst"),
        ("dJPEG", "accuracy"),
        ("jpeg:50", "accuracy_real_jpeg_50"),
        ("jpeg:50 4:2:0", "accuracy_real_jpeg_50_420"),
        ("jpeg2000:40", "accuracy_real_jpeg2000_40"),
        ("none", "accuracy_real_none"),
    ],
)
def test_a_channel_is_named_as_its_metric(channel: str, metric: str) -> None:
    assert encoders.metric(channel) == metric
    assert encoders.channel(metric) == channel


def test_other_spellings_mean_the_same() -> None:
    assert encoders.metric("jpeg:50:4:2:0") == encoders.metric("jpeg_50_420") == "accuracy_real_jpeg_50_420"


def test_channels_of_a_table(table: pd.DataFrame, plain: Snapshot) -> None:
    expected = ["real", "worst", "avif:50", "jpeg:50", "jpeg:50 4:2:0", "webp:50", "dJPEG"]
    assert results.channels(table) == expected
    assert results.leading(table) == "real"
    older = results.trials(plain)
    assert results.channels(older) == ["dJPEG"]
    assert results.leading(older) == "dJPEG"


@pytest.mark.parametrize(("channel", "lost"), [("real", 0.1), ("worst", 0.2), ("jpeg:50 4:2:0", 0.1)])
def test_what_a_trial_is_worth_behind_a_channel(table: pd.DataFrame, channel: str, lost: float) -> None:
    found = results.behind(table, channel)
    for prefix in ("", "test_"):
        np.testing.assert_allclose(found[f"{prefix}accuracy"], table[f"{prefix}accuracy"] - lost)
        np.testing.assert_allclose(found[f"{prefix}gap"], -lost)
        np.testing.assert_allclose(found[f"{prefix}trained"], table[f"{prefix}accuracy"])
    pd.testing.assert_frame_equal(results.behind(table, "dJPEG"), table)
    # Every function of tables takes it: an area per accuracy, here 0.1 less of it over all PSNRs beyond 20 dB.
    ours, theirs = (fronts.hypervolume(each, "psnr")["hypervolume"].iloc[0] for each in (found, table))
    assert ours < theirs
    gains = [results.gain(each)["accuracy"].to_numpy() for each in (found, table)]
    np.testing.assert_allclose(*gains)


def test_trials_without_a_verdict_are_left_out(table: pd.DataFrame) -> None:
    some = table.copy()
    some.loc[some["seed"] == SEEDS[0], "accuracy_real"] = math.nan
    found = results.behind(some, "real")
    assert set(found["seed"]) == set(SEEDS[1:])
    assert set(results.summary(found)["seeds"]) == {len(SEEDS) - 1}
    assert results.summary(some)["accuracy_real"].isna().all()
    assert results.summary(some)["accuracy"].notna().all()
    with pytest.raises(ValueError, match=r"behind 'webp:80'; there are: real, worst, avif:50, jpeg:50, "):
        results.behind(table, "webp:80")


def test_a_summary_has_every_member_with_its_interval(table: pd.DataFrame) -> None:
    found = results.summary(table)
    for member, lost in synthetic_tracking.PANEL.items():
        metric = encoders.metric(member)
        np.testing.assert_allclose(found[metric], found["accuracy"] - lost)
        np.testing.assert_allclose(found[f"test_{metric}_low"], found["test_accuracy_low"] - lost)
    shown = results.reported(found)
    np.testing.assert_allclose(shown["accuracy_real"], found["test_accuracy_real"])
    np.testing.assert_allclose(shown["accuracy_real_worst_high"], found["test_accuracy_real_worst_high"])


def test_the_panel_member_by_member(table: pd.DataFrame) -> None:
    found = results.behind_panel(table)
    assert list(found["codec"].head(6)) == ["real", "worst", "avif:50", "jpeg:50", "jpeg:50 4:2:0", "webp:50"]
    assert len(found) == len(LAMBDAS) * 6
    gaps = found.groupby("codec")["gap"].mean()
    for member, lost in synthetic_tracking.PANEL.items():
        assert gaps[member] == pytest.approx(-lost)
    np.testing.assert_allclose(found["test_behind"] - found["test_accuracy"], found["test_gap"])
    assert results.behind_codecs(table).empty  # another kind of evaluation


def test_best_by_real_encoders(table: pd.DataFrame) -> None:
    """What is best behind dJPEG need not be behind real encoders."""
    other = table.copy()
    other.loc[other["lam"] == LAMBDAS[0], "accuracy_real"] = 0.1
    summary = results.summary(other)
    assert results.best(summary)["lam"].iloc[0] == LAMBDAS[0]
    ranked = results.best(summary, by="accuracy_real")
    assert ranked["lam"].iloc[0] == LAMBDAS[1]
    assert ranked["lam"].iloc[-1] == LAMBDAS[0]
    assert LAMBDAS[0] not in set(results.best(summary, by="accuracy_real", min_accuracy=0.11)["lam"])


def test_verdicts_keep_confusions_and_what_was_unseen(judged: Snapshot, table: pd.DataFrame) -> None:
    documents = results.verdicts(judged, table)
    assert set(documents.index) == set(table["run_id"])
    found = results.panel_confusions(table, documents)
    assert len(found) == len(LAMBDAS) * 2 * 5
    assert set(found["seeds"]) == {len(SEEDS)}
    summary = results.summary(table).set_index("lam")
    for row in found.to_dict("records"):
        prefix = "test_" if row["photographs"] == "test" else ""
        expected = summary.loc[row["lam"], prefix + encoders.metric(row["codec"])]
        np.testing.assert_allclose(row["confusion"].diagonal(), expected)
    assert set(results.unseen(documents).values()) == {frozenset({"webp:50", "avif:50"})}


def test_older_runs_have_no_verdict(plain: Snapshot) -> None:
    table = results.trials(plain)
    documents = results.verdicts(plain, table)
    assert documents.empty
    assert results.unseen(documents) == {}
    assert results.panel_confusions(table, documents).empty
    assert results.behind_panel(table).empty
    assert not any("verdict" in address for address in plain.missing)
