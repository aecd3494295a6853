"""Every figure of the report as a file: the names, the formats, and that no picture of the page is left out."""

import io
from pathlib import Path

import numpy as np
import pytest
import synthetic_tracking
import yaml
from mlflow import MlflowClient
from PIL import Image
from typer.testing import CliRunner

from study import tracking
from study.commands.app import app
from study.report import plots, sections
from study.report.content import Content, Provenance
from study.report.figures import write_figures
from study.report.page import build
from study.report.sections import confusions
from study.report.sections.confusions import percent
from study.settings import load_study

CAMERAS, LAMBDAS = ("Beta & Co",), (1e-1, "fixed")
FEW = ("fronts", "confusions", "progress", "pretraining")
WIDTH = round(plots.COLUMN * plots.DPI)


@pytest.fixture(scope="module")
def source(client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, uri = tmp_path_factory.mktemp("figures"), client.tracking_uri
    shown = {"examples": True, "pretrained": True, "evaluated": True, "verdicts": True, "uri": uri}
    synthetic_tracking.fill(folder, "drawn", CAMERAS, ("UNet",), LAMBDAS, (1, 2), first=2_000_000, **shown)
    return written(folder, "drawn", uri)


def written(folder: Path, name: str, uri: str) -> str:
    study = load_study("smoke").model_copy(
        update={"name": name, "storage": str(folder / "elsewhere"), "tracking_uri": uri}
    )
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json")))
    return str(folder / f"{name}.yaml")


@pytest.fixture(scope="module")
def content(source: str) -> Content:
    """Of a study without a plan: all its trials are shown."""
    study = load_study(source)
    snapshot = tracking.read(tracking.tracking_uri(study), study.name)
    assert snapshot is not None
    return Content.of(snapshot, [], Provenance())


def test_every_picture_of_the_page_is_a_file(content: Content, tmp_path: Path) -> None:
    """Named as the report's PDF files are; confusion matrices, which are tables on the page, are drawn beside them."""
    names: dict[str, set[str]] = {}
    for name, section in zip(sections.SECTIONS, build(sections, content), strict=True):
        offered = {Path(file).stem for part in section.parts for file in part.files if file.endswith(".pdf")}
        names[name] = {path.stem for path in write_figures(section, tmp_path, "png")}
        assert names[name] == offered or name == "confusions"
    behind, settings = ("real-encoders", "dJPEG"), ("0.1", "fixed")
    assert names["confusions"] == {f"confusions-Beta-Co-UNet-{b}-{s}" for b in behind for s in settings}
    for section_name in ("fronts", "progress", "spectra", "patches", "pretraining", "panel", "codecs"):
        assert names[section_name], section_name
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for found in names.values() for name in found}
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert image.width == WIDTH, "one column at 300 dots an inch"
            assert np.asarray(image.convert("L")).std() > 1, f"{path.name} is empty"


@pytest.mark.parametrize(("kind", "begins"), [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_formats(kind: plots.Kind, begins: bytes) -> None:
    with plots.column(2) as figure:
        figure.subplots().set(xlabel="λ")
    made = plots.file(figure, kind)
    assert made.startswith(begins) and made == plots.file(figure, kind), "the same again"
    if kind == "svg":
        assert b"<text" not in made, "letters are outlines, as the font is in no other place"


def test_a_matrix_holds_its_numbers_row_by_row() -> None:
    """Rows from the top, columns from the left, and the darker the larger."""
    shares = np.array([[0.9, 0.1, 0.0], [0.02, 0.68, 0.3], [0.5, 0.0, 0.5]])
    names = ("native", "sharpen", "jpeg")
    figure = plots.shaded(names, shares, lambda i, j: percent(shares[i, j]), "True", "Predicted (%)")
    (axes,) = figure.axes
    at = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert [[at[row, column] for column in range(3)] for row in range(3)] == [
        ["90", "10", ""],
        ["*", "68", "30"],
        ["50", "", "50"],
    ]
    assert np.array_equal(np.asarray(axes.images[0].get_array()), shares)
    assert axes.yaxis_inverted() and not axes.xaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == list(names)
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("True", "Predicted (%)")
    with Image.open(io.BytesIO(plots.file(figure, "png"))) as image:
        pixels = np.asarray(image.convert("L"))
    assert (np.concatenate([*pixels[[0, -1]], *pixels[:, [0, -1]].T]) == 255).all(), "nothing is cut off at the edges"
    dark, pale = (np.mean(axes.images[0].cmap(shade)[:3]) for shade in (1.0, 0.0))
    assert dark < pale


def test_the_matrix_of_a_setting_is_that_of_its_table(content: Content) -> None:
    """Means over seeds, behind the channel of the training."""
    section = confusions.section(content)
    draw = next(
        part.figures["confusions-Beta-Co-UNet-dJPEG-0.1"]
        for part in section.parts
        if "confusions-Beta-Co-UNet-dJPEG-0.1" in part.figures
    )
    found = np.asarray(draw().axes[0].images[0].get_array())
    accuracies = [synthetic_tracking.metrics(0, 0, 0.1, seed)["accuracy"] for seed in (1, 2)]
    assert found[0, 0] == pytest.approx(np.mean(accuracies)) and found.shape == (5, 5)


def test_the_command(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study file plans none of the trials: what is left are the pre-trainings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sections, "SECTIONS", FEW)
    done = CliRunner().invoke(app, ["figures", source, "--format", "svg"], catch_exceptions=False)
    assert done.exit_code == 0
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == ["pretraining-Beta-Co.svg"]
    assert "figures: 1 in figures" in done.stdout


def test_nothing_to_draw(client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "SECTIONS", FEW)
    client.create_experiment("undrawn")
    for name, word in (("undrawn", "has no result yet that a figure could show"), ("none", "has no results in")):
        source = written(tmp_path, name, client.tracking_uri)
        done = CliRunner().invoke(app, ["figures", source, "--out", str(tmp_path / "out")])
        assert done.exit_code != 0 and word in str(done.exception)
    assert not list((tmp_path / "out").iterdir())
