"""The report: complete, self-contained, and honest about what is missing."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking
from mlflow import MlflowClient

from forensics.spectrum import difference_scale, spectrum, spectrum_difference
from study import results, tracking
from study.report import sections
from study.report.content import Content
from study.report.page import Provenance, report
from study.report.sections import fingerprints, missing
from study.report.sections.metrics import KIND, metrics
from study.results import fronts

CAMERAS, ISPS, LAMBDAS, SEEDS = ("Alpha <1>", "Beta & Co"), ("UNet",), (1e-3, 1e-1, "fixed"), (1, 2)
VOID = {"meta", "link", "br", "img", "input", "hr"}


def plan(cameras: tuple[str, ...], seeds: tuple[int, ...]) -> list[dict]:
    return [
        {"camera": camera, "isp": "UNet", "lambda": lam, "seed": seed, "key": f"{camera}/UNet/{lam}/{seed}"}
        for camera in cameras
        for lam in LAMBDAS
        for seed in seeds
    ]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two seeds are finished; of the third one trial failed, the others are missing. One trial is of no plan."""
    folder = tmp_path_factory.mktemp("tracking")
    uri = synthetic_tracking.fill(
        folder, "study", CAMERAS, ISPS, LAMBDAS, SEEDS, examples=True, pretrained=True, evaluated=True
    )
    experiment = MlflowClient(uri).get_experiment_by_name("study").experiment_id
    rows: dict = {}
    for number, (key, status, tags) in enumerate(
        [
            (f"{CAMERAS[0]}/UNet/0.001/3", "FAILED", {"failure": "loss is NaN at iteration 17 <script>"}),
            (f"{CAMERAS[0]}/UNet/0.001/99", "FINISHED", {}),
        ],
        start=1000,
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
            history={"accuracy": [0.0], "psnr": [99.0], "ssim": [1.0]},
        )
    synthetic_tracking.write(uri, rows)
    return uri


