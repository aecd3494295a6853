"""The report of trials that were judged behind real encoders: these first, dJPEG second, the gap beside them."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking

from study import results, tracking
from study.report.content import Content
from study.report.page import Provenance, report
from study.report.sections import comparison, steadiness
from study.report.sections.comparison import Contest, sentence

CAMERAS, ISPS, LAMBDAS, SEEDS = ("Alpha", "Beta"), ("UNet", "Pattern"), (1e-3, 1e-1, "fixed"), (1, 2)
ROUNDINGS = ("sin", "straight-through")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    folder = tmp_path_factory.mktemp("judged")
    axes = [{"channel.rounding": rounding} for rounding in ROUNDINGS]
    grid = (CAMERAS, ISPS, LAMBDAS, SEEDS)
    uri = synthetic_tracking.fill(folder, "judged", *grid, tested=True, verdicts=True, pretrained=True, axes=axes)
    snapshot = tracking.read(uri, "judged")
    assert snapshot is not None
    plan = [
        {"camera": camera, "isp": isp, "lambda": lam, "seed": seed, "channel.rounding": rounding}
        | {"key": f"{camera}/{isp}/{lam}/{seed}/{rounding}"}
        for rounding in ROUNDINGS
        for camera in CAMERAS
        for isp in ISPS
        for lam in LAMBDAS
        for seed in SEEDS
    ]
    return Content.of(snapshot, plan, Provenance())


@pytest.fixture(scope="module")
def page(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report("judged", content.snapshot, tmp_path_factory.mktemp("report"), content.plan)


@pytest.fixture(scope="module")
def text(page: Path) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.read_text()).split())


def table(page: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(page.parent / "tables" / f"{name}.csv")


def test_the_headline_is_behind_real_encoders(content: Content, text: str) -> None:
    gains = results.gain(results.behind(content.trials, "real"))
    best = results.best_within(gains, 3).nlargest(1, "accuracy").iloc[0]
    joint = 100 * (best["fixed_test_accuracy"] + best["test_accuracy"])
    assert "telling photo manipulations apart behind real encoders by" in text
    assert f"ISP fixed to {joint:.1f} %" in text
    assert f"Behind dJPEG, as in training, it would be {joint + 10:.1f} %: the gap is −10.0 points." in text
    assert text.index("Best accuracy behind real encoders for a") < text.index("Best accuracy for a bounded loss")


@pytest.mark.parametrize("name", ["gains", "fronts", "fronts-by-seed", "confusions", "equal-psnr"])
def test_real_encoders_have_a_table_beside_that_of_djpeg(page: Path, name: str) -> None:
    assert len(table(page, name)) > 0
    real = table(page, f"{name}-real")
    rows = real[real["codec"] == "real"] if name == "confusions" else real
    assert len(rows) == len(table(page, name))


def test_real_encoders_come_first(page: Path) -> None:
    html = page.read_text()
    for kind in ("PSNR (dB) against accuracy", "SSIM against accuracy"):
        first, second = (html.index(f'aria-label="{kind}{behind}, Alpha') for behind in (" behind real encoders", ""))
        assert first < second
    opened = re.findall(r"<details( open)?>\n<summary>(Alpha · UNet · channel.rounding sin · [^<]+)</summary>", html)
    assert [behind for _, behind in opened] == [
        f"Alpha · UNet · channel.rounding sin · {behind}" for behind in ("real encoders", "dJPEG")
    ]
    headings = re.findall(r"<th>([^<]+\((?:%|points)\))</th>", html[html.index("All settings") :])
    assert headings[:3] == ["Real encoders (%)", "dJPEG (%)", "Gap (points)"]


def test_gaps_are_those_of_the_formula(page: Path) -> None:
    metrics = table(page, "metrics")
    for prefix in ("", "test_"):
        np.testing.assert_allclose(metrics[f"{prefix}accuracy_real"], metrics[f"{prefix}accuracy"] - 0.1)
        np.testing.assert_allclose(metrics[f"{prefix}gap"], -0.1)
    real, trained = table(page, "fronts-real"), table(page, "fronts")
    assert (real["hypervolume_psnr"] < trained["hypervolume_psnr"]).all()
    np.testing.assert_allclose(real["psnr_at_0.5"], real["psnr_at_0.5"].clip(upper=43))
    assert table(page, "best")["accuracy_real"].is_monotonic_decreasing


def test_unseen_encoders_are_marked_in_every_table(page: Path, text: str) -> None:
    panel = table(page, "panel")
    assert set(panel.loc[panel["unseen"], "codec"]) == {"webp:50", "avif:50"}
    assert set(panel.loc[~panel["unseen"], "codec"]) == {"real", "worst", "jpeg:50", "jpeg:50 4:2:0"}
    printed = (page.parent / "tables" / "panel.tex").read_text()
    settings = 2 * len(panel) / 6  # test and validation
    assert printed.isascii()
    assert printed.count(r"$\dagger$") == 2 * settings
    assert "webp:50 †" in text  # in the figures, too
    assert "jpeg:50 †" not in text


def test_pattern_and_axes_are_told_apart_at_equal_psnr(text: str, page: Path) -> None:
    assert "Behind real encoders, UNet is less accurate than Pattern at equal PSNR (" in text
    assert "a fixed pattern does better than joint training." in text
    told = "channel.rounding straight-through is more accurate than sin at equal PSNR (+10.0 [+10.0, +10.0] points"
    assert f"Behind real encoders, {told}" in text
    assert f"Each behind the channel of its own training, {told}" in text
    found = table(page, "equal-psnr-real")
    rounding = found[found["axis"] == "channel.rounding"]
    np.testing.assert_allclose(rounding["difference"], 0.1)
    assert set(rounding["camera"]) == set(CAMERAS)
    labels = re.findall(r'aria-label="Fronts by channel.rounding behind real encoders, ([^"]+)"', page.read_text())
    assert sorted(labels) == sorted(f"{camera} · {isp}" for camera in CAMERAS for isp in ISPS)


def pairs(differences: list[float], at: float = 31.0) -> pd.DataFrame:
    seeds = range(len(differences))
    first = [0.5 + difference for difference in differences]
    return pd.DataFrame(
        {"camera": "Alpha", "at": at, "seed": seeds, "first": first, "second": 0.5, "difference": differences}
    )


@pytest.mark.parametrize(
    ("differences", "says"),
    [
        (
            [0.10, 0.12, 0.11],
            "Behind real encoders, UNet is more accurate than Pattern at equal PSNR (+11.0 [+8.5, +13.5]",
        ),
        ([-0.10, -0.12, -0.11], "UNet is less accurate than Pattern"),
        ([-0.10, 0.12, 0.11], "cannot be told whether UNet and Pattern differ at equal PSNR: the interval holds zero"),
        ([0.1], "one seed has no interval (+10.0 points, mean from 31 to 31 dB, 1 seed)."),
        ([], "their fronts share no PSNR, or no seed."),
    ],
)
def test_one_sentence_says_which_way_it_falls(content: Content, differences: list[float], says: str) -> None:
    assert content.real is not None
    told = sentence(Contest("isp", "UNet", "Pattern"), pairs(differences), content.real)
    assert says in told
    assert ("joint training does more than a fixed pattern" in told) == (differences == [0.10, 0.12, 0.11])


def test_an_axis_is_compared_with_its_first_value_in_the_study_file(content: Content) -> None:
    assert [(contest.axis, contest.first, contest.second) for contest in comparison.pairs_of_values(content)] == [
        ("isp", "UNet", "Pattern"),
        ("channel.rounding", "straight-through", "sin"),
    ]


def test_breakdowns_are_named(content: Content, text: str) -> None:
    assert "joint trials broke down." in text
    assert text.index("None of 32 joint trials broke down.") > 0
    found = results.breakdowns(content.psnr[content.psnr["mode"] != results.FIXED])
    found.loc[found["seed"] == 2, ["broken", "lost"]] = [True, 4.2]
    shown = steadiness.steadiness(found)
    assert set(
        shown.printed["", "Broke down"] if ("", "Broke down") in shown.printed else shown.printed["Broke down"]
    ) == {"1 of 2"}
    assert len(shown.printed) == 16
    assert len(shown.numbers) == 32
    assert steadiness.steadiness(found.assign(broken=False)).printed.empty


def test_some_trials_without_a_verdict(content: Content, tmp_path: Path) -> None:
    """Those have their place behind dJPEG alone. One camera and rounding, because every section is built anew."""
    trials = content.trials[
        (content.trials["camera"] == "Alpha") & (content.trials["channel.rounding"] == "sin")
    ].copy()
    plan = [planned for planned in content.plan if planned["key"] in set(trials["trial_key"])]
    trials.loc[trials["isp"] == "Pattern", [name for name in trials if "accuracy_real" in name]] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "trials", lambda snapshot: trials)
        page = report("some", content.snapshot, tmp_path, plan)
    assert set(table(page, "gains-real")["isp"]) == {"UNet"}
    assert set(table(page, "gains")["isp"]) == {"UNet", "Pattern"}
    assert set(table(page, "best")["isp"]) == {"UNet"}
