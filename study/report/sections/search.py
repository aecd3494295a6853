"""The search: its front over the grid's, what each has reached by device time, and which settings matter."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study import results
from study.report import plots
from study.report.content import Content, View
from study.report.parts import Part, Section, details, note, panels, picture, show
from study.report.tables import Cells, Table, as_printed, named
from study.results import fronts
from study.results import searched as of_search

READING = """Each point is a setting that the search has proposed, the mean over its seeds; the line is the front of
these points. Grey: the grid. The validation photographs decide which settings are on a front; {where}."""
ON_TEST, ON_VALIDATION = "positions are those of the test photographs", "there are no test photographs"
TIME = """The hypervolume that was reached after so much device time, a trial after the other in the order in which they
ended. A setting counts once the last of its seeds has ended; what was stopped or failed takes its time, too. Where the
search builds on the grid’s trials, it began with what these had found."""
WEIGHT = """How differently a setting is spread among the best quarter of the points than among all, for each objective
(PED-ANOVA, Watanabe et al. 2023); over all settings it sums to 1."""
LINES = "Each line is a point of the search; those on its front are dark."


def section(content: Content) -> Section:
    rows = content.provenance.search
    every = of_search.of_search(content.every_trial, rows)
    behind = results.leading(every)
    trials = pd.concat([results.behind(every, behind), every[every["status"] != "FINISHED"]])
    trials = trials.drop_duplicates("run_id")
    view = content.real if behind == results.PANEL else content.trained
    done = results.finished(trials[trials["state"] == of_search.FINISHED])
    if done.empty:
        return Section("Search", [])
    names = of_search.settings(rows)
    tested = bool(done[results.TEST_METRICS[0]].notna().all())
    metrics = [
        "accuracy",
        "psnr",
        "ssim",
        *([results.TEST + name for name in ("accuracy", "psnr", "ssim")] if tested else []),
    ]
    points = of_search.points(trials, names, metrics)
    parts = [
        note(READING.format(where=ON_TEST if tested else ON_VALIDATION)),
        panels(_fronts(view, points, tested)),
        note(TIME),
        panels(_times(view, trials, tested)),
        *_weights(content),
        note(LINES),
        panels(_lines(points, names)),
        details("All points", show(_table(points, names))),
    ]
    return Section("Search", parts, aside="behind real encoders" if behind == results.PANEL else "")


def _pairs(points: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for (camera, isp), group in points.groupby(["camera", "isp"]):
        yield camera, isp, group


def _of(table: pd.DataFrame, camera: str, isp: str) -> pd.DataFrame:
    return table[(table["camera"] == camera) & (table["isp"] == isp)]


def _fronts(view: View | None, points: pd.DataFrame, tested: bool) -> Iterator[Part]:
    grid = points.head(0) if view is None else view.summary
    for camera, isp, group in _pairs(points):
        title = f"{camera} · {isp}"
        figure = trade_off(group, _of(grid, camera, isp), isp, tested)
        yield picture(figure, "search-front", title, f"PSNR against accuracy of the search and of the grid, {title}")


def trade_off(points: pd.DataFrame, grid: pd.DataFrame, isp: str, tested: bool) -> Figure:
    """PSNR against accuracy of one camera × ISP: the search over the grid, see :data:`READING`."""
    prefix = results.TEST if tested else ""
    with plots.column(2.6) as figure:
        axes = figure.subplots()
        for table, colour, name in ((grid, plots.INK, "grid"), (points, plots.isp_colour(isp), "search")):
            if table.empty:
                continue
            alpha = 0.45 if name == "grid" else 1.0
            axes.plot(
                table[f"{prefix}psnr"],
                100 * table[f"{prefix}accuracy"],
                "o",
                color=colour,
                markersize=2.6,
                alpha=alpha / 2,
            )
            front = fronts.front(table, "psnr", within=()).sort_values(f"{prefix}psnr")
            axes.plot(
                front[f"{prefix}psnr"],
                100 * front[f"{prefix}accuracy"],
                "-o",
                color=colour,
                markersize=3,
                alpha=alpha,
                label=name,
            )
        axes.set(xlabel="PSNR (dB)", ylabel="Accuracy (%)")
        plots.legend(figure, axes)
    return figure


def _times(view: View | None, trials: pd.DataFrame, tested: bool) -> Iterator[Part]:
    done = trials.head(0) if view is None else view.done
    grid = of_search.by_device_time(done, ["lam", *results.axes(done)], "psnr", tested)
    search = of_search.by_device_time(trials, ["search", "point"], "psnr", tested)
    for camera, isp, group in _pairs(search):
        title = f"{camera} · {isp}"
        figure = growth(group, _of(grid, camera, isp), isp)
        yield picture(figure, "search-time", title, f"Hypervolume by device time of search and grid, {title}")


def growth(search: pd.DataFrame, grid: pd.DataFrame, isp: str) -> Figure:
    """Hypervolume by device time of one camera × ISP, from :func:`study.results.searched.by_device_time`."""
    with plots.column(2.2) as figure:
        axes = figure.subplots()
        longest = max(search["seconds"].max(), grid["seconds"].max() if len(grid) else 0)
        unit, seconds = ("hours", 3600) if longest > 7200 else ("minutes", 60)
        for table, colour, name in ((grid, plots.INK, "grid"), (search, plots.isp_colour(isp), "search")):
            if len(table):
                axes.step(table["seconds"] / seconds, table["hypervolume"], where="post", color=colour, label=name)
        axes.set(xlabel=f"Device time ({unit})", ylabel="Hypervolume")
        plots.legend(figure, axes)
    return figure


def _weights(content: Content) -> list[Part]:
    found = pd.DataFrame(content.provenance.importances)
    if found.empty:
        return []
    drawn = []
    for camera, isp, group in _pairs(found):
        title = f"{camera} · {isp}"
        figure = weights(group)
        drawn.append(picture(figure, "search-importance", title, f"Importance of the searched settings, {title}"))
    return [note(WEIGHT), panels(drawn)]


def weights(found: pd.DataFrame) -> Figure:
    """Importance of each searched setting for each objective, as bars."""
    wide = found.pivot(index="setting", columns="objective", values="importance")
    with plots.column(0.9 + 0.35 * len(wide)) as figure:
        axes = figure.subplots()
        height = 0.8 / len(wide.columns)
        for number, objective in enumerate(wide.columns):
            places = np.arange(len(wide)) + number * height
            axes.barh(
                places, wide[objective], height, color=plots.PALETTE[number % len(plots.PALETTE)], label=objective
            )
        axes.set_yticks(np.arange(len(wide)) + 0.4 - height / 2, wide.index)
        axes.set(xlabel="Importance", xlim=(0, 1))
        axes.grid(axis="y", visible=False)
        plots.legend(figure, axes, 2)
    return figure


def _lines(points: pd.DataFrame, names: list[str]) -> Iterator[Part]:
    for camera, isp, group in _pairs(points):
        title = f"{camera} · {isp}"
        figure = parallel(group, names, isp)
        yield picture(figure, "search-parallel", title, f"Settings and objectives of every point, {title}")


def parallel(points: pd.DataFrame, names: list[str], isp: str) -> Figure:
    """Parallel coordinates: every point's settings, PSNR and accuracy, each axis from its least to its greatest."""
    columns = [*names, "psnr", "accuracy"]
    scaled = np.column_stack([_scaled(points[name]) for name in columns])
    on_front = points["point"].isin(fronts.front(points, "psnr", within=())["point"]).to_numpy()
    with plots.column(2.6) as figure:
        axes = figure.subplots()
        for chosen, alpha, width in ((~on_front, 0.25, 0.6), (on_front, 1.0, 1.1)):
            axes.plot(scaled[chosen].T, "-", color=plots.isp_colour(isp), alpha=alpha, linewidth=width)
        ends = [_ends(points[name]) for name in columns]
        labels = [f"{low}\n{name.split('.')[-1]}" for name, (low, _) in zip(columns, ends, strict=True)]
        axes.set_xticks(range(len(columns)), labels, fontsize=6)
        for place, (_, high) in enumerate(ends):
            axes.text(place, 1.03, high, fontsize=6, ha="center")
        axes.set_yticks([])
        axes.grid(axis="x")
    return figure


