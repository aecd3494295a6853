"""The page of the PRNU experiments: complete, self-contained, and its sentences made of its numbers."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_fingerprints
from scipy import optimize
from synthetic_fingerprints import LAMBDAS, LOST, PHOTOGRAPHS, PIPELINES
from test_page import Document

from prnu.experiment import DEVELOPED, RECEIVED, Attribution, CameraResult
from prnu.lowlight import LowLight
from prnu.recovery import Recovery
from study.report import fingerprint_page, fingerprint_tables
from study.report.fingerprint_page import page

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
    assert len(pairs) == len(CAMERAS) * len(PIPELINES) * 2 * 3 * PHOTOGRAPHS  # twice as many strangers
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


def test_findings_are_made_of_the_numbers(document: Document, cameras: list[CameraResult]) -> None:
    P = len(PIPELINES)
    least, greatest = 0.9 / (1 + (P - 1) / P), 0.9 / (1 + 1 / P)
    for text in (
        f"over 42 pairs of pipelines on 2 cameras, correlations range from {least:.2f} (libraw and {LOST} on",
        f"to {greatest:.2f}, median",
        "Forgeries are found better by 0.100 with a camera model by the same pipeline",
        "difference 0.100 [0.100, 0.100] over 8 images of 2 cameras",
        "most photographs by UNet (short) do not match even the fingerprint of their own pipeline",
        "7 of 8 photographs (87.5 %, 95 % interval 52.9 to 97.8 %) by libraw (short) against 0 of 16 of other cameras",
        "joint training of UNet at λ = 0.0005 makes most photographs lose their fingerprint: 0 of 20 photographs",
        "(100.0 %, 95 % interval 91.2 to 100.0 %), median 145, as do 0 of 80 of other cameras, AUC 1.000",
        f"On {CAMERAS[1]}, the standard pipeline’s fingerprint of 9 photographs correlates with 0.306 with",
        "joint training of UNet at λ = 0.0005 wipes the sensor’s pattern out: the correlation is −0.001 against",
        "Before the channel, the learned artefact is mistaken for a fingerprint: 10 of 80 pairs",
        "After the channel, no pair of different cameras by one jointly trained pipeline exceeds PCE 60: 0 of 80 pairs",
    ):
        assert text in document.text


def frame(**same: float) -> pd.DataFrame:
    """Attributions of one camera, all photographs of a pipeline having the PCE of its name."""
    result = synthetic_fingerprints.camera("camera", ("standard", "UNet"), images=2, size=128)
    entries = tuple(
        Attribution(name.replace("_", " λ "), DEVELOPED, (pce, 1.1 * pce) * 10, (1.0,) * 20)
        for name, pce in same.items()
    )
    return fingerprint_tables.attributions(
        [CameraResult(**{**vars(result), "attributions": entries})], {"UNet λ x": 0.1}
    )


@pytest.mark.parametrize(
    ("fixed", "joint", "verdict"),
    [
        (500.0, 5.0, "makes most photographs lose their fingerprint"),
        (500.0, 100.0, "weakens the fingerprint, but photographs still match it"),
        (500.0, 500.0, "keeps the fingerprint"),
        (100.0, 500.0, "strengthens the fingerprint"),
        (5.0, 500.0, "brings the fingerprint out in more photographs"),
        (5.0, 6.0, "finds hardly a fingerprint to lose"),
    ],
)
def test_joint_training_is_judged_by_the_fixed_pipeline(fixed: float, joint: float, verdict: str) -> None:
    (finding,) = fingerprint_page.survival_findings(frame(standard=1.0, UNet=fixed, UNet_x=joint))
    assert f"joint training of UNet at λ = 0.1 {verdict}:" in finding
    assert finding.endswith("by UNet, fixed.")
    (without,) = fingerprint_page.survival_findings(frame(standard=fixed, UNet_x=joint))
    assert verdict in without
    assert without.endswith("by standard.")


def test_matches_that_strangers_share_are_no_fingerprint() -> None:
    """Whatever the PCE: the same ISP without joint training does no better, so that no difference shows."""
    pairs = frame(standard=1.0, UNet=500.0, UNet_x=900.0)
    mistaken = pairs.assign(
        other=[same if isp == "UNet" else (1.0,) * 20 for same, isp in zip(pairs["same"], pairs["isp"], strict=True)]
    )
    (finding,) = fingerprint_page.survival_findings(mistaken)
    alone = pairs.assign(other=[()] * len(pairs))
    assert "other cameras" not in fingerprint_page.survival_findings(alone)[0]
    assert "leaves nothing that tells of the sensor, as photographs of other cameras match, too: 20 of 20" in finding
    assert "median 945, as do 20 of 20 of other cameras, AUC 0.500" in finding


@pytest.mark.parametrize(
    ("fixed", "joint", "verdict"),
    [
        (0.3, 0.01, "wipes the sensor’s pattern out"),
        (0.01, 0.01, "finds none of the sensor’s pattern to lose"),
        (0.3, 0.1, "costs part of the sensor’s pattern"),
        (0.3, 0.29, "keeps the sensor’s pattern"),
        (0.3, 0.4, "brings out more of the sensor’s pattern"),
    ],
)
def test_a_recovery_is_judged_by_the_fixed_pipeline(fixed: float, joint: float, verdict: str) -> None:
    result = synthetic_fingerprints.camera("camera", ("standard", "UNet", "UNet x"), images=2, size=128)
    entries = tuple(
        Recovery(name, DEVELOPED, (1, 2), (rho / 2, rho), 128**2)
        for name, rho in zip(result.pipelines, (0.5, fixed, joint), strict=True)
    )
    cameras = [CameraResult(**{**vars(result), "recoveries": entries})]
    standard, finding = fingerprint_page.recovery_findings(cameras, {"UNet x": 0.1})
    assert standard.endswith("correlates with 0.500 with the sensor’s true pattern.")
    assert finding.startswith(f"Before the channel, joint training of UNet at λ = 0.1 {verdict}: the correlation")
    assert f"{joint:.3f} against {fixed:.3f} of UNet, fixed" in finding


@pytest.mark.parametrize(
    ("standard", "joint", "verdict"),
    [
        (0, 0, "no pair of different cameras by one jointly trained pipeline exceeds PCE 60: 0 of 40 pairs (0.0 %"),
        (0, 20, "the learned artefact is mistaken for a fingerprint: 20 of 40 pairs (50.0 %"),
        (18, 20, "false matches occur, though not measurably more often than by the standard pipeline: 20 of 40 pairs"),
    ],
)
def test_false_matches_are_judged_by_the_standard_pipeline(standard: int, joint: int, verdict: str) -> None:
    result = synthetic_fingerprints.camera("camera", ("standard", "UNet x"), images=2, size=128)
    entries = tuple(
        Attribution(name, RECEIVED, (100.0,), (90.0,) * false + (1.0,) * (40 - false))
        for name, false in zip(result.pipelines, (standard, joint), strict=True)
    )
    pairs = fingerprint_tables.attributions(
        [CameraResult(**{**vars(result), "attributions": entries})], {"UNet x": 0.1}
    )
    (finding,) = fingerprint_page.mistakes_findings(pairs)
    assert finding.startswith(f"After the channel, {verdict}")
    assert f"by the standard pipeline, {standard} of 40 pairs" in finding


def test_maps_that_are_all_alike_are_not_told_apart() -> None:
    result = synthetic_fingerprints.camera("camera", size=128)
    alike = CameraResult(**{**vars(result), "f1": result.f1[:1, :1].expand_as(result.f1)})
    finding = fingerprint_page.localisation_finding([alike])
    assert finding.startswith("Forgeries are found neither measurably better nor worse with a camera model by the same")


def test_a_pattern_that_strangers_match_is_no_fingerprint() -> None:
    pattern = Attribution("UNet (short)", DEVELOPED, (100.0,) * 9, (90.0,) * 9)
    results = [LowLight(name, (pattern.pipeline,), ((1.0,),), (pattern,)) for name in ("one", "two")]
    finding, second = fingerprint_page.low_light_findings(results)
    assert finding.startswith(
        "On one, most photographs by UNet (short) match, but so do those of other cameras: PCE exceeds 60"
    )
    assert second.startswith("On two, most")
    assert "100.0 %" in finding


def test_an_interval_of_auc_holds_what_the_auc_does_not_contradict() -> None:
    """Hanley & McNeil 1982 for the variance, at the bounds themselves, groups being of one size."""
    n = 30

    def distance(theta: float, auc: float) -> float:
        q1, q2 = theta / (2 - theta), 2 * theta**2 / (1 + theta)
        variance = (theta * (1 - theta) + (n - 1) * (q1 + q2 - 2 * theta**2)) / n**2
        return (auc - theta) ** 2 - 1.959964**2 * variance

    for auc in (0.6, 0.9, 1.0):
        low, high = fingerprint_tables.auc_interval(auc, n, n)
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
        "every low-light pipeline leaves a fingerprint that most of its photographs match",
        "No jointly trained pipeline has developed photographs of another camera",
        "as developed",
    ):
        assert text in document.text
    assert "nan " not in document.text
