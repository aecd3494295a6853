"""What pages are made of: tables and numbers as text, colours, sections."""

import math

import numpy as np
import pandas as pd
import pytest
from markupsafe import Markup

from models.registry import NIPS
from study.report import plots
from study.report.fingerprint_statistics import mean_interval
from study.report.parts import Part, Section, details, note, panels, paragraph, show
from study.report.sections.confusions import percent
from study.report.tables import Table, as_printed, estimate, metric_cells, number, wide

NAN = math.nan


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ((0.912, 0.89, 0.931), "91.2 [89.0, 93.1]"),
        ((-0.01, -0.02, NAN), "−1.0 [−2.0, –]"),
        ((0.5, NAN, NAN), "50.0"),
        ((NAN, NAN, NAN), "–"),
    ],
)
def test_an_estimate_as_text(found: tuple[float, ...], text: str) -> None:
    assert estimate(found, 1, scale=100) == text


def test_a_sign_is_as_wide_as_another() -> None:
    assert [number(value, 1, sign=True) for value in (1, -1)] == ["+1.0", "−1.0"]


def test_names_that_repeat_are_printed_once() -> None:
    cells = [("one", "0.1"), ("one", "1"), ("two", "1"), ("one", "1")]
    rows = [{("", "Camera"): camera, ("", "λ"): lam} for camera, lam in cells]
    assert as_printed(rows, once=1)["Camera"].tolist() == ["one", "", "two", "one"]
    assert as_printed(rows)["Camera"].tolist() == ["one", "one", "two", "one"]


def test_headings_span_the_columns_below_them() -> None:
    rows = [{("", "Camera"): "one", ("UNet", "PSNR"): "1", ("UNet", "SSIM"): "2", ("", "AUC"): "3"}]
    table = Table("name", "caption", as_printed(rows), pd.DataFrame())
    assert table.header[0] == [("", 1), ("UNet", 2), ("", 1)]
    assert [text for text, _ in table.header[1]] == ["Camera", "PSNR", "SSIM", "AUC"]


def test_long_numbers_become_wide_rows() -> None:
    numbers = pd.DataFrame({"lam": [NAN, NAN, 0.1], "of": ["a", "b", "b"], "value": [1.0, 2.0, 3.0]})
    rows = wide(numbers, {"lam": "λ"}, ("of", "Of"), "value", "{:g}".format)
    assert rows == [{("", "λ"): "fixed", ("Of", "a"): "1", ("Of", "b"): "2"}, {("", "λ"): "0.1", ("Of", "b"): "3"}]


def test_a_metric_without_a_row_is_a_dash() -> None:
    found = pd.DataFrame({"psnr": [40.123], "psnr_std": [0.2], "ssim": [0.99]})
    metrics = {"psnr": ("PSNR", 1, 2), "ssim": ("SSIM", 1, 3), "seconds": ("Time", 1, 1)}
    assert list(metric_cells("UNet", found, metrics).values()) == ["40.12 ± 0.20", "0.990", "–"]
    assert set(metric_cells("UNet", found.head(0), metrics).values()) == {"–"}


def test_a_nip_keeps_its_colour_and_its_place() -> None:
    assert [plots.isp_colour(isp) for isp in ("UNet", "INet", "DNet", "ClassicISP")] == list(plots.PALETTE[:4])
    assert plots.in_order(["unknown", *reversed(NIPS)]) == [*NIPS, "unknown"]


def test_fixed_comes_first_and_the_smallest_lambda_is_the_darkest() -> None:
    rows = pd.DataFrame({"lam": [0.1, NAN, 0.001, 1.0, 0.01, 0.1]})
    drawn = list(plots.by_lambda(plots.spread(rows)))
    assert [label for label, *_ in drawn] == ["fixed", "λ = 1", "λ = 0.1", "λ = 0.001"]
    assert [colour for _, colour, *_ in drawn] == [plots.INK, *plots.RAMP]
    assert [fixed for _, _, fixed, _ in drawn] == [True, False, False, False]


def test_a_section_of_explanations_alone_is_left_out() -> None:
    empty = Table("empty", "caption", as_printed([]), pd.DataFrame({"number": []}))
    nothing = [note("How to read it."), show(empty), panels([]), details("More", show(empty))]
    assert Section("Title", nothing).html == ""
    assert Section("Title", [*nothing, paragraph("Found.")]).html.count("<p") == 2
    assert set(show(empty).files) == set(details("More", show(empty)).files) == {"tables/empty.csv", "tables/empty.tex"}


def test_small_shares_of_a_confusion_matrix_are_marked() -> None:
    assert [percent(share) for share in (0.004, 0.006, 0.029, 0.031, 0.996)] == ["", "*", "*", "3", "100"]


def test_text_is_escaped_unless_it_is_markup() -> None:
    assert "a &lt;b&gt;" in paragraph("a <b>").html
    assert "a <b>" in paragraph(Markup("a <b>")).html
    assert Part().html == ""


def test_the_shape_of_an_interval_over_the_last_axis() -> None:
    values = np.random.default_rng(0).random((2, 3, 20))
    found = mean_interval(values)
    assert found.shape == (2, 3, 3)
    np.testing.assert_allclose(found[..., 0], values.mean(-1))
    assert (found[..., 1] < found[..., 0]).all()
    assert (found[..., 0] < found[..., 2]).all()
    assert np.isnan(mean_interval(values[..., :1])[..., 1:]).all()
