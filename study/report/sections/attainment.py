"""Fronts over seeds: what a quarter, half and three quarters of the seeds attain, and who attains more often."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from study import results
from study.report import plots
from study.report.content import Content, View, groups
from study.report.parts import Part, Section, details, note, panels, paragraph, picture, show
from study.report.sections.comparison import PATTERN, Contest, axis_values, pairs_of_values, value_colour
from study.report.tables import NOTHING, Cells, Table, as_printed, count, named, number
from study.results import attainment
from study.results.attainment import Difference
from study.results.fronts import REFERENCE

Found = tuple[Contest, list[Difference]]

TITLE = "Fronts over seeds"
READING = """Other seeds give another front. A seed attains a point of these pictures if a setting on its front is at
least as good in PSNR and in accuracy at once: everything below and left of its front. Line: what lies below and left of
it, at least half of the seeds attain. Band: at least three quarters attain what lies below its lower edge, at least a
quarter what lies below its upper edge. Where a band is narrow, seeds agree; where those of two ISPs do not overlap,
most seeds agree on which is better. They are staircases because nothing is interpolated between settings."""
DIFFERENCES = """Below, two are compared by the share of their seeds that attain a point. The colour is that of the one
that does so with more seeds, and the deeper it is, the more: it is full where every seed of one attains the point, and
none of the other. No colour: equally many, or none. Lines: what half of the seeds of each attain. Only seeds count that
both have. With few of them a pale colour may be chance: of ten seeds, one is 10 %. The table names the greatest lead of
each of the two, and a point where it has it."""
DEVIATION = """The Vorob’ev expectation is what this share of the seeds attains, chosen so that its area is that of the
mean front; the Vorob’ev deviation is the area in which a seed differs from it, the mean over seeds: in units of the
hypervolume above (dB × fraction), and in per cent of the mean hypervolume. It is 0 where all seeds have the same
front."""
TOO_FEW = f"Bands over seeds need at least {attainment.LEAST} seeds"


def section(content: Content) -> Section:
    view = content.view
    if view.done.empty:
        return Section(TITLE, [])
    surfaces, spread = (measure(view.done, view.tested) for measure in (attainment.surfaces, attainment.spread))
    few = [paragraph(too_few(spread, view), "plain")] if (spread["seeds"] < attainment.LEAST).any() else []
    if surfaces.empty:
        return Section(TITLE, few)
    bands = panels(_bands(surfaces, view))
    found = [(contest, list(_differences(view, contest))) for contest in _contests(content)]
    parts = [note(READING), *few, bands, show(deviations(spread, view)), note(DEVIATION)]
    if any(pairs for _, pairs in found):
        pictures = [_together(content, *each) for each in found]
        parts += [note(DIFFERENCES), *pictures, show(greatest(found, view))]
    files = {"tables/attainment-surfaces.csv": surfaces, "tables/attainment-rectangles.csv": _rectangles(found)}
    parts.append(Part(files={path: table.to_csv(index=False).encode() for path, table in files.items()}))
    return Section(TITLE, parts, aside=f"behind {_behind(view)}, {_photographs(view)} photographs")


def _behind(view: View) -> str:
    return "real encoders" if view.real else "dJPEG"


def _photographs(view: View) -> str:
    return results.TEST_SET if view.tested else results.VALIDATION_SET


def too_few(spread: pd.DataFrame, view: View) -> str:
    """How much of the study has too few seeds for bands."""
    few = spread[spread["seeds"] < attainment.LEAST]
    needed = TOO_FEW + (" that are judged on the test photographs" if view.tested else "")
    if len(few) == len(spread):
        return f"{needed}. There are {few['seeds'].max()} so far."
    return f"{needed}. {len(few)} of {count(len(spread), 'front')} have fewer, and are left out."


def _bands(surfaces: pd.DataFrame, view: View) -> Iterator[Part]:
    """A picture per camera and further axes."""
    for title, panel in groups(surfaces, "camera"):
        says = f"What shares of the seeds attain behind {_behind(view)}, {title}"
        yield picture(band_figure(panel), "attainment", title, says)


def band_figure(surfaces: pd.DataFrame) -> Figure:
    """What half of the seeds attain, within what three quarters and a quarter do, of one camera: a colour per ISP."""
    with plots.column(2.9) as figure:
        axes = figure.subplots()
        left, bottom = _frame(axes, surfaces[["psnr", "accuracy"]].to_numpy(float))
        for isp in plots.in_order(surfaces["isp"]):
            own = surfaces[surfaces["isp"] == isp]
            outer, median, inner = (
                staircase(own.loc[own["surface"] == name, ["psnr", "accuracy"]].to_numpy(float), left, bottom)
                for name in ("25 %", "50 %", "75 %")
            )
            colour = plots.isp_colour(isp)
            axes.fill(*np.concatenate([outer, inner[::-1]]).T, color=colour, alpha=0.25, linewidth=0)
            axes.plot(*median.T, color=colour, linewidth=1.1, label=isp)
        plots.legend(figure, axes, 4)
    return figure


def _frame(axes: Axes, corners: np.ndarray) -> tuple[float, float]:
    """Set the limits around corners (k, 2) in dB and fractions of 1; returns the least PSNR and accuracy (%) shown."""
    low, high = corners.min(axis=0) * [1, 100], corners.max(axis=0) * [1, 100]
    margin = 0.07 * np.maximum(high - low, [0.5, 5])
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axes.set(xlabel="PSNR (dB)", ylabel="Accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return float(low[0] - margin[0]), float(low[1] - margin[1])


def staircase(corners: np.ndarray, left: float, bottom: float) -> np.ndarray:
    """The line (2m + 1, 2) around what corners (m, 2) attain, accuracies in per cent: from the left edge to the lower.

    Args:
        corners: PSNR, rising, and accuracy (fraction of 1), falling.
        left, bottom: dB and per cent where the picture ends.
    """
    psnr, accuracy = corners[:, 0], 100 * corners[:, 1]
    return np.column_stack([np.append(left, np.repeat(psnr, 2)), np.append(np.repeat(accuracy, 2), bottom)])


def _contests(content: Content) -> Iterator[Contest]:
    """Every ISP against Pattern, or else against the first; the values of every further axis against its first."""
    isps = plots.in_order(content.view.done["isp"])
    if PATTERN not in isps:
        yield from (Contest("isp", isp, isps[0]) for isp in isps[1:])
    yield from pairs_of_values(content)


def _differences(view: View, contest: Contest) -> list[Difference]:
    return attainment.differences(view.done, contest.axis, contest.first, contest.second, view.tested)


def _together(content: Content, contest: Contest, pairs: list[Difference]) -> Part:
    """The pictures of two values; those of two ISPs, which are of interest to everybody, are open."""
    title = f"{contest.name} against {contest.second}: who attains more often"
    return details(title, panels(_pictures(content, contest, pairs)), opened=contest.axis == "isp")


def _pictures(content: Content, contest: Contest, pairs: list[Difference]) -> Iterator[Part]:
    """A picture per camera, or whatever else the two values share."""
    order, sides = axis_values(content).get(contest.axis, []), (contest.first, contest.second)
    first, second = (plots.isp_colour(each) if contest.axis == "isp" else value_colour(each, order) for each in sides)
    for pair in pairs:
        shown = [value if name in ("camera", "isp") else f"{name} {value}" for name, value in pair.place.items()]
        title = " · ".join([*shown, f"{contest.name} against {contest.second}"])
        says = f"Where {contest.name} attains more often than {contest.second}, {' · '.join(shown)}"
        yield picture(difference_figure(pair, contest, (first, second)), "attainment-difference", title, says)


def difference_figure(pair: Difference, contest: Contest, colours: tuple[str, str]) -> Figure:
    """Where which of two attains more often: in its colour, the deeper the more; lines: what half of the seeds attain.

    Args:
        colours: of the first and of the second.
    """
    shades = [to_rgba(colours[level < 0], abs(level) / pair.seeds) for level in range(-pair.seeds, pair.seeds + 1)]
    with plots.column(3.2) as figure:
        axes = figure.subplots()
        ends = pair.rectangles[["psnr_high", "accuracy_high"]].to_numpy(float)
        left, bottom = _frame(axes, np.concatenate([*pair.medians, ends]))
        for difference, group in pair.rectangles.groupby("difference"):
            shade = shades[round(float(difference) * pair.seeds) + pair.seeds]
            axes.add_patch(PathPatch(_outline(group, left, bottom), facecolor=shade, linewidth=0, antialiased=False))
        for median, colour in zip(pair.medians, colours, strict=True):
            axes.plot(*staircase(median, left, bottom).T, color=colour, linewidth=1.1)
        steps = ScalarMappable(Normalize(-100, 100), ListedColormap(shades))
        bar = figure.colorbar(steps, ax=axes, location="top", aspect=30, ticks=[-100, -50, 0, 50, 100])
        bar.ax.set_xticklabels(["100 %", "50 %", "0", "50 %", "100 %"])
        bar.set_label(f"← more seeds with {contest.second} · with {contest.first} →")
    return figure


def _outline(rectangles: pd.DataFrame, left: float, bottom: float) -> Path:
    """All rectangles as one path, which has no seams; what nothing bounds ends where the picture does."""
    low_x, high_x = rectangles["psnr_low"].clip(lower=left), rectangles["psnr_high"]
    low_y, high_y = (100 * rectangles["accuracy_low"]).clip(lower=bottom), 100 * rectangles["accuracy_high"]
    x = np.column_stack([low_x, high_x, high_x, low_x, low_x])
    y = np.column_stack([low_y, low_y, high_y, high_y, low_y])
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(rectangles)
    return Path(np.column_stack([x.ravel(), y.ravel()]), codes)


def deviations(spread: pd.DataFrame, view: View) -> Table:
    """Per camera × ISP: how much of the plane seeds attain on average, and how far they lie from their expectation."""
    by = list(spread.columns[: spread.columns.get_loc("seeds")])
    rows: list[Cells] = []
    for found in spread.assign(relative=spread["deviation"] / spread["hypervolume"]).to_dict("records"):
        row = named({name: found[name] for name in by})
        fewest, most = found["trials_low"], found["trials_high"]
        row["", "Seeds"] = str(found["seeds"])
        row["", "Trials a seed"] = f"{most}" if fewest == most else f"{fewest} to {most}"
        row["", "Mean hypervolume"] = number(found["hypervolume"], 2)
        row["Vorob’ev", "share of seeds (%)"] = number(100 * found["share"], 0)
        row["Vorob’ev", "deviation"] = number(found["deviation"], 3)
        row["Vorob’ev", "in per cent"] = number(100 * found["relative"], 1)
        rows.append(row)
    caption = f"How far the fronts of seeds lie apart behind {_behind(view)}, on the {_photographs(view)} photographs"
    return Table("attainment", caption, as_printed(rows, once=len(by) - 1), spread)


def greatest(found: list[Found], view: View) -> Table:
    """A row per pair and what they share: the largest rectangle in which each leads by its greatest share of seeds."""
    rows: list[Cells] = []
    numbers = []
    shared = dict.fromkeys(
        ["camera", "isp", *(name for _, pairs in found for pair in pairs for name in pair.place)], ""
    )
    for contest, pair in ((contest, pair) for contest, pairs in found for pair in pairs):
        compared = {"axis": contest.axis, "value": contest.first, "against": contest.second}
        row = named({"compared": contest.name, "against": contest.second} | shared | pair.place)
        row["", "Seeds"] = str(pair.seeds)
        for heading, sign in (("compared leads", 1), ("against leads", -1)):
            leads = sign * pair.rectangles["difference"]
            best = pair.rectangles[(leads > 0) & (leads == leads.max())]
            corner = best.loc[_area(best).idxmax()] if len(best) else None
            row[heading, "by (% of seeds)"] = number(np.nan if corner is None else 100 * abs(corner["difference"]), 0)
            place = "" if corner is None else f"{corner['psnr_high']:.2f} dB, {100 * corner['accuracy_high']:.1f} %"
            row[heading, "at"] = place or NOTHING
            if corner is not None:
                numbers.append({**compared, **shared, **pair.place, "seeds": pair.seeds, **corner})
        rows.append(row)
    caption = f"Greatest differences of attainment behind {_behind(view)}, on the {_photographs(view)} photographs"
    return Table("attainment-differences", caption, as_printed(rows, once=2), pd.DataFrame(numbers))


def _area(rectangles: pd.DataFrame) -> "pd.Series[float]":
    """Of each rectangle, what lies above the reference point of hypervolumes."""
    psnr, accuracy = REFERENCE["psnr"]
    width = rectangles["psnr_high"] - rectangles["psnr_low"].clip(lower=psnr)
    return width * (rectangles["accuracy_high"] - rectangles["accuracy_low"].clip(lower=accuracy))


def _rectangles(found: list[Found]) -> pd.DataFrame:
    """All rectangles of all pairs."""
    parts = [
        pair.rectangles.assign(axis=contest.axis, value=contest.first, against=contest.second, **pair.place)
        for contest, pairs in found
        for pair in pairs
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
