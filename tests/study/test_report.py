"""The report: complete, self-contained, and honest about what is missing."""

import base64
import html
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking
from mlflow import MlflowClient

from study import figures, results
from study.report import Provenance, report

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
    uri = synthetic_tracking.fill(folder, "study", CAMERAS, ISPS, LAMBDAS, SEEDS, examples=True, pretrained=True)
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
            params={"camera": camera, "isp": isp, "lambda": lam, "seed": seed},
            history={"accuracy": [0.0], "psnr": [99.0], "ssim": [1.0]},
        )
    synthetic_tracking.write(uri, rows)
    return uri


@pytest.fixture(scope="module")
def written(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(
        "Study & <co>",
        uri,
        "study",
        tmp_path_factory.mktemp("report"),
        plan(CAMERAS, (*SEEDS, 3)),
        Provenance(
            settings="name: <study>\n",
            simulated={CAMERAS[0]: True, CAMERAS[1]: False},
            notes={"Clock": "2 h"},
        ),
    )


class Document(HTMLParser):
    """Every tag closed, in order; all attributes and all text gathered."""

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
    for text in (
        "Study & <co>",
        "λ = 0.001 →",
        "fixed →",
        "name: <study>",
        "Clock",
        "fingerprint of Beta & Co",
    ):
        assert text in document.text
    assert "The photographs of Alpha <1> come from a camera simulation" in document.text


def test_what_is_missing_is_named(document: Document) -> None:
    assert "12 of 18 planned trials finished; 6 without a result" in document.text
    assert "failed: loss is NaN at iteration 17 <script>" in document.text
    assert document.text.count("not started") == 5
    assert "1 trial in the tracking store belongs to another state of the study file" in document.text
    assert "99.0" not in document.text


def test_headline_is_the_greatest_gain_within_the_budget(uri: str, document: Document) -> None:
    gains = results.gain(results.trials(uri, "study").query("seed < 3"))
    best = gains[(gains["psnr"] >= -3)].nlargest(1, "accuracy").iloc[0]
    assert best["lam"] == 0.1
    low, high = 100 * best["fixed_accuracy"], 100 * (best["fixed_accuracy"] + best["accuracy"])
    assert f"from {low:.1f} % to {high:.1f} %" in document.text


def test_tables_are_files_and_downloads(uri: str, written: Path, document: Document) -> None:
    expected = results.summary(results.trials(uri, "study").query("seed < 3"))
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


def test_latex_is_ascii_but_for_names(written: Path) -> None:
    latex = (written.parent / "tables" / "metrics.tex").read_text()
    assert latex.isascii()
    assert r"Beta \& Co" in latex
    assert r"$\lambda$" in latex
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows[1:]} == {4}


def test_every_figure_is_a_pdf_too(written: Path, document: Document) -> None:
    drawn = [value for tag, name, value in document.attributes if (tag, name) == ("svg", "aria-label")]
    files = list((written.parent / "figures").iterdir())
    assert len(files) == len(drawn)
    assert all(path.suffix == ".pdf" and path.read_bytes().startswith(b"%PDF") for path in files)


def test_a_study_without_results(uri: str, tmp_path: Path) -> None:
    MlflowClient(uri).create_experiment("empty")
    document = Document(report("empty", uri, "empty", tmp_path, plan(CAMERAS, (1,))).read_text())
    assert "0 of 6 planned trials finished; 6 without a result" in document.text
    assert "No trial has finished yet." in document.text


def test_spectrum_shows_a_periodic_pattern_where_it_is() -> None:
    images = synthetic_tracking.patches(seed=0, size=64)
    native, developed = images["native"][0], images["developed"][0]
    change = figures.spectrum_difference(native, developed)
    change[32, 32] = 0  # the mean brightness
    peak = np.unravel_index(change.argmax(), change.shape)
    assert peak[0] == 32
    assert abs(peak[1] - 32) == 16  # period of four pixels
    assert figures.difference_scale(native, native) == 64
    assert figures.difference_scale(native, np.full_like(native, 255)) == 1


@pytest.mark.parametrize("width", [390, 1200])
def test_no_horizontal_scrolling(written: Path, tmp_path: Path, width: int) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    # A window cannot be narrower than 500 px, a frame can.
    style = f"width: {width}px; height: 2000px; border: 0"
    measure = """<script>onload = () => {
        const shown = frames[0].document.documentElement;
        document.title = `${shown.scrollWidth} ${shown.clientWidth}`;
    }</script>"""
    page = tmp_path / "frame.html"
    page.write_text(f'<iframe style="{style}" srcdoc="{html.escape(written.read_text())}"></iframe>{measure}')
    quiet = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --hide-scrollbars --window-size=1400,2100 --dump-dom"
    )
    command = [browser, *quiet.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    content, frame = map(int, re.search(r"<title>(\d+) (\d+)</title>", shown).groups())
    assert frame == width
    assert content <= frame
