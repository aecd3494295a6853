"""The section that one can ask, in a real browser: what it copies finds just what was picked there.

The oracle is a table with the metrics as MLflow has them, and counting.
"""

import itertools
import json
import math
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import synthetic_tracking
import yaml
from driven_chromium import Page, opened
from mlflow import MlflowClient
from typer.testing import CliRunner

from study import results, tracking
from study.commands.app import app
from study.report.content import Content, Provenance
from study.report.explorer.data import as_json, asked, data
from study.report.page import write_page
from study.settings import load_study

CAMERAS, ISPS, LAMBDAS, SEEDS = ("Alpha </script>", "Beta’s & 'Co'"), ("INet", "UNet"), (0.001, 0.1, "fixed"), range(3)
CODECS = ("jpeg:50", "webp:50")
MEMBER = "accuracy_real_jpeg_50_420"
STUDY = "asked"


def measured(rng: np.random.Generator) -> dict[str, float]:
    """Metrics of a trial, some with few digits so that bounds meet them, and those of the test beside them."""
    digits = int(rng.integers(1, 12))
    found = {"accuracy": rng.random(), "psnr": 30 + 10 * rng.random(), "ssim": 0.8 + 0.2 * rng.random()}
    found |= {"accuracy_real": rng.random(), "accuracy_real_worst": rng.random(), MEMBER: rng.random()}
    found |= {f"test_{name}": value * rng.uniform(0.9, 1) for name, value in found.items()}
    return {name: round(float(value), digits) for name, value in found.items()}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random trials, and runs that no filter may find: repeated, unfinished, without a metric, of no plan."""
    folder, rng = tmp_path_factory.mktemp("tracked"), np.random.default_rng(7)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    experiment = MlflowClient(uri).create_experiment(STUDY, artifact_location=(folder / "artifacts").as_uri())
    rows: dict[Any, list[dict[str, Any]]] = {}

    def add(key: str, status: str = "FINISHED", **further: float) -> None:
        camera, isp, lam, codec, seed = key.split("|")[:5]
        params = {"camera": camera, "isp": isp, "lambda": lam, "seed": seed, **synthetic_tracking.SETTINGS}
        params["channel.codec"] = codec
        number = len(rows.get(synthetic_tracking.models.SqlRun, []))
        tags = {"kind": "trial", "trial_key": key}
        metrics = {name: value for name, value in (measured(rng) | further).items() if value is not None}
        history = {name: [value] for name, value in metrics.items()}
        synthetic_tracking.add(
            rows, folder, experiment, number, status=status, tags=tags, params=params, history=history
        )

    for planned in plan():
        add(planned["key"])
    keys = [planned["key"] for planned in plan()]
    for key in (keys[0], keys[5], keys[17]):
        add(key)  # the later ones are superseded
    for key in keys[20:24]:
        add(f"{key}|of no plan")
    add(f"{keys[3]}|failed", status="FAILED")
    add(f"{keys[4]}|without", psnr=math.nan)
    add("Gamma|UNet|0.3|avif:50|0")
    synthetic_tracking.write(uri, rows)
    for run in tracking.read(uri, STUDY).runs[30:58:7]:  # type: ignore[union-attr]
        MlflowClient(uri).log_metric(run.info.run_id, "accuracy_real", math.nan, step=900)
    return uri


def plan() -> list[dict[str, Any]]:
    grid = itertools.product(CAMERAS, ISPS, LAMBDAS, CODECS, SEEDS)
    return [
        {"camera": camera, "isp": isp, "lambda": lam, "channel.codec": codec, "seed": seed}
        | {"key": "|".join(map(str, (camera, isp, lam, codec, seed)))}
        for camera, isp, lam, codec, seed in grid
    ]


@pytest.fixture(scope="module")
def content(tracked: str) -> Content:
    snapshot = tracking.read(tracked, STUDY)
    assert snapshot is not None
    commands = {"best": "python -m study best study.yaml", "rerun": "python -m study rerun"}
    return Content.of(snapshot, plan(), Provenance(commands=commands))


@pytest.fixture(scope="module")
def written(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = SimpleNamespace(__name__="study.report.sections", SECTIONS=["explorer", "provenance"])
    return write_page(tmp_path_factory.mktemp("page") / "page.html", STUDY, STUDY, "", "", package, content)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with opened(found, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page, written: Path) -> Iterator[Page]:
    browser.complaints.clear()
    browser.open(written)
    browser.ask("document.querySelector('svg.plot').scrollIntoView({block: 'center'})")
    yield browser
    assert browser.complaints == []


@pytest.fixture
def best(tracked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a copied command; returns the trials of every row."""
    study = load_study("smoke").model_copy(update={"name": STUDY, "storage": str(tmp_path)})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracked)
    monkeypatch.setattr("study.jobs.plan.resolve", lambda *_: SimpleNamespace(table=plan()))
    monkeypatch.setattr("study.execution.driver.older_keys", lambda _: "")

    def run(command: str) -> set[tuple[str, ...]]:
        python, dash, module, *arguments = shlex.split(command)
        assert (python, dash, module) == ("python", "-m", "study")
        asked = CliRunner().invoke(app, [*arguments, "--json"])
        assert asked.exit_code == 0, (command, asked.exception)
        return {tuple(row["run_ids"].split()) for row in json.loads(asked.stdout)}

    return run


