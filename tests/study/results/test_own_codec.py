"""What a codec gains by learning, at equal rate: against curves written down here."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.report.sections.own_codec import UNCHANGED, rate_curves, table
from study.results import own_codec
from study.results.statistics import TEST_SET, VALIDATION_SET


def trial(seed: int, quality: int, learns: float | None, bpp: float, psnr: float, accuracy: float) -> dict[str, Any]:
    """A finished trial; on the test photographs all is a little worse."""
    return {
        "run_id": f"{seed}-{quality}-{learns}",
        "trial_key": f"{seed}-{quality}-{learns}",
        "status": "FINISHED",
        "failure": "",
        "camera": "camera",
        "isp": "UNet",
        "mode": "fixed",
        "lam": math.nan,
        "seed": seed,
        "channel.codec": f"learned_jpeg:{quality}",
        "channel.rate_weight": "100.0",
        "training.codec_lambda": str(learns),
        "bpp_own": bpp,
        "psnr_own": psnr,
        "accuracy_real_own": accuracy,
        "test_bpp_own": bpp + 0.01,
        "test_psnr_own": psnr - 1,
        "test_accuracy_real_own": accuracy - 0.1,
    }


def psnr_at(bpp: float) -> float:
    return 30 + 5 * math.log2(bpp)


def accuracy_at(bpp: float, seed: int) -> float:
    return 0.5 + 0.1 * math.log2(bpp) + 0.02 * seed


@pytest.fixture
def trials() -> pd.DataFrame:
    """Three qualities of the unchanged codec at two seeds, on straight lines over log(rate), and two that learned.

    Rates are those of the validation photographs plus the 0.01 by which those of the test photographs differ.
    """
    rows = [
        trial(seed, quality, None, bpp - 0.01, psnr_at(bpp) + 1, accuracy_at(bpp, seed) + 0.1)
        for seed in (0, 1)
        for quality, bpp in ((30, 0.5), (50, 1.0), (70, 2.0))
    ]
    for seed, bpp in ((0, 0.7), (1, 0.8)):
        rows.append(
            trial(seed, 50, 0.01, bpp - 0.01, psnr_at(bpp) + 1 - 2, accuracy_at(bpp, seed) + 0.1 + 0.04 + seed / 50)
        )
    rows.append(trial(0, 50, 0.1, 2.5, 33, 0.9))  # no unchanged codec spends so much
    return pd.DataFrame(rows)


def test_gains_are_those_at_equal_rate(trials: pd.DataFrame) -> None:
    rows = own_codec.own_codecs(trials)
    assert set(rows[own_codec.ON]) == {TEST_SET} and len(rows) == 9
    gains = own_codec.at_equal_rate(rows)
    assert list(gains["codec_lambda"]) == [0.01, 0.01, 0.1]
    # Two straight lines over log(rate) meet at the qualities: between those, linear interpolation is exact.
    assert gains["psnr_gain"].tolist()[:2] == pytest.approx([-2, -2])
    assert gains["accuracy_gain"].tolist()[:2] == pytest.approx([0.04, 0.06])
    assert gains.iloc[2][["psnr_gain", "accuracy_gain"]].isna().all(), "nothing is extrapolated"

    means = own_codec.over_seeds(gains).set_index("codec_lambda")
    assert means.loc[0.01, "accuracy_gain"] == pytest.approx(0.05)
    half = 12.706 * np.std([0.04, 0.06], ddof=1) / np.sqrt(2)
    assert means.loc[0.01, "accuracy_gain_low"] == pytest.approx(0.05 - half, abs=1e-4)
    assert (means.loc[0.01, "seeds"], means.loc[0.1, "seeds"]) == (2, 1)


def test_another_weight_may_be_the_reference(trials: pd.DataFrame) -> None:
    """With λ_c = 0.01 as it was unchanged, the same figures; what is compared with is no row."""
    unchanged = trials["training.codec_lambda"] == "None"
    other = trials.assign(**{"training.codec_lambda": np.where(unchanged, "5.0", trials["training.codec_lambda"])})
    gains = own_codec.at_equal_rate(own_codec.own_codecs(other), 5.0)
    assert gains["codec_lambda"].tolist() == [0.01, 0.01, 0.1]
    assert gains["psnr_gain"].tolist()[:2] == pytest.approx([-2, -2])
    assert own_codec.at_equal_rate(own_codec.own_codecs(other))["psnr_gain"].isna().all(), "nothing is unchanged"


def test_without_test_photographs_validation_counts(trials: pd.DataFrame) -> None:
    rows = own_codec.own_codecs(trials.drop(columns=[name for name in trials if name.startswith("test_")]))
    assert set(rows[own_codec.ON]) == {VALIDATION_SET}
    assert rows["bpp"].tolist() == trials["bpp_own"].tolist()


def test_a_seed_is_compared_with_its_own_curve(trials: pd.DataFrame) -> None:
    """Without seed 1's unchanged codec, nothing says what seed 1 has gained; a trial of another NIP is no partner."""
    unchanged = trials["training.codec_lambda"] == "None"
    gains = own_codec.at_equal_rate(own_codec.own_codecs(trials[~(unchanged & (trials["seed"] == 1))]))
    assert gains.set_index(["seed", "codec_lambda"])["psnr_gain"].isna().tolist() == [False, True, True]
    other = trials.assign(isp=np.where(unchanged, "INet", "UNet"))
    assert own_codec.at_equal_rate(own_codec.own_codecs(other))["psnr_gain"].isna().all()


