"""Comparisons at equal PSNR and breakdowns of training, against numbers made by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study import results

Front = dict[float, tuple[float, float]]  # λ -> (PSNR, accuracy)


def trials(seeds: dict[int, Front], isp: str = "UNet", camera: str = "Alpha", **axes: str) -> pd.DataFrame:
    rows = [
        {
            "camera": camera,
            "isp": isp,
            "mode": "fixed" if math.isnan(lam) else "joint",
            "lam": lam,
            "seed": seed,
            "psnr": psnr,
            "accuracy": accuracy,
            **axes,
        }
        for seed, front in seeds.items()
        for lam, (psnr, accuracy) in front.items()
    ]
    table = pd.DataFrame(rows)
    ids = [f"{camera} {isp} {sorted(axes.values())} {number}" for number in range(len(table))]
    others = dict.fromkeys({*results.METRICS, *results.TEST_METRICS} - set(table), math.nan)
    return table.assign(status="FINISHED", failure="", run_id=ids, trial_key=ids, **others)


def line(low: float, high: float, top: float, bottom: float) -> Front:
    """Two settings: accuracy falls from ``top`` to ``bottom`` between these PSNRs."""
    return {1e-3: (low, top), 1e-1: (high, bottom)}


# UNet loses 10 points a dB from 80 % at 30 dB, in seed 1 and 90 % in seed 2; Pattern is at 50 and 54 % at 29 and 30.5
# dB, and loses 4 points a dB: at 31 dB UNet 70, 80; at 30.5 dB 75, 85.
UNET = trials({1: line(30, 34, 0.8, 0.4), 2: line(30, 34, 0.9, 0.5)})
PATTERN = trials({1: line(29, 32, 0.54, 0.42), 2: line(29, 32, 0.58, 0.46)}, isp="Pattern")


def test_differences_at_equal_psnr_by_hand() -> None:
    pairs = results.at_equal_psnr(pd.concat([UNET, PATTERN]), "isp", "UNet", "Pattern")
    assert sorted(pairs["at"].unique()) == [30.0, 30.5, 31.0, 31.5, 32.0]
    at_31 = pairs[pairs["at"] == 31.0].sort_values("seed")
    assert list(at_31["first"]) == pytest.approx([0.7, 0.8])
    assert list(at_31["second"]) == pytest.approx([0.46, 0.50])
    assert list(at_31["difference"]) == pytest.approx([0.24, 0.30])
    found = results.over_all(pairs).set_index("at")
    low, high = stats.t.interval(0.95, 1, 0.27, stats.sem([0.24, 0.30]))
    assert found.loc[31.0, ["difference", "difference_low", "difference_high"]].tolist() == pytest.approx(
        [0.27, low, high]
    )
    # The mean over all: UNet 70 and 80 %, Pattern 46 and 50 %, as at the middle of the line.
    mean = found[found.index.isna()].iloc[0]
    assert (mean["first"], mean["second"], mean["difference"]) == pytest.approx((0.75, 0.48, 0.27))
    assert mean["seeds"] == 2


def test_the_order_of_the_two_turns_the_sign() -> None:
    table = pd.concat([UNET, PATTERN])
    there = results.at_equal_psnr(table, "isp", "UNet", "Pattern")
    back = results.at_equal_psnr(table, "isp", "Pattern", "UNet")
    np.testing.assert_allclose(there["difference"], -back["difference"])


def test_pairing_removes_what_seeds_share() -> None:
    """Seeds differ by 30 points, the two ISPs by 10 in each."""
    better = trials({seed: line(30, 32, 0.6 + 0.1 * seed, 0.5 + 0.1 * seed) for seed in range(3)})
    worse = trials({seed: line(30, 32, 0.5 + 0.1 * seed, 0.4 + 0.1 * seed) for seed in range(3)}, isp="Pattern")
    found = results.over_all(results.at_equal_psnr(pd.concat([better, worse]), "isp", "UNet", "Pattern"))
    for column in ("difference", "difference_low", "difference_high"):
        np.testing.assert_allclose(found[column], 0.1)


def test_only_seeds_and_psnrs_that_both_have() -> None:
    pattern = PATTERN[PATTERN["seed"] == 2]
    found = results.at_equal_psnr(pd.concat([UNET, pattern]), "isp", "UNet", "Pattern")
    assert set(found["seed"]) == {2}
    one = results.over_all(found)
    assert one["difference_low"].isna().all()
    short = trials({1: line(29, 31.1, 0.54, 0.42), 2: line(29, 32, 0.58, 0.46)}, isp="Pattern")
    found = results.at_equal_psnr(pd.concat([UNET, short]), "isp", "UNet", "Pattern")
    assert found["at"].max() == 31.0  # the mean front reaches 31.55 dB, that of seed 1 does not
    apart = trials({1: line(20, 25, 0.9, 0.8)}, isp="Pattern")
    nothing = results.at_equal_psnr(pd.concat([UNET, apart]), "isp", "UNet", "Pattern")
    assert nothing.empty
    assert results.over_all(nothing).empty


def test_fixed_ends_a_front() -> None:
    fixed = {math.nan: (36.0, 0.3)}
    table = pd.concat(
        [trials({1: line(30, 34, 0.8, 0.4) | fixed}), trials({1: line(29, 32, 0.5, 0.4) | fixed}, "Pattern")]
    )
    found = results.at_equal_psnr(table, "isp", "UNet", "Pattern").set_index("at")
    assert found.index.max() == 36.0
    assert found.loc[36.0, "difference"] == pytest.approx(0)
    assert found.loc[34.0, ["first", "second"]].tolist() == pytest.approx([0.4, 0.35])


def test_where_no_round_psnr_lies_between_it_is_the_middle() -> None:
    close = trials({1: line(31.6, 31.8, 0.6, 0.5)}, isp="Pattern")
    found = results.at_equal_psnr(pd.concat([UNET, close]), "isp", "UNet", "Pattern")
    assert list(found["at"]) == pytest.approx([31.7])
    wide = pd.concat([trials({1: line(5, 55, 0.9, 0.1)}), trials({1: line(5, 55, 0.8, 0.1)}, isp="Pattern")])
    assert list(results.at_equal_psnr(wide, "isp", "UNet", "Pattern")["at"]) == [10.0, 20.0, 30.0, 40.0, 50.0]


def test_one_setting_alone_is_compared_at_the_psnr_of_each_seed() -> None:
    """Seed 1 at 31 dB, where UNet has 70 %, seed 2 at 32 dB, where it has 70 %, too."""
    alone = trials({1: {1e-2: (31.0, 0.6)}, 2: {1e-2: (32.0, 0.65)}}, isp="Pattern")
    pairs = results.at_equal_psnr(pd.concat([UNET, alone]), "isp", "UNet", "Pattern").sort_values("seed")
    assert list(pairs["at"]) == [31.5, 31.5]
    assert list(pairs["first"]) == pytest.approx([0.7, 0.7])
    assert list(pairs["second"]) == pytest.approx([0.6, 0.65])
    assert list(pairs["difference"]) == pytest.approx([0.1, 0.05])
    beyond = trials({1: {1e-2: (31.0, 0.6)}, 2: {1e-2: (35.0, 0.65)}}, isp="Pattern")
    assert results.at_equal_psnr(pd.concat([UNET, beyond]), "isp", "UNet", "Pattern").empty


def test_an_axis_pairs_within_camera_and_isp() -> None:
    name = "channel.rounding"
    table = pd.concat(
        [
            trials({1: line(30, 32, top, top - 0.1)}, camera=camera, **{name: value})
            for camera, value, top in (
                ("Alpha", "sin", 0.5),
                ("Alpha", "straight-through", 0.7),
                ("Beta", "sin", 0.4),
                ("Beta", "straight-through", 0.8),
                ("Gamma", "sin", 0.4),
            )
        ]
    )
    pairs = results.at_equal_psnr(table, name, "straight-through", "sin")
    assert set(pairs["camera"]) == {"Alpha", "Beta"}
    by_camera = results.over_all(pairs, ["camera"])
    whole = by_camera[by_camera["at"].isna()].set_index("camera")["difference"]
    assert whole.to_dict() == pytest.approx({"Alpha": 0.2, "Beta": 0.4})
    assert results.over_all(pairs)["difference"].tolist() == pytest.approx([0.3])


def test_an_axis_of_one_side_alone_makes_several_comparisons() -> None:
    name = "training.pattern"
    small, large = (
        trials({1: line(30, 32, top, 0.3)}, isp="Pattern", **{name: side}) for side, top in (("16", 0.5), ("32", 0.4))
    )
    unet = trials({1: line(30, 32, 0.8, 0.7)}, **{name: "16"})
    pairs = results.at_equal_psnr(pd.concat([unet, small, large]), "isp", "UNet", "Pattern")
    at_30 = pairs[pairs["at"] == 30.0].set_index(name)["difference"]
    assert at_30.to_dict() == pytest.approx({"16": 0.3, "32": 0.4})


def test_isps_are_compared_behind_the_same_channel() -> None:
    """UNet was trained behind two channels, Pattern behind one of them."""
    both = [
        UNET.assign(channel="robust"),
        UNET.assign(channel="paper", accuracy=UNET["accuracy"] - 0.2, run_id="x" + UNET["run_id"]),
    ]
    pairs = results.at_equal_psnr(pd.concat([*both, PATTERN.assign(channel="robust")]), "isp", "UNet", "Pattern")
    assert set(pairs["channel"]) == {"robust"}
    assert list(pairs[pairs["at"] == 31.0]["first"]) == pytest.approx([0.7, 0.8])


def test_a_seed_that_lacks_a_camera_does_not_enter_the_mean_over_cameras() -> None:
    alpha = results.at_equal_psnr(pd.concat([UNET, PATTERN]), "isp", "UNet", "Pattern")
    beta = alpha[alpha["seed"] == 1].assign(camera="Beta", difference=0.5)
    found = results.over_all(pd.concat([alpha, beta], ignore_index=True))
    assert found["seeds"].tolist() == [1]
    assert found["difference"].tolist() == pytest.approx([(0.24 + 0.5) / 2])  # seed 1 of Alpha is 24 points on average


def psnr(values: list[float], run_id: str = "a") -> pd.DataFrame:
    iterations = 100 * np.arange(1, len(values) + 1)
    return pd.DataFrame({"run_id": run_id, "seed": 1, "iteration": iterations, "value": values})


@pytest.mark.parametrize(
    ("values", "lost", "at"),
    [
        ([20, 25, 30, 38, 38.2, 38.1, 37.9, 38.0], 0.3, 700),  # iterations 400 to 800 are the second half
        ([20, 40, 38, 38, 38, 38], 0.0, 300),  # what came before does not count
        ([30, 31, 38, 36.5, 38, 38], 1.5, 400),  # a fall counts though it is made good later
        ([30, 31, 36.5, 38, 38, 38], 1.5, 300),  # and so does a late start
        ([30, 31, 38, 38, 38, 37], 1.0, 600),  # one dB is not more than one dB
    ],
)
def test_what_a_training_loses_late(values: list[float], lost: float, at: int) -> None:
    found = results.breakdowns(psnr(values)).iloc[0]
    assert found["lost"] == pytest.approx(lost)
    assert found["iteration"] == at
    assert found["broken"] == (lost > 1)


def test_breakdowns_are_counted_by_trial() -> None:
    found = results.breakdowns(pd.concat([psnr([30, 38, 38], "a"), psnr([30, 38, 30], "b")], ignore_index=True))
    assert found.set_index("run_id")["broken"].to_dict() == {"a": False, "b": True}
    assert results.breakdowns(psnr([])).empty