# --- what a reader does, and what is seen then ---


def choose(page: Page, name: str, value: str) -> None:
    page.ask(
        f"(() => {{const box = document.querySelector('.explorer [name={name}]'); box.value = {json.dumps(value)};"
        "box.dispatchEvent(new Event('change', {bubbles: true}))})()"
    )


def tick(page: Page, facet: str, value: str) -> None:
    page.ask(
        f"[...document.querySelectorAll('input[data-facet=\"{facet}\"]')]"
        f".find((box) => box.value === {json.dumps(value)}).click()"
    )


def said(page: Page, part: str) -> str:
    return page.ask(f"(({{value, textContent}}) => value ?? textContent)(document.querySelector('[data-part={part}]'))")


def frame(page: Page) -> tuple[float, float, float, float]:
    found = page.ask(
        "(({x, y, width, height}) => [x, y, width, height])(document.querySelector('svg.plot').getBoundingClientRect())"
    )
    return tuple(found)


def points(page: Page) -> list[tuple[float, float, bool]]:
    """Place on the screen, and whether it is inside the region."""
    return page.ask(
        "[...document.querySelectorAll('.point')].map((point) => {const r = point.getBoundingClientRect();"
        "return [r.x + r.width / 2, r.y + r.height / 2, !point.classList.contains('outside')]})"
    )


def limits(page: Page) -> dict[str, tuple[float, float]]:
    typed = page.ask(
        "Object.fromEntries([...document.querySelectorAll('.bounds input')].map((b) => [b.name, b.value]))"
    )
    open_ends = {"least": -math.inf, "below": math.inf}
    found = {name: float(text) if text else open_ends[name.split("-")[1]] for name, text in typed.items()}
    return {side: (found[f"{side}-least"], found[f"{side}-below"]) for side in ("fidelity", "accuracy")}


def expected(content: Content, page: Page, channel: str, fidelity: str, on: str, seeds: bool, **picked: set) -> set:
    """Run ids of every row that is inside the bounds that the page shows, by counting."""
    judged = results.behind(content.done, channel)
    prefix = "test_" if on == "test" else ""
    found = set()
    for name, values in picked.items():
        judged = judged[judged[{"lam": "lam"}.get(name, name)].isin(values)]
    by = ["camera", "isp", "channel.codec", "lam", *(["seed"] if seeds else [])]
    (left, right), (low, high) = limits(page)["fidelity"], limits(page)["accuracy"]
    for _, group in judged.groupby(by, dropna=False):
        x, y = (group[prefix + name].mean(skipna=False) for name in (fidelity, "accuracy"))
        low_fraction, high_fraction = (float(f"{bound / 100:.9f}") for bound in (low, high))
        if left <= x < right and low_fraction <= y < high_fraction:
            found.add(tuple(group["run_id"]))
    return found


def found_by(content: Content, query: str) -> set[str]:
    client, experiment = content.snapshot.client, content.snapshot.experiment_id
    return {run.info.run_id for run in client.search_runs([experiment], query, max_results=5000)}


WAYS = [
    ("real", "psnr", "validation", False),
    ("real", "psnr", "validation", True),
    ("dJPEG", "ssim", "validation", True),
    ("jpeg:50 4:2:0", "psnr", "test", True),
    ("worst", "ssim", "test", False),
]


