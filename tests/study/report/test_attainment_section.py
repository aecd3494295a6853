"""Fronts over seeds on the page: what is drawn equals a count of seeds; and the values of an axis side by side."""

import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import PathPatch, Polygon

from study import results
from study.report import plots
from study.report.content import Content, Provenance, View
from study.report.parts import Section
from study.report.sections import attainment as page
from study.report.sections import comparison
from study.results import attainment, fronts
from study.tracking import Snapshot

LAMBDAS = (1e-3, 1e-1, math.nan)
ROUNDING, ROUNDINGS = "channel.rounding", ("sin", "soft", "straight-through")


def trials(
    isps: dict[str, float], seeds: int, cameras: tuple[str, ...] = ("Alpha",), roundings: tuple[str, ...] = ("sin",)
) -> pd.DataFrame:
    """ISPs with their mean accuracy at 30 dB; every trial is some random points away from its setting's mean."""
    random = np.random.default_rng(0)
    rows = [
        {"camera": camera, "isp": isp, "lam": lam, "seed": seed, ROUNDING: rounding}
        | {"psnr": 30 + 3 * step + random.normal(), "accuracy": top + 0.15 * place - 0.1 * step + random.normal() / 30}
        for camera in cameras
        for isp, top in isps.items()
        for place, rounding in enumerate(roundings)
        for seed in range(seeds)
        for step, lam in enumerate(LAMBDAS)
    ]
    table = pd.DataFrame(rows)
    table["mode"] = np.where(table["lam"].isna(), results.FIXED, "joint")
    ids = [f"{number}" for number in range(len(table))]
    others = dict.fromkeys({*results.METRICS, *results.TEST_METRICS} - set(table), math.nan)
    return table.assign(status="FINISHED", failure="", run_id=ids, trial_key=ids, **others)


def content(table: pd.DataFrame, roundings: tuple[str, ...] = ("sin",)) -> Content:
    plan = [{ROUNDING: rounding} for rounding in roundings]
    real = View.of(table, results.PANEL) if results.leading(table) == results.PANEL else None
    trained, none = View.of(table, results.TRAINED), pd.DataFrame()
    return Content(Snapshot(None, "", {}, ()), plan, Provenance(), table, table, none, trained, real, none, none)


def drawings(section: Section) -> list[str]:
    return re.findall(r'<svg [^>]*aria-label="([^"]+)"', section.html)


def files(section: Section) -> dict[str, bytes]:
    return {path: file for part in section.parts for path, file in part.files.items()}


def csv(section: Section, name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(files(section)[f"tables/{name}.csv"]))


def test_bands_are_drawn_where_a_quarter_to_three_quarters_attain() -> None:
    table = trials({"UNet": 0.6, "INet": 0.7}, seeds=5)
    figure = page.band_figure(attainment.surfaces(table))
    axes = figure.axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    random = np.random.default_rng(1)
    places = np.column_stack([random.uniform(left, right, 500), random.uniform(bottom, top, 500)])
    bands = [patch for patch in axes.patches if isinstance(patch, Polygon)]
    assert len(bands) == 2
    for band, isp in zip(bands, ("UNet", "INet"), strict=True):
        assert to_rgb(band.get_facecolor()) == to_rgb(plots.isp_colour(isp))
        shares = share(table[table["isp"] == isp], places)
        np.testing.assert_array_equal(band.get_path().contains_points(places), (shares >= 0.25) & (shares < 0.75))


def share(trials: pd.DataFrame, places: np.ndarray) -> np.ndarray:
    """Share of the seeds that attain places (n, 2) in dB and per cent."""
    found = []
    for _, seed in trials.groupby("seed"):
        points = seed[["psnr", "accuracy"]].to_numpy() * [1, 100]
        found.append((points[None] >= places[:, None]).all(axis=2).any(axis=1))
    return np.mean(found, axis=0)


def test_differences_are_drawn_as_deep_as_they_are() -> None:
    table = trials({"UNet": 0.6, "INet": 0.62}, seeds=4)
    (pair,) = attainment.differences(table, "isp", "INet", "UNet")
    colours = plots.isp_colour("INet"), plots.isp_colour("UNet")
    axes = page.difference_figure(pair, comparison.Contest("isp", "INet", "UNet"), colours).axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    random = np.random.default_rng(1)
    places = np.column_stack([random.uniform(left, right, 500), random.uniform(bottom, top, 500)])
    found = np.zeros(len(places))
    for patch in axes.patches:
        assert isinstance(patch, PathPatch)
        *colour, opacity = patch.get_facecolor()
        sign = 1 if tuple(colour) == to_rgb(colours[0]) else -1
        assert tuple(colour) == to_rgb(colours[0 if sign == 1 else 1])
        found += sign * opacity * patch.get_path().contains_points(places)
    expected = share(table[table["isp"] == "INet"], places) - share(table[table["isp"] == "UNet"], places)
    assert {-0.25, 0, 0.25, 0.5} <= set(expected)
    np.testing.assert_allclose(found, expected)


