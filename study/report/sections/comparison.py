"""What is better at equal PSNR: an ISP or the plain Pattern, one value of an axis or another; seed by seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study import results
from study.report import plots
from study.report.content import Content, View
from study.report.parts import Part, Section, details, note, panels, paragraph, picture, show
from study.report.tables import Cells, Table, as_printed, count, estimate, named, number
from study.results import fronts

PATTERN = "Pattern"
VALUES = 6  # of an axis, at most, that are compared
READING = """Accuracies are read off the front of each seed at the same PSNRs, linear between its settings, and
subtracted seed by seed; brackets are Student’s t, 95 %. A mean over cameras takes the seeds that all of them have.
Settings are chosen by the validation photographs."""
ABOUT_PATTERN = f"""{PATTERN} is the cheapest watermark there is: a frozen ISP plus one learned tile that is added to
every photograph, which anybody can average out or copy. What a jointly trained ISP reaches beyond it is more than a
fixed pattern. """

MORE, LESS = "joint training does more than a fixed pattern", "a fixed pattern does better than joint training"


@dataclass(frozen=True)
class Contest:
    """Two values of an axis, which results.at_equal_psnr compares."""

    axis: str
    first: str
    second: str

    @property
    def name(self) -> str:
        return f"{self.axis} {self.first}" if self.axis != "isp" else self.first


def section(content: Content) -> Section:
    contests = list(pairs_of_values(content))
    parts: list[Part] = []
    for view in content.views if contests else []:
        found = [(contest, _pairs(view, contest)) for contest in contests]
        parts += [paragraph(sentence(contest, pairs, view)) for contest, pairs in found]
        table = differences(found, view)
        parts += [panels(_pictures(content, view)), details(table.caption, show(table), opened=view is content.view)]
    about = ABOUT_PATTERN if any(contest.second == PATTERN for contest in contests) else ""
    return Section("At equal PSNR", [note(about + READING), *parts])


def pairs_of_values(content: Content) -> Iterator[Contest]:
    """Learned ISPs against Pattern, and the values of every further axis against its first in the study file."""
    joint = _joint(content)
    if PATTERN in set(joint["isp"]):
        yield from (Contest("isp", isp, PATTERN) for isp in plots.in_order(joint["isp"]) if isp != PATTERN)
    for axis, values in axis_values(content).items():
        yield from (Contest(axis, value, values[0]) for value in values[1:])


def axis_values(content: Content) -> dict[str, list[str]]:
    """The values of every further axis with results, in the order of the study file; no axis with too many."""
    joint = _joint(content)
    found = {}
    for axis in results.axes(joint):
        planned = [str(row[axis]) for row in content.plan if row.get(axis) is not None]
        found[axis] = [value for value in dict.fromkeys([*planned, *joint[axis]]) if value in set(joint[axis])]
    return {axis: values for axis, values in found.items() if len(values) <= VALUES}


def _joint(content: Content) -> pd.DataFrame:
    return content.done[content.done["mode"] != results.FIXED]


def _pairs(view: View, contest: Contest) -> pd.DataFrame:
    return results.at_equal_psnr(view.done, contest.axis, contest.first, contest.second, on_test=view.tested)


def sentence(contest: Contest, pairs: pd.DataFrame, view: View) -> str:
    """Which of the two is more accurate at equal PSNR, over all cameras, or that it cannot be told, and why."""
    where = "Behind real encoders" if view.real else "Behind dJPEG"
    if not view.real and contest.axis.startswith("channel."):
        where = "Each behind the channel of its own training"
    untold = f"{where}, it cannot be told whether {contest.name} and {contest.second} differ at equal PSNR"
    whole = results.over_all(pairs)
    whole = whole[whole["at"].isna()]
    if whole.empty:
        return f"{untold}: their fronts share no PSNR, or no seed."
    row = whole.iloc[0]
    low, high = row["difference_low"], row["difference_high"]
    points = estimate([row["difference"], low, high], 1, scale=100, sign=True)
    between = f"mean from {pairs['at'].min():.4g} to {pairs['at'].max():.4g} dB"
    figures = f"{points} points, {between}, {count(int(row['seeds']), 'seed')}"
    if np.isnan(low):
        return f"{untold}: one seed has no interval ({figures})."
    if low <= 0 <= high:
        return f"{untold}: the interval holds zero ({figures})."
    against_pattern = contest.second == PATTERN
    more, meaning = ("more", MORE) if low > 0 else ("less", LESS)
    told = f"{where}, {contest.name} is {more} accurate than {contest.second} at equal PSNR ({figures})"
    return f"{told}: {meaning}." if against_pattern else f"{told}."


def differences(found: list[tuple[Contest, pd.DataFrame]], view: View) -> Table:
    """A row per pair, camera and further axes, and PSNR: both accuracies and their difference with its interval."""
    rows: list[Cells] = []
    parts = []
    places = dict.fromkeys(["camera", "isp", *(name for _, pairs in found for name in _place(pairs))], "")
    for contest, pairs in found:
        within = _place(pairs)
        numbers = results.over_all(pairs, within)
        parts.append(numbers.assign(axis=contest.axis, value=contest.first, against=contest.second))
        for row in numbers.to_dict("records"):
            place = places | {name: row[name] for name in within}
            cells = named({"compared": contest.name, "against": contest.second} | place)
            cells["", "PSNR (dB)"] = "mean" if np.isnan(row["at"]) else f"{row['at']:.4g}"
            cells["", "Seeds"] = str(row["seeds"])
            cells["Accuracy (%)", "compared"] = number(100 * row["first"], 1)
            cells["Accuracy (%)", "against"] = number(100 * row["second"], 1)
            estimated = [row["difference"], row["difference_low"], row["difference_high"]]
            cells["", "Difference (points)"] = estimate(estimated, 1, scale=100, sign=True)
            rows.append(cells)
    behind = "real encoders" if view.real else "dJPEG"
    on = "test" if view.tested else "validation"
    caption = f"Differences of accuracy behind {behind} at equal PSNR, on the {on} photographs"
    return Table(f"equal-psnr{view.name}", caption, as_printed(rows, once=2), pd.concat(parts, ignore_index=True))


def _place(pairs: pd.DataFrame) -> list[str]:
    """The columns that say what a pair shares: camera, ISP, further axes."""
    return [name for name in pairs if name not in ("at", "seed", "first", "second", "difference")]


def _pictures(content: Content, view: View) -> Iterator[Part]:
    """The fronts of all values of an axis in one picture, a picture per camera × ISP and other axes with several."""
    for axis in results.axes(view.summary):
        order = axis_values(content).get(axis, [])
        by = [name for name in ["camera", "isp", *results.axes(view.summary)] if name != axis]
        for values, group in view.summary.groupby(by, dropna=False):
            if len(set(group[axis]) & set(order)) < 2:
                continue
            pairs = zip(by, values, strict=True)
            shown = [value if name in ("camera", "isp") else f"{name} {value}" for name, value in pairs]
            title = " · ".join([*shown, axis])
            says = f"Fronts by {axis}{' behind real encoders' if view.real else ''}, {' · '.join(shown)}"
            yield picture(side_by_side(group, axis, order), f"axis{view.name}", title, says)


def side_by_side(summary: pd.DataFrame, axis: str, order: list[str]) -> Figure:
    """PSNR against accuracy of one camera × ISP: a colour for each value of the axis, filled where on its front."""
    on_front = set(fronts.front(summary, "psnr")["run_ids"])
    summary = results.reported(summary)
    with plots.column(2.9) as figure:
        axes = figure.subplots()
        for value in order:
            rows, colour = summary[summary[axis] == value], value_colour(value, order)
            joint = rows[rows["mode"] != results.FIXED].sort_values("lam")
            axes.plot(joint["psnr"], 100 * joint["accuracy"], "-", color=colour, linewidth=1.1)
            for row in rows.itertuples():
                fixed = row.mode == results.FIXED
                fill = colour if row.run_ids in on_front else plots.PAPER
                look: dict[str, Any] = {"color": colour, "markersize": 5 if fixed else 4, "markerfacecolor": fill}
                axes.plot(row.psnr, 100 * row.accuracy, "D" if fixed else "o", **look)
                low, high = 100 * row.accuracy_low, 100 * row.accuracy_high
                axes.vlines(row.psnr, low, high, color=colour, linewidth=0.6, alpha=0.6)
            if len(rows):
                axes.plot([], [], "-o", color=colour, markersize=4, linewidth=1.1, label=value)
        axes.set(xlabel="PSNR (dB)", ylabel="Accuracy (%)")
        axes.margins(0.07)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        plots.legend(figure, axes, 2)
    return figure


def value_colour(value: str, order: list[str]) -> str:
    """The colour that a value of an axis has in this study."""
    return plots.PALETTE[order.index(value) % len(plots.PALETTE)]