@pytest.fixture(scope="module")
def snapshot(uri: str) -> tracking.Snapshot:
    found = tracking.read(uri, "study")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def written(snapshot: tracking.Snapshot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(
        "Study & <co>",
        snapshot,
        tmp_path_factory.mktemp("report"),
        plan(CAMERAS, (*SEEDS, 3)),
        Provenance(
            settings="name: <study>\n",
            simulated={CAMERAS[0]: True, CAMERAS[1]: False},
            notes={"Clock": "2 h"},
        ),
    )


class Document(HTMLParser):
    """Every tag closed, in order; all attributes and all text gathered, a space after every cell of a table."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.stack == []
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag
        if tag in ("td", "th"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.text += data


@pytest.fixture(scope="module")
def document(written: Path) -> Document:
    return Document(written.read_text())


def test_nothing_is_loaded_from_outside(written: Path, document: Document) -> None:
    for tag, name, value in document.attributes:
        if name in ("src", "href", "xlink:href", "srcset"):
            assert value.startswith(("#", "data:")), (tag, name, value[:80])
    assert not re.search(r"@import|url\((?!#)", written.read_text())


def test_every_reference_finds_its_target(written: Path, document: Document) -> None:
    page = written.read_text()
    defined = {value for _, name, value in document.attributes if name == "id"}
    used = set(re.findall(r"url\(#([^)]+)\)", page)) | {
        value[1:] for _, name, value in document.attributes if name.endswith("href") and value.startswith("#")
    }
    assert used <= defined
    assert used


def test_everything_is_shown(document: Document) -> None:
    drawn = [value for tag, name, value in document.attributes if (tag, name) == ("svg", "aria-label")]
    for camera in CAMERAS:
        assert f"PSNR (dB) against accuracy, {camera}" in drawn
        assert f"SSIM against accuracy, {camera}" in drawn
        assert f"Training progress, {camera} · UNet" in drawn
        assert f"Validation patch 1, {camera} · UNet · λ = 0.1, seed 1" in drawn
        assert f"Spectra of learned distortions, {camera} · UNet" in drawn
        assert f"Accuracy behind real encoders, {camera} · UNet" in drawn
        assert f"Accuracy of decisions about images, {camera} · UNet" in drawn
    for text in (
        "Study & <co>",
        "λ = 0.001 →",
        "fixed →",
        "name: <study>",
        "Clock",
        "Data hash, Beta & Co fingerprint of Beta & Co",
        "a reference point of 20 dB (SSIM 0.5) and 20 % accuracy",
        "Device time 0.20 h of trials, 0.07 h of pre-training",
        "The paper’s own table, which shares no camera × ISP with this study",
        "paper, mean of 8 cameras",
    ):
        assert text in document.text
    assert "The photographs of Alpha <1> come from a camera simulation" in document.text


def test_what_is_missing_is_named(document: Document) -> None:
    assert "12 of 18 planned trials finished; 6 without a result" in document.text
    assert "failed: loss is NaN at iteration 17 <script>" in document.text
    assert document.text.count("not started") == 5
    assert "1 trial in the tracking store belongs to another state of the study file" in document.text
    assert "99.0" not in document.text


def test_headline_is_the_greatest_gain_within_the_budget(snapshot: tracking.Snapshot, document: Document) -> None:
    gains = results.gain(results.trials(snapshot).query("seed < 3"))
    best = gains[(gains["psnr"] >= -3)].nlargest(1, "accuracy").iloc[0]
    assert best["lam"] == 0.1
    low, high = 100 * best["fixed_accuracy"], 100 * (best["fixed_accuracy"] + best["accuracy"])
    assert f"from {low:.1f} % with the ISP fixed to {high:.1f} %" in document.text
    assert "on the validation photographs." in document.text
    assert "There are no test photographs: accuracy is measured where λ was chosen" in document.text
    for sentence in ("raises", "improves", "bootstrap intervals"):
        assert sentence not in document.text.partition("Fidelity against accuracy")[0]


def test_tables_are_files_and_downloads(snapshot: tracking.Snapshot, written: Path, document: Document) -> None:
    expected = results.summary(results.trials(snapshot).query("seed < 3"))
    content = (written.parent / "tables" / "metrics.csv").read_text()
    found = pd.read_csv(io.StringIO(content))
    for column in ("camera", "isp", "lam", "seeds", "accuracy", "accuracy_low", "psnr_std", "ssim"):
        pd.testing.assert_series_equal(found[column], expected[column], check_dtype=False)
    downloads = [value for _, name, value in document.attributes if name == "href" and value.startswith("data:text")]
    assert content in [base64.b64decode(value.split(",")[1]).decode() for value in downloads]
    trials = pd.read_csv(written.parent / "tables" / "trials.csv")
    assert len(trials) == 13  # those planned that have a run
    confusions = pd.read_csv(written.parent / "tables" / "confusions.csv")
    np.testing.assert_allclose(confusions.groupby(["camera", "lam", "true"], dropna=False)["share"].sum(), 1)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("gains", 2),
        ("fronts", 2),
        ("metrics", 6),
        ("paper", 88),
        ("confusions", 150),
        ("codecs", 18),
        ("pretraining", 2),
    ],
)
def test_every_table_is_there_twice(written: Path, document: Document, name: str, rows: int) -> None:
    content = (written.parent / "tables" / f"{name}.csv").read_text()
    wanted = 2 * rows if name == "gains" else rows  # one for each budget
    assert len(pd.read_csv(io.StringIO(content))) in (rows, wanted)
    assert (written.parent / "tables" / f"{name}.tex").read_text().startswith(r"\begin{tabular}")
    offered = [value for tag, key, value in document.attributes if (tag, key) == ("a", "download")]
    assert {f"{name}.csv", f"{name}.tex"} <= set(offered)


def test_front_measures_equal_those_of_the_front(snapshot: tracking.Snapshot, written: Path) -> None:
    table = results.trials(snapshot).query("seed < 3")
    found = pd.read_csv(written.parent / "tables" / "fronts.csv")
    for column, expected in (
        ("hypervolume_psnr", fronts.hypervolume(table, "psnr")["hypervolume"]),
        ("hypervolume_ssim_low", fronts.hypervolume(table, "ssim")["hypervolume_low"]),
        ("accuracy_at_40_db", fronts.accuracy_at(table, "psnr", 40.0)["accuracy"]),
        ("psnr_at_0.5_high", fronts.fidelity_at(table, "psnr", 0.5)["psnr_high"]),
    ):
        np.testing.assert_allclose(found[column], expected)
    single = pd.read_csv(written.parent / "tables" / "fronts-by-seed.csv")
    assert list(single["seed"]) == [1, 2] * 2
    expected = fronts.hypervolume(table, "psnr", each_seed=True)["hypervolume"]
    np.testing.assert_allclose(single["hypervolume_psnr"], expected)


def test_best_leads_to_the_runs(uri: str, written: Path) -> None:
    best = pd.read_csv(written.parent / "tables" / "best.csv")
    assert best["accuracy"].is_monotonic_decreasing
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study").experiment_id
    row = best[(best["camera"] == CAMERAS[1]) & (best["lam"] == 0.1)].iloc[0]
    assert {run.info.run_id for run in client.search_runs([experiment], row["filter"])} == set(row["run_ids"].split())
    assert row["rerun"] == "; ".join(f"python -m study rerun 'Beta & Co/UNet/0.1/{seed}'" for seed in SEEDS)


def test_claims_about_absolute_numbers_need_real_cameras(written: Path, document: Document) -> None:
    claims = pd.read_csv(written.parent / "tables" / "claims.csv").set_index("id")
    # Beta & Co counts as real; its fixed accuracy is 0.98 − 0.5 × 1.2² − 0.01 + 0.006 = 25.6 %.
    assert claims.loc["fixed-accuracy", "verdict"] == "not reproduced"
    assert claims.loc["fixed-accuracy", "data"].startswith("Beta & Co · 2 seeds")
    assert claims.loc["joint-beats-fixed", "verdict"] == "reproduced"
    assert claims.loc["joint-beats-fixed", "data"].startswith("Alpha <1> (simulated), Beta & Co")
    assert "reproduced (simulated)" in document.text
    assert "Absolute numbers need real cameras under the paper’s protocol" in document.text


def test_the_papers_numbers_stand_beside_ours_where_settings_match(snapshot: tracking.Snapshot) -> None:
    content = Content.of(snapshot, plan(CAMERAS, SEEDS), Provenance())
    assert not content.beside_paper
    d90 = content.trained.summary.assign(camera=content.trained.summary["camera"].replace({CAMERAS[0]: "Nikon D90"}))
    assert replace(content, trained=replace(content.trained, summary=d90)).beside_paper
    table = metrics(d90, content.published)
    theirs = table.printed.loc[table.printed["", "λ"] == "0.1", "UNet, paper"].values.tolist()
    assert theirs == [["–"] * 3, ["42.3", "0.989", "92.0"]]  # the other camera is not in the paper
    theirs = table.printed.loc[table.printed["", "λ"] == "fixed", "UNet, paper"].values.tolist()
    assert theirs == [["–"] * 3, ["43.0", "0.990", "45.0"]]
    kinds = [name for isp, name in table.printed.columns if isp == "UNet, paper"]
    assert "SSIM" not in kinds  # theirs stands beside ours of its kind
    assert KIND in kinds
    assert {"SSIM", KIND} <= {name for isp, name in table.printed.columns if isp == "UNet"}
    merged = table.numbers.set_index(["camera", "lam"])
    assert merged.loc[("Nikon D90", 0.001), "accuracy_of_paper"] == 0.991
    fixed = table.numbers[(table.numbers["camera"] == "Nikon D90") & table.numbers["lam"].isna()]
    assert fixed["psnr_of_paper"].tolist() == [43.0]


@pytest.mark.parametrize("name", ["metrics", "fronts", "gains", "codecs", "claims", "paper"])
def test_latex_is_ascii(written: Path, name: str) -> None:
    latex = (written.parent / "tables" / f"{name}.tex").read_text()
    assert [letter for letter in latex if not letter.isascii()] == []


def test_latex_of_the_metrics(written: Path) -> None:
    latex = (written.parent / "tables" / "metrics.tex").read_text()
    assert r"Beta \& Co" in latex
    assert r"$\lambda$" in latex
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows[1:]} == {7}


def test_every_figure_is_a_pdf_too(written: Path, document: Document) -> None:
    drawn = [value for tag, name, value in document.attributes if (tag, name) == ("svg", "aria-label")]
    files = list((written.parent / "figures").iterdir())
    assert len(files) == len(drawn)
    assert all(path.suffix == ".pdf" and path.read_bytes().startswith(b"%PDF") for path in files)


def test_spectra_average_amplitudes_over_patches() -> None:
    images = synthetic_tracking.patches(seed=0, size=64)
    mean = spectrum_difference(images["native"], images["developed"])
    singles = [
        spectrum_difference(native[None], developed[None])
        for native, developed in zip(images["native"], images["developed"], strict=True)
    ]
    np.testing.assert_allclose(np.exp(mean), np.mean(np.exp(singles), axis=0))
    errors = images["native"].astype(float) - images["target"]
    means = np.mean([np.exp(spectrum(error[None])) for error in errors], axis=0)
    np.testing.assert_allclose(np.exp(spectrum(errors)), means)


def test_a_study_without_results(uri: str, tmp_path: Path) -> None:
    MlflowClient(uri).create_experiment("empty")
    snapshot = tracking.read(uri, "empty")
    assert snapshot is not None
    written = report("empty", snapshot, tmp_path, plan(CAMERAS, (1,)))
    document = Document(written.read_text())
    assert "0 of 6 planned trials finished; 6 without a result" in document.text
    assert "No trial has finished yet." in document.text
    titles = re.findall(r"<h2>([^<]+)", written.read_text())
    assert titles == ["The paper’s claims", "Trials left out", "Provenance"]


def test_spectrum_shows_a_periodic_pattern_where_it_is() -> None:
    images = synthetic_tracking.patches(seed=0, size=64)
    native = images["native"][:1]
    change = spectrum_difference(native, images["developed"][:1])
    change[32, 32] = 0  # the mean brightness
    peak = np.unravel_index(change.argmax(), change.shape)
    assert peak[0] == 32
    assert abs(peak[1] - 32) == 16  # period of four pixels
    assert difference_scale(native, native) == 64
    assert difference_scale(native, np.full_like(native, 255)) == 1


@pytest.mark.parametrize("package", [sections, fingerprints])
def test_every_section_is_listed(package: ModuleType) -> None:
    files = {path.stem for path in Path(package.__path__[0]).glob("*.py")} - {"__init__"}
    assert sorted(package.SECTIONS) == sorted(files)


# --- with test photographs, and an axis under pretraining ---

VARIANTS = ({"pretraining.seed": "0"}, {"pretraining.seed": "1"})


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """Both variants with two seeds; what the second has more of accuracy is of the pre-training."""
    folder = tmp_path_factory.mktemp("tested")
    settings = {"evaluated": True, "pretrained": True, "tested": True, "axes": VARIANTS, "examples": True}
    uri = synthetic_tracking.fill(folder, "tested", ("Alpha",), ("UNet",), LAMBDAS, SEEDS, **settings)
    found = tracking.read(uri, "tested")
    assert found is not None
    planned = [
        {**row, **variant, "key": f"{row['key']}/{variant['pretraining.seed']}"}
        for row in plan(("Alpha",), (*SEEDS, 3))
        for variant in VARIANTS
    ]
    return Content.of(found, planned, Provenance())


@pytest.fixture(scope="module")
def tested_page(tested: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report("tested", tested.snapshot, tmp_path_factory.mktemp("report"), tested.plan)


def test_the_headline_is_of_the_test_photographs(tested: Content, tested_page: Path) -> None:
    document = Document(tested_page.read_text())
    assert set(tested.view.reported[results.ON]) == {"test"}
    best = results.best_within(tested.view.gains, 3).nlargest(1, "accuracy").iloc[0]
    joint = 100 * (best["fixed_test_accuracy"] + best["test_accuracy"])
    assert f"% with the ISP fixed to {joint:.1f} %" in document.text
    assert f"{best['fixed_test_psnr'] + best['test_psnr']:.2f} dB, on the test photographs." in document.text
    assert f"to {100 * (best['fixed_accuracy'] + best['accuracy']):.1f} %" not in document.text.partition("Camera")[0]
    for text in (
        "The result is what is measured on the test photographs, which chose nothing.",
        "All positions are measured on the test photographs; the validation photographs decide which settings are on a",
        "Percent, mean over seeds, on the test photographs",
        "Means over seeds, on the test photographs (20 a camera)",
        "in place of the differentiable one it was trained with (first row), on the test photographs.",
    ):
        assert text in document.text


def test_every_table_has_both_kinds_of_photographs(tested: Content, tested_page: Path) -> None:
    text = Document(tested_page.read_text()).text
    row = tested.trained.summary.query("lam == 0.1").iloc[0]
    for metric, scale, digits in (("psnr", 1, 2), ("accuracy", 100, 1)):
        for prefix in ("", "test_"):
            assert f"{scale * row[prefix + metric]:.{digits}f} ±" in text
    tables = {path.stem: pd.read_csv(path) for path in (tested_page.parent / "tables").glob("*.csv")}
    for name in ("fronts", "fronts-by-seed", "confusions", "images"):
        assert set(tables[name][results.ON]) == {"test", "validation"}, name
    for name in ("metrics", "gains", "trials", "best", "pretraining", "codecs"):
        assert tables[name].filter(regex="^test_").notna().all(axis=None), name
    fronts_table = tables["fronts"].query("`pretraining.seed` == 0").set_index(results.ON)
    assert fronts_table.loc["test", "hypervolume_psnr"] < fronts_table.loc["validation", "hypervolume_psnr"]
    shown = tables["confusions"].query("true == predicted and lam == 0.1 and `pretraining.seed` == 0")
    difference = shown.groupby(results.ON)["share"].mean()
    assert difference["validation"] - difference["test"] == pytest.approx(0.03)
    assert "41.00" in text  # of the pre-training on the test
    assert "42.00" in text


def test_an_axis_under_pretraining_is_named_everywhere(tested: Content, tested_page: Path) -> None:
    assert results.axes(tested.trained.summary) == ["pretraining.seed"]
    assert set(tested.trained.summary["seeds"]) == {2}
    page = tested_page.read_text()
    document = Document(page)
    drawn = [value for tag, name, value in document.attributes if (tag, name) == ("svg", "aria-label")]
    for seed in (0, 1):
        for kind in ("Training progress, ", "Accuracy behind real encoders, ", "PSNR (dB) against accuracy, "):
            assert any(label.startswith(kind) and label.endswith(f"pretraining.seed {seed}") for label in drawn), kind
        assert f"<summary>Alpha · UNet · pretraining.seed {seed}</summary>" in page
    missing = pd.read_csv(tested_page.parent / "tables" / "missing.csv")
    assert missing["pretraining.seed"].value_counts().to_dict() == {0: 3, 1: 3}
    claims = pd.read_csv(tested_page.parent / "tables" / "claims.csv").set_index("id")
    assert claims.loc["joint-beats-fixed", ["verdict", "data"]].tolist() == [
        "undecided",
        "the study varies pretraining.seed",
    ]
    assert "the study varies pretraining.seed" in document.text


def test_runs_that_did_not_log_an_axis_get_it_from_the_plan(tested: Content) -> None:
    """As runs of earlier versions, where an axis under pretraining was no param."""
    table = results.trials(tested.snapshot)
    older = table.drop(columns="pretraining.seed")
    with pytest.raises(ValueError, match="have the same settings and seed"):
        results.summary(older)
    found = results.of_plan(older, tested.plan)
    pd.testing.assert_frame_equal(results.summary(found), tested.trained.summary, check_like=True)


def test_a_pretraining_of_another_state_of_the_study_file_is_not_shown(tested: Content) -> None:
    other = results.pretrained(tested.snapshot).assign(nip_sha256="of another state")
    assert results.used(other, tested.trials).empty
    assert len(tested.pretrained) == 1


def test_repeated_runs_are_named_with_all_axes(tested: Content) -> None:
    twice = tested.trials.assign(superseded=[("the other run",), *[()] * (len(tested.trials) - 1)])
    html = missing.section(replace(tested, trials=twice)).html
    first = twice.iloc[0]
    assert f"Alpha · UNet · pretraining.seed {first['pretraining.seed']} · λ = 0.001 · seed 1: run" in html