@pytest.mark.parametrize(("channel", "fidelity", "on", "seeds"), WAYS)
def test_what_is_copied_finds_what_was_brushed(
    page: Page, content: Content, best: Any, channel: str, fidelity: str, on: str, seeds: bool
) -> None:
    rng = np.random.default_rng(len(channel))
    settings = {"channel": channel, "fidelity": fidelity, "photographs": on, "points": "trials" if seeds else "means"}
    for name, value in settings.items():
        choose(page, name, value)
    x, y, width, height = frame(page)
    sizes, plain = set(), 0
    for number in range(6):
        if number == 3:
            tick(page, "camera", CAMERAS[0])
            tick(page, "lambda", "0.1")
            tick(page, "channel.codec", CODECS[1])
        (left, right), (top, bottom) = np.sort(rng.uniform(0.1, 0.9, (2, 2)), axis=1)
        page.drag((x + left * width, y + top * height), (x + right * width, y + bottom * height))
        picked = {"camera": {CAMERAS[1]}, "lam": {0.001, np.nan}, "channel.codec": {CODECS[0]}} if number >= 3 else {}
        wanted = expected(content, page, channel, fidelity, on, seeds, **picked)
        shown = points(page)
        assert sum(inside for *_, inside in shown) == len(wanted)
        for px, py, inside in shown:  # the bounds moved by a few pixels at most
            edges = [px - x - left * width, x + right * width - px, py - y - top * height, y + bottom * height - py]
            if min(map(abs, edges)) > 12:
                assert inside == (min(edges) > 0)
        sizes.add(len(wanted))
        if not wanted:
            assert said(page, "filter") == said(page, "best") == ""
            continue
        query = said(page, "filter")
        assert found_by(content, query) == {run_id for ids in wanted for run_id in ids}
        plain += "run_id" not in query
        others, _, excepted = query.partition(" and attributes.run_id NOT IN ")
        assert set(re.findall(r"\w{32}", excepted)) <= found_by(content, others)  # no more exceptions than are needed
        assert best(said(page, "best")) == wanted
    assert len(sizes) > 2
    assert plain > 2 * seeds  # runs are named only where other runs share what is asked


def test_everything_is_found_before_a_region_is_brushed(page: Page, content: Content, best: Any) -> None:
    assert said(page, "count").startswith("24 settings, 68 trials shown")  # four verdicts are missing
    judged = set(results.behind(content.done, "real")["run_id"])
    assert found_by(content, said(page, "filter")) == judged
    assert {run_id for ids in best(said(page, "best")) for run_id in ids} == judged
    tick(page, "isp", "INet")
    tick(page, "isp", "UNet")
    assert points(page) == []
    assert said(page, "filter") == said(page, "best") == ""


def test_typed_bounds(page: Page, content: Content, best: Any) -> None:
    """A bound is kept as it is typed, even where a trial lies on it: it is then inside above, outside below."""
    choose(page, "points", "trials")
    judged = results.behind(content.done, "real")
    on_bound = next(row for row in judged.itertuples() if len(str(row.psnr)) < 7)
    for end, within in (("least", judged["psnr"] >= on_bound.psnr), ("below", judged["psnr"] < on_bound.psnr)):
        page.press("Escape")
        page.ask("document.querySelector('[data-part=clear]').click()")
        choose(page, f"fidelity-{end}", str(on_bound.psnr))
        assert limits(page)["fidelity"][end == "below"] == on_bound.psnr
        assert found_by(content, said(page, "filter")) == set(judged.loc[within, "run_id"])
        assert {ids for (ids,) in best(said(page, "best"))} == set(judged.loc[within, "run_id"])


def test_a_verdict_that_is_not_a_number_is_no_small_one(page: Page, content: Content) -> None:
    """MLflow finds it neither above a bound nor below."""
    choose(page, "points", "trials")
    choose(page, "accuracy-below", "50")
    judged = results.behind(content.done, "real")
    assert len(judged) < len(content.done)
    assert found_by(content, said(page, "filter")) == set(judged.loc[judged["accuracy"] < 0.5, "run_id"])


