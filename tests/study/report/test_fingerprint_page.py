"""The page of the PRNU experiments: complete, self-contained, and its tables hold every number with its interval."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_fingerprints
from scipy import optimize, stats
from synthetic_fingerprints import LAMBDAS, LOST, PHOTOGRAPHS, PIPELINES
from test_page import Document

from prnu.experiment import DEVELOPED, RECEIVED, Attribution, CameraResult
from prnu.lowlight import LowLight
from prnu.recovery import Recovery
from study.report import fingerprint_statistics
from study.report.fingerprint_page import page
from study.report.sections.fingerprints import localisation, low_light, mistakes, recovery, survival
from study.report.tables import Table, estimate

CAMERAS = ("Alpha <1>", "sim & co")


@pytest.fixture(scope="module")
def cameras() -> list[CameraResult]:
    return [
        synthetic_fingerprints.camera(name, seed=seed, simulated=name.startswith("sim"))
        for seed, name in enumerate(CAMERAS)
    ]


@pytest.fixture(scope="module")
def written(cameras: list[CameraResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = [synthetic_fingerprints.low_light(CAMERAS[0])]
    folder = tmp_path_factory.mktemp("page")
    return page("Study <&>", cameras, found, LAMBDAS, folder, {"Clock": "2 h"}, simulated=CAMERAS[1:])


@pytest.fixture(scope="module")
def document(written: Path) -> Document:
    return Document(written.read_text())


def test_nothing_is_loaded_from_outside(document: Document) -> None:
    for tag, name, value in document.attributes:
        if name in ("src", "href", "xlink:href", "srcset"):
            assert value.startswith(("#", "data:")), (tag, name, value[:80])


def test_every_reference_finds_its_target(document: Document) -> None:
    defined = {value for _, name, value in document.attributes if name == "id"}
    used = {value[1:] for _, name, value in document.attributes if name.endswith("href") and value.startswith("#")}
    assert used <= defined
    assert used


def test_everything_is_shown(written: Path, document: Document) -> None:
    drawn = [value for tag, name, value in document.attributes if (tag, name) == ("svg", "aria-label")]
    for camera in CAMERAS:
        assert f"Maps of tampering probability, {camera} · developed by libraw" in drawn
        assert f"PCE and AUC against λ, {camera} · UNet" in drawn
    assert "False matches by λ, UNet" in drawn
    assert "Correlation with the true pattern by number of photographs, sim & co" in drawn
    files = list((written.parent / "figures").iterdir())
    assert len(files) == len(drawn) == 6
    assert all(path.read_bytes().startswith(b"%PDF") for path in files)
    for text in (
        "Study <&>: sensor fingerprints",
        "2 cameras, 7 pipelines, 2 of them jointly trained.",
        "Simulated data. The photographs of sim & co come from a camera simulation",
        "photographs of simulated cameras neither reproduce nor refute absolute numbers",
        "9 images for fingerprints, 3 for predictors, 4 evaluated; crops of 192 × 192 px",
        "Clock",
        "paper, Sony ILCE-7SM2",
        "a pixel counts for the PCE by the inverse variance of its noise",
        "by an L₂ loss, the paper’s (Chen et al. 2018) by L₁",
        "it leaves out the rim of the map",
    ):
        assert text in document.text


def test_heat_maps_hold_the_matrices(written: Path, document: Document, cameras: list[CameraResult]) -> None:
    titles = [value for tag, name, value in document.attributes if (tag, name) == ("td", "title")]
    assert len(titles) == 2 * len(CAMERAS) * len(PIPELINES) ** 2
    assert f"libraw, standard: {cameras[0].correlations[0, 1]:.4f}" in titles
    assert sum(title.startswith("model by libraw, photographs by libraw: 0.515 [") for title in titles) == 2
    shades = [
        float(value.removeprefix("--share:"))
        for tag, name, value in document.attributes
        if (tag, name) == ("td", "style")
    ]
    assert (min(shades), max(shades)) == (0, 1)


def test_tables_are_files_and_downloads(written: Path, document: Document, cameras: list[CameraResult]) -> None:
    tables = written.parent / "tables"
    offered = {value for tag, key, value in document.attributes if (tag, key) == ("a", "download")}
    assert offered | {"pairs.csv"} == {path.name for path in tables.iterdir()}
    for path in tables.glob("*.tex"):
        assert path.read_text().isascii()
        assert path.read_text().startswith(r"\begin{tabular}")
    correlations = pd.read_csv(tables / "correlations.csv").query("camera == @CAMERAS[1]")
    np.testing.assert_allclose(correlations["correlation"], cameras[1].correlations.ravel(), rtol=1e-6)
    f1 = pd.read_csv(tables / "best-f1.csv").query("camera == @CAMERAS[0]")
    np.testing.assert_allclose(f1["best_f1"], cameras[0].mean_f1.ravel())
    assert (f1["low"] < f1["best_f1"]).all()
    assert (f1["best_f1"] < f1["high"]).all()
    recovery = pd.read_csv(tables / "recovery.csv")
    assert set(recovery["camera"]) == {CAMERAS[1]}
    known = recovery[recovery["pipeline"] != LOST]
    np.testing.assert_allclose(known[["a", "b"]], np.tile([4, 60], (len(known), 1)), rtol=1e-3)
    assert recovery.loc[recovery["pipeline"] == LOST, ["a", "b"]].isna().all(axis=None)
    pairs = pd.read_csv(tables / "pairs.csv")
    assert len(pairs) == len(CAMERAS) * len(PIPELINES) * 2 * 3 * PHOTOGRAPHS  # twice as many of others
    theirs = pd.read_csv(tables / "low-light.csv").tail(3)
    assert theirs["mean_pce"].tolist() == [470, 807, 13]
    assert theirs["correlation with UNet (short)"].tolist() == [0.08, 0.09, 1]


def test_pairs_are_pooled_over_cameras_and_instances(written: Path) -> None:
    found = pd.read_csv(written.parent / "tables" / "mistakes.csv").set_index(["isp", "setting", "lam", "view"])
    lost = found.loc[("UNet", "joint", LAMBDAS[LOST], DEVELOPED)]
    assert (lost["mistaken"], lost["mistaken_pairs"]) == (10, 40)
    assert lost["mistaken_low"] < 0.25 < lost["mistaken_high"]
    fixed = found.loc[("UNet", "fixed", math.nan, DEVELOPED)]
    assert (fixed["found_pairs"], fixed["mistaken_pairs"]) == (40, 80)  # two instances
    assert found.loc[("INet", "INet", math.nan, RECEIVED), "found_pairs"] == 20


def test_the_tables_hold_what_the_synthetic_results_say(written: Path, document: Document) -> None:
    tables = {path.stem: pd.read_csv(path) for path in (written.parent / "tables").glob("*.csv")}
    P = len(PIPELINES)
    correlations = tables["correlations-in-short"].set_index("sample")
    everything = correlations.loc["all"]
    assert everything["number"] == 42
    assert (everything["least"], everything["greatest"]) == pytest.approx((0.9 / (1 + (P - 1) / P), 0.9 / (1 + 1 / P)))
    assert everything["mean_low"] < everything["mean"] < everything["mean_high"]
    joint = [0.9 / (1 + place / P) for place in (4, 5)]  # the standard pipeline comes second, these last
    assert correlations.loc["standard and jointly trained", "mean"] == pytest.approx(np.mean(joint))
    assert correlations.loc["standard and others", "number"] == 8

    difference = tables["best-f1-compared"].set_index("sample").loc["difference"]
    assert difference["number"] == 8
    np.testing.assert_allclose(difference[["mean", "mean_low", "mean_high"]].astype(float), 0.1)

    dark = tables["low-light"].set_index("pipeline").loc["libraw (short)"].iloc[0]
    assert (dark["found"], dark["found_pairs"], dark["mistaken"], dark["mistaken_pairs"]) == (7, 8, 0, 16)

    survived = tables["survival"].set_index(["isp", "setting", "lam", "view"])
    lost, fixed = (survived.loc[("UNet", *key, DEVELOPED)] for key in (("joint", 0.0005), ("fixed", math.nan)))
    assert (lost["found"], lost["found_pairs"], lost["mistaken"], lost["mistaken_pairs"]) == (0, 20, 10, 40)
    assert (fixed["found"], fixed["pce"], fixed["mistaken"], fixed["mistaken_pairs"]) == (40, 145, 0, 80)

    recovered = tables["recovery-in-short"].set_index(["isp", "setting", "lam", "view"])
    rho = {key: recovered.loc[("UNet", *key, DEVELOPED), "rho"] for key in (("joint", 0.0005), ("fixed", math.nan))}
    assert list(rho.values()) == pytest.approx([-0.001, (4 + 60 / 9) ** -0.5])
    assert recovered["chance"].unique() == pytest.approx([1 / 192, 2 / 192])

    joint = tables["mistakes"].set_index(["isp", "view"]).loc["all jointly trained"]
    assert joint["mistaken"].tolist() == [10, 0]
    assert joint["mistaken_pairs"].tolist() == [80, 80]
    assert (tables["mistakes"]["isp"] == "standard").sum() == 2

    example = tables["example-f1"].query("camera == @CAMERAS[0]").set_index("model")["best_f1"]
    assert example.idxmin() == LOST
    for text in (
        "difference 8 0.100 [0.100, 0.100]",
        "libraw (short) 0.30 1.00 0.10 8 265 132 87.5 [52.9, 97.8] 16 0.0 [0.0, 19.4]",
        "UNet, fixed as developed 40 145 [120, 170] 100.0 [91.2, 100.0] 80 0.0 [0.0, 4.6] 1.000 [0.963, 1.000]",
        "UNet, λ = 0.0005 as developed 1 −0.001 ± 0.005",
        "standard – as developed 0.125 0.171 0.229 0.295 0.306 ± 0.005 4.0 + 60/N 0.0",
        "all jointly trained as developed 80 12.5 [6.9, 21.5]",
    ):
        assert text in document.text


def frame(**same: float) -> pd.DataFrame:
    """Attributions of one camera, all photographs of a pipeline having the PCE of its name."""
    result = synthetic_fingerprints.camera("camera", ("standard", "UNet"), images=2, size=128)
    entries = tuple(
        Attribution(name.replace("_", " λ "), DEVELOPED, (pce, 1.1 * pce) * 10, (1.0,) * 20)
        for name, pce in same.items()
    )
    return fingerprint_statistics.attributions(
        [CameraResult(**{**vars(result), "attributions": entries})], {"UNet λ x": 0.1}
    )


def row(table: Table, **names: str) -> pd.Series:
    """The printed row of these names (lower headings), its cells by their headings, without empty ones."""
    printed = table.printed
    for heading, text in names.items():
        printed = printed[printed["", heading] == text] if printed.columns.nlevels > 1 else printed
    (found,) = printed.to_dict("records")
    return pd.Series(found)


@pytest.mark.parametrize(
    ("fixed", "joint", "shares"),
    [
        (500.0, 5.0, ("100.0 [83.9, 100.0]", "0.0 [0.0, 16.1]")),
        (500.0, 100.0, ("100.0 [83.9, 100.0]", "100.0 [83.9, 100.0]")),
        (100.0, 500.0, ("100.0 [83.9, 100.0]", "100.0 [83.9, 100.0]")),
        (5.0, 500.0, ("0.0 [0.0, 16.1]", "100.0 [83.9, 100.0]")),
        (5.0, 58.0, ("0.0 [0.0, 16.1]", "50.0 [29.9, 70.1]")),
    ],
)
def test_joint_training_stands_beside_the_fixed_pipeline(fixed: float, joint: float, shares: tuple[str, str]) -> None:
    table = survival.survival(frame(standard=1.0, UNet=fixed, UNet_x=joint))
    names = ("UNet, fixed", "UNet, λ = 0.1")
    for name, pce, share in zip(names, (fixed, joint), shares, strict=True):
        found = row(table, Pipeline=name)
        assert found["Same camera", "> 60 (%)"] == share
        assert found["Same camera", "PCE"].startswith(f"{1.05 * pce:.{0 if pce > 10 else 1}f} [")
    alone = survival.survival(frame(standard=fixed, UNet_x=joint))
    assert alone.printed["", "Pipeline"].tolist() == ["standard", "UNet, λ = 0.1"]
    assert alone.printed["Same camera", "> 60 (%)"].tolist() == list(shares)


def test_matches_that_other_cameras_share_stand_beside_those_of_the_same() -> None:
    pairs = frame(standard=1.0, UNet=500.0, UNet_x=900.0)
    mistaken = pairs.assign(
        other=[same if isp == "UNet" else (1.0,) * 20 for same, isp in zip(pairs["same"], pairs["isp"], strict=True)]
    )
    found = row(survival.survival(mistaken), Pipeline="UNet, λ = 0.1")
    assert found["Same camera", "PCE"].startswith("945 [")
    assert found["Other cameras", "Pairs"] == "20"
    assert found["Same camera", "> 60 (%)"] == found["Other cameras", "> 60 (%)"] == "100.0 [83.9, 100.0]"
    assert found["", "AUC"].startswith("0.500 [")
    alone = row(survival.survival(pairs.assign(other=[()] * len(pairs))), Pipeline="UNet, λ = 0.1")
    assert (alone["Other cameras", "Pairs"], alone["Other cameras", "> 60 (%)"], alone["", "AUC"]) == ("0", "–", "–")


@pytest.mark.parametrize(("fixed", "joint"), [(0.3, 0.01), (0.01, 0.01), (0.3, 0.1), (0.3, 0.29), (0.3, 0.4)])
def test_a_recovery_stands_beside_that_of_the_fixed_pipeline(fixed: float, joint: float) -> None:
    """The mean over cameras, with its interval, and what chance would give."""
    results = []
    for name, shift in (("one", -0.005), ("two", 0.005)):
        result = synthetic_fingerprints.camera(name, ("standard", "UNet", "UNet x"), images=2, size=128)
        entries = tuple(
            Recovery(name, DEVELOPED, (1, 2), (rho / 2, rho + shift), 128**2)
            for name, rho in zip(result.pipelines, (0.5, fixed, joint), strict=True)
        )
        results.append(CameraResult(**{**vars(result), "recoveries": entries}))
    table = recovery.in_short(recovery.recoveries(results, {"UNet x": 0.1}))
    printed = table.printed.set_index("Pipeline")
    half = 12.7062 * 0.005  # Student's t of two cameras
    assert printed["Mean ρ"].tolist() == [estimate((rho, rho - half, rho + half), 3) for rho in (0.5, fixed, joint)]
    assert printed.index.tolist() == ["standard", "UNet, fixed", "UNet, λ = 0.1"]
    assert set(printed["By chance"]) == {"± 0.008"}
    assert set(printed["Cameras"]) == {"2"}


def test_a_correlation_off_the_law_is_measured() -> None:
    law = [(4 + 60 / N) ** -0.5 for N in (1, 2, 4, 8)]
    entry = Recovery("standard", DEVELOPED, (1, 2, 4, 8), (*law[:2], 1.1 * law[2], law[3]), 1024**2)
    result = synthetic_fingerprints.camera("camera", ("standard",), images=2, size=128)
    found = recovery.recoveries([CameraResult(**{**vars(result), "recoveries": (entry,)})], {})
    expected = max(abs(entry.at(N) / rho - 1) for N, rho in zip(entry.images, entry.correlations, strict=True))
    assert found["deviation"].max() == pytest.approx(expected)
    assert row(recovery.recovery(found))["", "Largest deviation (%)"] == f"{100 * expected:.1f}"
    assert expected > 0.02


@pytest.mark.parametrize(("standard", "joint"), [(0, 0), (0, 20), (18, 20)])
def test_false_matches_stand_beside_those_of_the_standard_pipeline(standard: int, joint: int) -> None:
    result = synthetic_fingerprints.camera("camera", ("standard", "UNet x"), images=2, size=128)
    entries = tuple(
        Attribution(name, RECEIVED, (100.0,), (90.0,) * false + (1.0,) * (40 - false))
        for name, false in zip(result.pipelines, (standard, joint), strict=True)
    )
    pairs = fingerprint_statistics.attributions(
        [CameraResult(**{**vars(result), "attributions": entries})], {"UNet x": 0.1}
    )
    table = mistakes.mistakes(pairs)
    for name, count in (("standard", standard), ("UNet, λ = 0.1", joint), ("all jointly trained", joint)):
        found = row(table, Pipeline=name)
        low, high = (100 * bound for bound in stats.binomtest(count, 40).proportion_ci(method="wilson"))
        assert found["Other cameras", "> 60 (%)"] == f"{count / 0.4:.1f} [{low:.1f}, {high:.1f}]"
        assert found["Other cameras", "Pairs"] == "40"
        assert found["", "Photographs"] == "after the channel"


def test_an_isp_stands_between_the_standard_pipeline_and_its_smallest_lambda(cameras: list[CameraResult]) -> None:
    pairs = fingerprint_statistics.attributions(cameras, LAMBDAS)
    points = fingerprint_statistics.of_isp(pairs, "UNet").query("view == @DEVELOPED")
    assert [fingerprint_statistics.label(row) for row in points.to_dict("records")] == [
        "standard",
        "UNet, fixed",
        "UNet, λ = 0.05",
        "UNet, λ = 0.0005",
    ]
    assert fingerprint_statistics.isp_of("UNet 3") == "UNet"
    assert fingerprint_statistics.isp_of("libraw") == "libraw"


def test_maps_that_are_all_alike_differ_by_nothing() -> None:
    result = synthetic_fingerprints.camera("camera", size=128)
    alike = CameraResult(**{**vars(result), "f1": result.f1[:1, :1].expand_as(result.f1)})
    assert localisation.compared([alike]).printed["Mean"].iloc[-1] == "0.000 [0.000, 0.000]"


def test_a_pattern_that_other_cameras_match_is_seen_in_the_table() -> None:
    pattern = Attribution("UNet (short)", DEVELOPED, (100.0,) * 9, (90.0,) * 9)
    results = [LowLight(name, (pattern.pipeline,), ((1.0,),), (pattern,)) for name in ("one", "two")]
    table = low_light.low_light(results)
    for name in ("one", "two"):
        found = row(table, Camera=name)
        assert found["Same camera", "> 60 (%)"] == found["Other cameras", "> 60 (%)"] == "100.0 [70.1, 100.0]"


def test_an_interval_of_auc_holds_what_the_auc_does_not_contradict() -> None:
    """Hanley & McNeil 1982 for the variance, at the bounds themselves, groups being of one size."""
    n = 30

    def distance(theta: float, auc: float) -> float:
        q1, q2 = theta / (2 - theta), 2 * theta**2 / (1 + theta)
        variance = (theta * (1 - theta) + (n - 1) * (q1 + q2 - 2 * theta**2)) / n**2
        return (auc - theta) ** 2 - 1.959964**2 * variance

    for auc in (0.6, 0.9, 1.0):
        low, high = fingerprint_statistics.auc_interval(auc, n, n)
        assert low == pytest.approx(optimize.brentq(distance, 0.01, auc - 1e-6, args=(auc,)), abs=2e-4)
        expected = 1.0 if auc == 1 else optimize.brentq(distance, auc + 1e-6, 1 - 1e-6, args=(auc,))
        assert high == pytest.approx(expected, abs=2e-4)


def test_parts_that_are_missing_are_said(tmp_path: Path) -> None:
    document = Document(page("empty", [], [], {}, tmp_path, {}).read_text())
    for text in (
        "No camera has been examined yet.",
        "The experiment in low light has not been run for this study.",
        "No jointly trained pipeline has been examined, so nothing can be said about λ.",
        "No photographs of other cameras have been compared.",
    ):
        assert text in document.text
    assert not (tmp_path / "figures").exists()


def test_one_camera_one_pipeline_one_image(tmp_path: Path) -> None:
    only = synthetic_fingerprints.camera("only", ("standard",), images=1, size=128)
    light = LowLight("only", ("libraw (long)",), ((1.0,),), (Attribution("libraw (long)", DEVELOPED, (70.0,), ()),))
    document = Document(page("one", [only], [light], {}, tmp_path, {}).read_text())
    for text in (
        "There is only one pipeline, and nothing to compare its fingerprint with.",
        "There is only one pipeline, so no mismatch to speak of.",
        "only libraw (long) 1.00 1 70 – 100.0 [20.7, 100.0] 0 – –",
        "No jointly trained pipeline has developed photographs of another camera",
        "as developed",
    ):
        assert text in document.text
    assert "nan " not in document.text
