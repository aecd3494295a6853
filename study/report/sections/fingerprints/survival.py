"""Does the fingerprint survive joint training? PCE and AUC against λ."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from prnu.experiment import PCE_THRESHOLD
from study.report import fingerprint_statistics as statistics
from study.report import plots
from study.report.fingerprint_statistics import FingerprintContent
from study.report.parts import Part, Section, details, note, panels, paragraph, picture, show
from study.report.tables import NOTHING, Cells, Table, as_printed, interval

COMPARE = f"""Compare a jointly trained pipeline with the same ISP fixed. Where its share of the same camera above
{PCE_THRESHOLD:g} is lower and the intervals do not overlap, joint training costs photographs their fingerprint. Where
photographs of other cameras match as often, the pattern is the pipeline’s and says nothing about the sensor."""
READING = f"""Above: PCE of photographs with their own camera’s fingerprint, median and quartiles; the thin line is the
threshold of {PCE_THRESHOLD:g}, and the axis is logarithmic above 1. Below: AUC against photographs of other cameras,
with 95 % intervals. Dashed: the same ISP fixed (only trained to develop, all its instances together); dotted: the
standard pipeline. After the channel, the analyst has received photographs alone and makes the fingerprint of them,
too."""
DASHES = {statistics.FIXED: plots.DASHED, statistics.STANDARD: plots.DOTTED}
CAPTION = (
    "PCE of photographs with the fingerprint of the same and of another camera, all by one pipeline{}: median with "
    f"quartiles, shares above {PCE_THRESHOLD:g} and AUC with 95 % intervals"
)


def section(content: FingerprintContent) -> Section:
    pictures = list(_pictures(content.pairs))
    together, table = show(survival(content.pairs)), show(attribution(content.pairs))
    csv = every_pair(content.pairs).to_csv(index=False).encode()
    nothing = "No jointly trained pipeline has been examined, so nothing can be said about λ."
    parts = [together, note(COMPARE), note(READING), panels(pictures)] if pictures else [paragraph(nothing), together]
    numbers = details("All pipelines in numbers", table, opened=not pictures)
    parts += [numbers, Part(files={"tables/pairs.csv": csv})]
    return Section("Does the fingerprint survive joint training?", parts)


def survival(pairs: pd.DataFrame) -> Table:
    """All pairs of every ISP × setting × view, all cameras together."""
    found = statistics.pooled(pairs[pairs["same"].map(len) > 0], statistics.SETTING)
    printed = [statistics.setting_cells(row) | _cells(row) for row in found.to_dict("records")]
    return Table("survival", CAPTION.format(", all cameras together"), as_printed(printed), found)


def attribution(pairs: pd.DataFrame) -> Table:
    """All pairs of every camera × pipeline × view."""
    found = statistics.pooled(pairs, ["camera", "pipeline", *statistics.SETTING])
    printed = [statistics.pipeline_cells(row) | _cells(row) for row in found.to_dict("records")]
    return Table("attribution", CAPTION.format(""), as_printed(printed), found)


def _cells(row: Mapping[str, Any]) -> Cells:
    low, median, high = (statistics.energy(row[name]) for name in ("pce_low", "pce", "pce_high"))
    return {
        ("Same camera", "Pairs"): str(row["found_pairs"]),
        ("Same camera", "PCE"): f"{median} [{low}, {high}]" if row["found_pairs"] else NOTHING,
        ("Same camera", f"> {PCE_THRESHOLD:g} (%)"): interval(row, "found_share", 1, 100),
        **statistics.other_cells(row),
    }


def every_pair(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row per pair of photograph and fingerprint."""
    names = ["camera", "pipeline", "lam", "view"]
    return pairs.melt(names, ["same", "other"], "camera_of_photograph", "pce").explode("pce").dropna(subset="pce")


def _pictures(pairs: pd.DataFrame) -> Iterator[Part]:
    """A figure per camera and jointly trained ISP."""
    known = pairs[pairs["same"].map(len) > 0]
    for camera, isp in known[known["setting"] == statistics.JOINT][["camera", "isp"]].drop_duplicates().to_numpy():
        title = f"{camera} · {isp}"
        figure = plot(statistics.of_isp(known[known["camera"] == camera], isp))
        yield picture(figure, "survival", title, f"PCE and AUC against λ, {title}")


def plot(points: pd.DataFrame) -> Figure:
    """PCE (median, bars: quartiles) and AUC (bars: 95 %) against λ of one camera, from :func:`statistics.of_isp`."""
    with plots.column(4.1) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        for view, colour, aside, seen in statistics.by_view(points, 0.05):
            joint = seen[seen["setting"] == statistics.JOINT].sort_values("lam")
            look: dict[str, Any] = {"color": colour, "markersize": 3.5, "linewidth": 1.2}
            for axes, statistic in ((upper, "pce"), (lower, "auc")):
                x = joint["lam"] * 10**aside
                axes.plot(x, joint[statistic], "-o", label=statistics.VIEWS[view], **look)
                axes.vlines(x, joint[f"{statistic}_low"], joint[f"{statistic}_high"], color=colour, linewidth=1)
                for setting, dashes in DASHES.items():
                    for value in seen[seen["setting"] == setting][statistic]:
                        axes.axhline(value, color=colour, linewidth=1, linestyle=dashes)
        for setting, dashes in DASHES.items():
            if setting in set(points["setting"]):
                upper.plot([], [], color=plots.INK, linewidth=1, linestyle=dashes, label=setting)
        upper.set_yscale("symlog", linthresh=1)
        upper.set_ylim(min(0, 1.5 * points["pce_low"].min()), 3 * max(points["pce_high"].max(), PCE_THRESHOLD))
        upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
        upper.axhline(PCE_THRESHOLD, color=plots.INK, linewidth=0.6)
        upper.annotate(
            f"{PCE_THRESHOLD:g}",
            (1, PCE_THRESHOLD),
            (-1, 1.5),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            fontsize=7,
        )
        upper.set_ylabel("PCE, same camera")
        lower.axhline(0.5, color=plots.INK, linewidth=0.6)
        lower.set_ylim(min(0.45, points["auc_low"].min() - 0.02), 1.02)
        lower.set_ylabel("AUC")
        _lambda_axis(lower, points["lam"])
        plots.legend(figure, upper, 2)
    return figure


def _lambda_axis(axes: Axes, lambdas: pd.Series) -> None:
    """Every λ is named where there is room, else powers of ten."""
    values = sorted(lambdas.dropna().unique())
    axes.set_xscale("log")
    axes.set_xlim(values[0] / 1.6, values[-1] * 1.6)
    if len(values) <= 4 and all(b / a >= 3 for a, b in itertools.pairwise(values)):
        axes.set_xticks(values, [f"{value:g}" for value in values])
    else:
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_xlabel("λ")