def test_a_point_names_its_trials_and_how_to_run_them_again(page: Page, content: Content) -> None:
    tick(page, "camera", CAMERAS[0])
    x, y, _ = points(page)[0]
    page.pointer("mouseMoved", x + 1, y + 1)
    name = said(page, "name")
    camera, isp, codec, lam, seeds = re.fullmatch(
        r"(.+) · (.+) · channel.codec (.+) · (.+) · (\d) seeds", name
    ).groups()
    done = results.behind(content.done, "real").query(f"camera == {camera!r} and isp == {isp!r}")
    lam = math.nan if lam == "fixed" else float(lam.removeprefix("λ "))
    trials = done[(done["channel.codec"] == codec) & ((done["lam"] == lam) | (math.isnan(lam) & done["lam"].isna()))]
    assert len(trials) == int(seeds)
    assert [shlex.split(line) for line in said(page, "rerun").splitlines()] == [
        ["python", "-m", "study", "rerun", key] for key in trials["trial_key"]
    ]
    assert f"{trials['psnr'].mean():.2f} dB, {100 * trials['accuracy'].mean():.1f} %" in said(page, "values")
    page.click(x, y)  # keeps it
    others = [point for point in points(page) if math.hypot(point[0] - x, point[1] - y) > 60]
    page.pointer("mouseMoved", *others[0][:2])
    assert said(page, "name") == name
    page.click(x, y)
    page.pointer("mouseMoved", *others[0][:2])
    assert said(page, "name") != name


def test_points_are_reached_by_keys(page: Page) -> None:
    page.ask("document.querySelector('[name=points]').focus()")
    page.press("Tab")
    assert page.ask("document.activeElement.classList.contains('point')")
    order = sorted(points(page))
    for key, place in (("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", -1)):
        page.press(key)
        found = page.ask(
            "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
            "(document.activeElement.getBoundingClientRect())"
        )
        assert found == pytest.approx(order[place][:2], abs=0.5), key
    label = page.ask("document.activeElement.getAttribute('aria-label')")
    assert label.startswith(said(page, "name") + ": ")
    assert "Click" in said(page, "kept")
    page.press("Enter")
    assert "Kept" in said(page, "kept")
    page.press("Tab")
    assert not page.ask("document.activeElement.classList.contains('point')")  # one stop for all points


def test_copies(page: Page) -> None:
    page.ask("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    for part in ("best", "filter"):
        page.ask(f"document.querySelector('[data-copies={part}]').click()")
        assert page.ask("window.copied") == said(page, part) != ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_both_themes_at_both_widths(page: Page, written: Path, width: int, scheme: str) -> None:
    page.open(written, width, 900, scheme)
    paper = {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[scheme]
    assert page.ask("getComputedStyle(document.body).backgroundColor") == paper
    hollow = "getComputedStyle(document.querySelector('.point.hollow')).fill"
    assert page.ask(hollow) == page.ask("getComputedStyle(document.querySelector('select')).backgroundColor") == paper
    assert page.ask("document.documentElement.scrollWidth") <= width
    _, _, plot, _ = frame(page)
    assert plot <= width
    assert len(points(page)) == 24


def test_without_javascript_one_line_stands_there(browser: Page, written: Path) -> None:
    browser.open(written, script=False)
    html = written.read_text()
    assert re.search(r"<noscript><p[^>]*>With JavaScript", html)
    assert re.search(r'id="explorer" hidden', html)
    assert html.count("</script>") == 2  # the camera's name does not end one
    assert browser.complaints == []


# --- the data ---


def test_the_data_are_valid_json_that_ends_no_element(content: Content) -> None:
    document = data(content, asked(content))
    text = as_json(document)
    assert "<" not in text
    assert json.loads(text) == document
    runs = document["runs"]
    assert runs["trials"] == len(content.done) == 72
    assert len(runs["ids"]) == 72 + 3 + 4 + 1 + 1
    assert runs["metrics"]["accuracy_real"].count(None) == 4
    lam = next(facet for facet in document["facets"] if facet["name"] == "lambda")
    assert lam["values"] == ["0.001", "0.1", "fixed", "0.3"]
    assert lam["offered"] == 3
    assert lam["told"]


def test_a_study_without_results_has_no_such_section(content: Content) -> None:
    from study.report.sections import explorer

    assert explorer.section(replace(content, every_trial=content.every_trial.head(0))).html == ""


def test_trials_of_the_search_are_asked_too(content: Content) -> None:
    further = [{"camera": "Gamma", "isp": "UNet", "lambda": 0.3, "channel.codec": "avif:50", "seed": 0}]
    further[0]["key"] = "Gamma|UNet|0.3|avif:50|0"
    searched = replace(content, provenance=replace(content.provenance, search=further))
    assert set(asked(searched)["trial_key"]) - set(asked(content)["trial_key"]) == {further[0]["key"]}
    assert data(searched, asked(searched))["runs"]["trials"] == 73