def test_a_subsampling_has_a_curve_of_its_own(trials: pd.DataFrame) -> None:
    learned = trials["training.codec_lambda"] != "None"
    coarser = trials.assign(**{"channel.codec": trials["channel.codec"] + np.where(learned, ":4:2:0", "")})
    rows = own_codec.own_codecs(coarser)
    assert set(rows["codec"]) == {"learned_jpeg", "learned_jpeg:4:2:0"} and set(rows["quality"]) == {"30", "50", "70"}
    assert own_codec.at_equal_rate(rows)["psnr_gain"].isna().all()
    assert "learned_jpeg:50:4:2:0" in table(rows).printed.to_string()


def test_a_codec_that_loses_nothing_has_no_psnr(trials: pd.DataFrame) -> None:
    rows = own_codec.own_codecs(trials.assign(test_psnr_own=1.797e308))  # MLflow's infinity
    assert rows["psnr"].isna().all() and rows["bpp"].notna().all()


def test_trials_that_were_not_judged_so_have_no_row(trials: pd.DataFrame) -> None:
    assert own_codec.own_codecs(trials.drop(columns=["bpp_own", "test_bpp_own"])).empty
    assert own_codec.own_codecs(trials.assign(status="FAILED")).empty
    assert own_codec.at_equal_rate(own_codec.own_codecs(trials[trials["training.codec_lambda"] == "None"])).empty


def test_the_report_prints_and_draws_them(trials: pd.DataFrame) -> None:
    rows = own_codec.own_codecs(trials)
    printed = table(rows).printed
    text = printed.to_string()
    assert text.count(UNCHANGED) == 3 and "+5.0 [" in text and "−2.00" in text
    assert len(printed) == 5
    without = table(own_codec.own_codecs(trials[trials["training.codec_lambda"] == "None"]))
    assert len(without.printed) == 3
    figure = rate_curves(rows)
    above, below = figure.axes
    labels = above.get_legend_handles_labels()[1]
    assert labels == [f"learned_jpeg, {UNCHANGED}", "learned_jpeg, learning"]
    drawn = below.containers[0].lines[0].get_ydata()
    assert drawn == pytest.approx([psnr_at(bpp) for bpp in (0.5, 1, 2)])