def test_the_section_draws_every_camera_and_pair() -> None:
    section = page.section(content(trials({"UNet": 0.6, "INet": 0.7, "Pattern": 0.5}, 3, ("Alpha", "Beta"))))
    assert section.aside == "behind dJPEG, validation photographs"
    drawn = [f"What shares of the seeds attain behind dJPEG, {camera}" for camera in ("Alpha", "Beta")]
    pairs = [
        f"Where {isp} attains more often than Pattern, {camera}"
        for isp in ("UNet", "INet")
        for camera in ("Alpha", "Beta")
    ]
    assert drawings(section) == [*drawn, *pairs]
    spread = csv(section, "attainment")
    assert list(spread["seeds"]) == [3] * 6
    assert (spread["deviation"] > 0).all()
    assert set(csv(section, "attainment-surfaces")["surface"]) == {"25 %", "50 %", "75 %", "expectation"}
    rectangles, greatest = csv(section, "attainment-rectangles"), csv(section, "attainment-differences")
    assert set(rectangles["value"]) == {"UNet", "INet"}
    for _, row in greatest.iterrows():
        same = (rectangles["camera"] == row["camera"]) & (rectangles["value"] == row["value"])
        leads = np.sign(row["difference"]) * rectangles.loc[same, "difference"]
        assert abs(row["difference"]) == leads.max()
    assert len([path for path in files(section) if path.endswith(".pdf")]) == 6


def test_without_pattern_isps_are_compared_with_the_first() -> None:
    found = page._contests(content(trials({"INet": 0.7, "DNet": 0.7, "UNet": 0.6}, 3)))
    assert [(contest.first, contest.second) for contest in found] == [("INet", "UNet"), ("DNet", "UNet")]


def test_too_few_seeds_are_told_in_a_line() -> None:
    section = page.section(content(trials({"UNet": 0.6, "INet": 0.7}, 2)))
    assert section.html == '<p class="plain">Bands over seeds need at least 3 seeds. There are 2 so far.</p>\n'
    table = trials({"UNet": 0.6, "INet": 0.7}, 4)
    section = page.section(content(table[(table["isp"] == "UNet") | (table["seed"] < 2)]))
    assert "Bands over seeds need at least 3 seeds. 1 of 2 fronts have fewer, and are left out." in section.html
    assert not any("more often" in label for label in drawings(section))
    assert page.section(content(table.head(0))).html == ""


def test_real_encoders_and_test_photographs_where_there_are_some() -> None:
    table = trials({"UNet": 0.6}, 3)
    table = table.assign(accuracy_real=table["accuracy"] - 0.1, test_psnr=table["psnr"] - 1)
    table = table.assign(test_accuracy=0.5, test_accuracy_real=table["accuracy_real"] - 0.1)
    section = page.section(content(table))
    assert section.aside == "behind real encoders, test photographs"
    expected = fronts.hypervolume(results.behind(table, "real"), "psnr", each_seed=True, on_test=True)
    assert csv(section, "attainment")["hypervolume"].tolist() == pytest.approx([expected["hypervolume"].mean()])
    half = table.assign(test_psnr=table["test_psnr"].where(table["seed"] > 0))
    assert "3 seeds that are judged on the test photographs. There are 2 so far." in page.section(content(half)).html


def test_fronts_without_area_have_no_relative_deviation() -> None:
    table = trials({"UNet": 0.6}, 3).assign(accuracy=0.1)
    assert "<td>0.00</td><td>100</td><td>0.000</td><td>–</td>" in page.section(content(table)).html


def test_an_axis_is_drawn_side_by_side_where_it_has_several_values() -> None:
    """The second ISP was trained with one rounding alone."""
    table = trials({"UNet": 0.5, "INet": 0.6}, 3, ("Alpha",), ROUNDINGS)
    table = table[(table["isp"] == "UNet") | (table[ROUNDING] == "sin")]
    study = content(table, ROUNDINGS)
    drawn = [label for label in drawings(comparison.section(study)) if label.startswith("Fronts by")]
    assert drawn == [f"Fronts by {ROUNDING}, Alpha · UNet"]
    told = comparison.section(study).html
    for value in ROUNDINGS[1:]:
        assert f"Each behind the channel of its own training, {ROUNDING} {value} is more accurate than sin" in told
        assert f"{ROUNDING} {value} against sin: who attains more often" in page.section(study).html
    real = results.behind(table.assign(accuracy_real=table["accuracy"].where(table[ROUNDING] == "sin")), "real")
    assert list(comparison._pictures(study, View.of(real, results.TRAINED))) == []


def test_values_of_an_axis_have_the_colours_of_their_places_in_the_study_file() -> None:
    table = trials({"UNet": 0.5}, 1, ("Alpha",), ROUNDINGS)
    order = ["straight-through", "sin", "soft"]
    figure = comparison.side_by_side(results.summary(table), ROUNDING, order)
    named = {line.get_label(): line.get_color() for line in figure.axes[0].lines if line.get_label() in order}
    assert named == dict(zip(order, plots.PALETTE, strict=False))
    assert list(comparison.axis_values(content(table, tuple(order)))[ROUNDING]) == order
