"""The pages in a real browser: no complaint in its console, and no horizontal scroll, in light and in dark."""

import base64
import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import synthetic_fingerprints
import synthetic_tracking

from study import tracking
from study.report import fingerprint_page
from study.report.page import Provenance, report

CAMERAS, ISPS, LAMBDAS, SEEDS = ("Nikon D90", "sim-rggb"), ("UNet", "Pattern"), (1e-3, 1e-2, 1e-1, 1.0, "fixed"), (1, 2)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--window-size=1400,2100",
)
# Measured from outside: a window cannot be narrower than 500 px, a frame can. A media query in the frame follows the
# colour scheme of the frame element.
MEASURE = """<script>onload = () => {
    const view = frames[0];
    const page = view.document.documentElement;
    const style = view.getComputedStyle(view.document.body);
    document.title = `${page.scrollWidth} ${page.clientWidth} ${style.backgroundColor.replaceAll(" ", "")}`;
}</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


TABLES = {  # some that must be on the page
    "report.html": {
        "metrics.csv",
        "metrics.tex",
        "claims.csv",
        "codecs.csv",
        "missing.csv",
        "gains-real.csv",
        "panel.csv",
        "equal-psnr.csv",
    },
    "prnu.html": {
        "recovery.csv",
        "correlations.csv",
        "best-f1.tex",
        "low-light.csv",
        "attribution.csv",
        "mistakes.csv",
    },
}


@pytest.fixture(scope="module", params=["study", "fingerprints"])
def page(chromium: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    return study_page(folder) if request.param == "study" else fingerprints_page(folder)


def fingerprints_page(folder: Path) -> Path:
    cameras = [synthetic_fingerprints.camera(camera, simulated=True) for camera in CAMERAS]
    found, notes = [synthetic_fingerprints.low_light(CAMERAS[0])], {"Code": "x" * 300}
    return fingerprint_page.page("browser", cameras, found, synthetic_fingerprints.LAMBDAS, folder, notes)


def study_page(folder: Path) -> Path:
    uri = synthetic_tracking.fill(
        folder,
        "browser",
        CAMERAS,
        ISPS,
        LAMBDAS,
        SEEDS,
        examples=True,
        evaluated=True,
        pretrained=True,
        tested=True,
        verdicts=True,
    )
    planned = [
        {"camera": camera, "isp": isp, "lambda": lam, "seed": seed, "key": f"{camera}/{isp}/{lam}/{seed}"}
        for camera in CAMERAS
        for isp in ISPS
        for lam in LAMBDAS
        for seed in (*SEEDS, 3)
    ]
    simulated = {camera: camera.startswith("sim") for camera in CAMERAS}
    provenance = Provenance(settings="name: browser\n" + "x" * 300 + "\n", simulated=simulated)
    snapshot = tracking.read(uri, "browser")
    assert snapshot is not None
    return report("browser", snapshot, folder / "report", planned, provenance)


def open_page(browser: str, page: Path, folder: Path, *further: str) -> tuple[str, list[str]]:
    """The document as it is after loading, and the messages of the page's console."""
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", *further, page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return shown.stdout, re.findall(r"CONSOLE[^\n]*", shown.stderr)


def test_the_console_is_heard(chromium: str, tmp_path: Path) -> None:
    """What the next test relies on."""
    page = tmp_path / "page.html"
    page.write_text("<script>undefinedFunction()</script>")
    _, messages = open_page(chromium, page, tmp_path)
    assert any("undefinedFunction is not defined" in message for message in messages)


def test_nothing_in_the_console(chromium: str, page: Path, tmp_path: Path) -> None:
    document, messages = open_page(chromium, page, tmp_path)
    assert "Provenance" in document
    assert messages == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_no_horizontal_scroll(chromium: str, page: Path, tmp_path: Path, width: int, scheme: str) -> None:
    frame = tmp_path / "frame.html"
    style = f"width: {width}px; height: 2000px; border: 0; color-scheme: {scheme}"
    frame.write_text(f'<iframe style="{style}" srcdoc="{html.escape(page.read_text())}"></iframe>{MEASURE}')
    document, messages = open_page(chromium, frame, tmp_path)
    content, visible, background = re.search(r"<title>(\d+) (\d+) (\S+)</title>", document).groups()
    assert int(visible) == width
    assert int(content) <= width
    assert background == {"light": "rgb(255,255,255)", "dark": "rgb(22,24,27)"}[scheme]
    assert messages == []


def test_downloads_are_complete(chromium: str, page: Path, tmp_path: Path) -> None:
    """The browser sees each table's file behind its link, as it lies beside the report."""
    document, _ = open_page(chromium, page, tmp_path)
    links = re.findall(r'<a download="([^"]+)" href="data:text/plain;base64,([^"]+)"', document)
    assert {name for name, _ in links} >= TABLES[page.name]
    for name, content in links:
        assert base64.b64decode(content) == (page.parent / "tables" / name).read_bytes()