def _scaled(values: pd.Series) -> np.ndarray:
    """From 0 to 1: by the logarithm where positive numbers span decades, names by their order."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any():
        numbers = pd.Series(pd.factorize(values, sort=True)[0], index=values.index)
    elif numbers.min() > 0 and numbers.max() > 10 * numbers.min():
        numbers = np.log(numbers.astype(float))
    span = numbers.max() - numbers.min()
    return ((numbers - numbers.min()) / span if span else numbers * 0 + 0.5).to_numpy(float)


def _ends(values: pd.Series) -> tuple[str, str]:
    """The least and the greatest."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any():
        names = sorted(map(str, values.unique()))
        return names[0], names[-1]
    return f"{numbers.min():.3g}", f"{numbers.max():.3g}"


def _table(points: pd.DataFrame, names: list[str]) -> Table:
    """Every finished point, the most accurate first."""
    ordered = points.sort_values(["camera", "isp", "accuracy"], ascending=[True, True, False], ignore_index=True)
    cells: list[Cells] = []
    for row in ordered.to_dict("records"):
        shown = named({"camera": row["camera"], "isp": row["isp"]}) | {("", name): str(row[name]) for name in names}
        shown |= {("", "Seeds"): str(row["seeds"]), ("", "Accuracy (%)"): f"{100 * row['accuracy']:.1f}"}
        cells.append(shown | {("", "PSNR (dB)"): f"{row['psnr']:.2f}", ("", "Device (s)"): f"{row['seconds']:.0f}"})
    return Table("search", "Points of the search, on validation photographs", as_printed(cells, once=2), ordered)
