"""Fidelity against accuracy: the fronts of every camera, and what they enclose and offer."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from study import results
from study.report import plots
from study.report.content import Content, View, groups
from study.report.parts import Part, Section, details, note, panels, picture, show
from study.report.tables import Cells, Table, as_printed, estimate, named
from study.results import fronts

FIDELITY = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ssim_paper": "SSIM (paper’s kind)"}
LIKE = {"psnr": "psnr", "ssim_paper": "ssim"}  # the paper's column of the same measure
AT_PSNR = (30.0, 35.0, 40.0, 42.5)  # dB, where accuracy is read off the fronts
AT_ACCURACY = (0.5, 0.75, 0.9)  # where PSNR is read off them
MARKS = """Dots are seeds and thin lines their fronts, circles their means in the order of λ (small numbers; where there
is no room they are left out, and stand in the table below). A filled marker is on its ISP’s front: no other of its
settings is better in both. Diamonds: the ISP fixed, only the forensic network trained."""
TESTED = """ All positions are measured on the test photographs; the validation photographs decide which settings are on
a front."""
UNTESTED = " All is measured on the validation photographs: there are no others."
BESIDE_PAPER = " Dashed: the paper’s means over ten seeds on its validation photographs, beside SSIM of its kind alone."
BESIDE_TRAINED = """ First behind real encoders; dotted: the same settings behind dJPEG, so that the vertical distance
is the gap. The same behind dJPEG follows below."""
ASIDE, SECOND = "behind real encoders, then behind dJPEG", "The same behind dJPEG, the channel of the training"
MEASURES = """The hypervolume is the area between a front and a reference point of {psnr[0]:g} dB (SSIM {ssim[0]:g})
and {accuracy:g} % accuracy, the latter counted as a fraction. Between two settings of a front, numbers are
interpolated linearly; a dash stands where the front does not reach. Brackets are 95 % intervals over seeds by the
jackknife, around the front of the means; in simulations they cover that of infinitely many seeds in 92 to 97 % of
cases. There is none for one seed, or where the front does not reach without one of them. The fronts of single seeds
are in tables/fronts-by-seed.csv."""


def section(content: Content) -> Section:
    if content.all_fixed:
        return Section("Fidelity against accuracy", [])
    parts = [note(_marks(content))]
    for view in content.views:
        shown = [name for name in FIDELITY if name != "ssim_paper" or (content.beside_paper and not view.real)]
        drawn = [panels(_pictures(content, view, fidelity)) for fidelity in shown]
        opened = [details(SECOND, *drawn)] if content.real and not view.real else drawn
        by_seed = front_measures_by_seed(view.done).to_csv(index=False).encode()
        parts += [*opened, show(front_measures(view)), Part(files={f"tables/fronts-by-seed{view.name}.csv": by_seed})]
    reference = fronts.REFERENCE
    return Section(
        "Fidelity against accuracy",
        [*parts, note(MEASURES.format(**reference, accuracy=100 * reference["psnr"][1]))],
        aside=ASIDE if content.real else "",
    )


def _marks(content: Content) -> str:
    marks = MARKS + (TESTED if content.view.tested else UNTESTED) + (BESIDE_PAPER if content.beside_paper else "")
    return marks + (BESIDE_TRAINED if content.real else "")


def _pictures(content: Content, view: View, fidelity: str) -> Iterator[Part]:
    published = content.published.head(0) if view.real else content.published
    for title, panel in groups(view.summary, "camera"):
        members = view.done[view.done["run_id"].isin(panel["run_ids"].explode())]
        theirs = published[(published["camera"] == panel["camera"].iloc[0]) & published["isp"].isin(panel["isp"])]
        theirs = theirs.assign(ssim_paper=theirs["ssim"]) if fidelity in LIKE else theirs.head(0)
        if panel[fidelity].isna().all():  # runs of earlier versions lack it
            continue
        figure = trade_off(members, panel, fidelity, theirs)
        says = f"{FIDELITY[fidelity]} against accuracy{' behind real encoders' if view.real else ''}, {title}"
        yield picture(figure, f"front-{fidelity}{view.name}", title, says)


def trade_off(table: pd.DataFrame, summary: pd.DataFrame, fidelity: str, published: pd.DataFrame) -> Figure:
    """Fidelity against accuracy of one camera (paper Fig. 9, supplement Figs. 2 and 3), see :data:`MARKS`.

    Args: finished trials of the camera, their summary, the fidelity, and the same camera in the paper.
    """
    on_front = set(fronts.front(summary, fidelity)["run_ids"])
    drawn = ["isp", "seed", fidelity, "accuracy"]
    by_seed = results.reported(fronts.front(table, fidelity, ["isp", "seed"])).sort_values(fidelity)[drawn]
    table, summary = results.reported(table)[drawn], results.reported(summary)
    with plots.column(2.9) as figure:
        axes = figure.subplots()
        for isp in plots.in_order(summary["isp"]):
            colour = plots.isp_colour(isp)
            faint: dict[str, Any] = {"color": colour, "alpha": 0.45}
            seeds, means = table[table["isp"] == isp], summary[summary["isp"] == isp]
            axes.plot(seeds[fidelity], 100 * seeds["accuracy"], "o", markersize=2.6, markeredgewidth=0, **faint)
            for _, seed in by_seed[by_seed["isp"] == isp].groupby("seed"):
                axes.plot(seed[fidelity], 100 * seed["accuracy"], "-", linewidth=0.5, **faint)
            theirs = published[(published["isp"] == isp) & (published["mode"] != results.FIXED)]
            axes.plot(theirs[fidelity], 100 * theirs["accuracy"], color=colour, linewidth=0.9, linestyle=plots.DASHED)
            joint = means[means["mode"] != results.FIXED].sort_values("lam")
            axes.plot(joint[fidelity], 100 * joint["accuracy"], "-", color=colour, linewidth=1.1)
            if results.OWN in joint:
                axes.plot(
                    joint[fidelity], 100 * joint[results.OWN], color=colour, linewidth=0.9, linestyle=plots.DOTTED
                )
            for mean in means.itertuples():
                axes.plot(
                    getattr(mean, fidelity),
                    100 * mean.accuracy,
                    "D" if mean.mode == results.FIXED else "o",
                    color=colour,
                    markersize=5 if mean.mode == results.FIXED else 4,
                    markeredgewidth=1.1,
                    markerfacecolor=colour if mean.run_ids in on_front else plots.PAPER,
                )
            axes.plot([], [], "-o", color=colour, markersize=4, linewidth=1.1, label=isp)
        axes.plot([], [], "D", color=plots.INK, markersize=4.5, markerfacecolor=plots.PAPER, label="fixed")
        if len(published):
            axes.plot([], [], color=plots.INK, linewidth=0.9, linestyle=plots.DASHED, label="paper")
        if results.OWN in summary:
            axes.plot([], [], color=plots.INK, linewidth=0.9, linestyle=plots.DOTTED, label="dJPEG")
        axes.set(xlabel=FIDELITY[fidelity], ylabel="Accuracy (%)")
        axes.margins(0.07)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        plots.legend(figure, axes, 4)
        plots.settle(figure)
        _label_lambdas(figure, axes, summary, fidelity)
    return figure


def _label_lambdas(figure: Figure, axes: Axes, summary: pd.DataFrame, fidelity: str) -> None:
    """Write λ beside the means, upper right or lower left, where that covers no mean and no other label."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    points = axes.transData.transform(np.column_stack([summary[fidelity], 100 * summary["accuracy"]]))
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    frame = axes.get_window_extent(renderer)
    order = plots.in_order(summary["isp"])
    for number in np.argsort(summary["isp"].map(order.index), kind="stable"):
        row = summary.iloc[number]
        if np.isnan(row["lam"]):
            continue
        for offset, horizontal, vertical in (((4, 3), "left", "bottom"), ((-4, -3), "right", "top")):
            text = axes.annotate(
                f"{row['lam']:g}",
                (row[fidelity], 100 * row["accuracy"]),
                offset,
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                fontsize=6.5,
                color=plots.isp_colour(row["isp"]),
            )
            box = text.get_window_extent(renderer)
            inside = frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)
            if inside and not box.count_overlaps(taken[:number] + taken[number + 1 :]):  # its own marker is no obstacle
                taken.append(box)
                break
            text.remove()


def _measures() -> Iterator[tuple[str, tuple[str, str], Callable[..., pd.DataFrame], float, int]]:
    """Column in CSV, headings, function of trials, ``each_seed`` and ``on_test``, scale and digits of every measure."""
    for fidelity, name, digits in (("psnr", "PSNR (dB)", 2), ("ssim", "SSIM", 3)):
        volume = partial(fronts.hypervolume, fidelity=fidelity)
        yield f"hypervolume_{fidelity}", ("Hypervolume", name), volume, 1, digits
    for at in AT_PSNR:
        accuracy = partial(fronts.accuracy_at, fidelity="psnr", at=at)
        yield f"accuracy_at_{at:g}_db", ("Accuracy (%) at", f"{at:g} dB"), accuracy, 100, 1
    for at in AT_ACCURACY:
        psnr = partial(fronts.fidelity_at, fidelity="psnr", at=at)
        yield f"psnr_at_{at:g}", ("PSNR (dB) at", f"{100 * at:g} %"), psnr, 1, 1


def front_measures(view: View) -> Table:
    """Per camera × ISP: hypervolumes, accuracy at given PSNRs and PSNR at given accuracies, with intervals."""
    table = view.done
    by = ["camera", "isp", *results.axes(table)]
    parts = [_front_measures(table, photographs) for photographs in _photographs(table)]
    numbers = pd.concat(parts).sort_values(by, kind="stable", ignore_index=True)
    rows: list[Cells] = []
    for found in numbers.to_dict("records"):
        row = named({name: found[name] for name in [*by, results.ON]})
        for column, heading, _, scale, digits in _measures():
            row[heading] = estimate([found[column + end] for end in ("", "_low", "_high")], digits, scale)
        rows.append(row)
    behind = " behind real encoders" if view.real else ""
    caption = f"What the fronts of the means enclose and offer{behind}, with 95 % intervals"
    return Table(f"fronts{view.name}", caption, as_printed(rows, once=len(by)), numbers)


def _photographs(table: pd.DataFrame) -> list[str]:
    """Which photographs the trials were judged on, those of the test first."""
    tested = table[results.TEST_METRICS[0]].notna().any()
    return [results.TEST_SET, results.VALIDATION_SET] if tested else [results.VALIDATION_SET]


def _front_measures(table: pd.DataFrame, photographs: str) -> pd.DataFrame:
    """The numbers of :func:`front_measures` on the test or the validation photographs."""
    numbers = fronts.hypervolume(table, "psnr")[["camera", "isp", *results.axes(table), "seeds"]]
    numbers[results.ON] = photographs
    for column, _, measure, _, _ in _measures():
        found = measure(table, on_test=photographs == results.TEST_SET).iloc[:, -3:]  # value, low, high
        numbers[[column, f"{column}_low", f"{column}_high"]] = found.to_numpy(float)
    return numbers


def front_measures_by_seed(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers of :func:`front_measures` for the front of every single seed."""
    by = ["camera", "isp", *results.axes(table), "seed"]
    parts = []
    for photographs in _photographs(table):
        on_test = photographs == results.TEST_SET
        found = {name: measure(table, each_seed=True, on_test=on_test) for name, _, measure, _, _ in _measures()}
        columns = {column: part.set_index(by).iloc[:, -1] for column, part in found.items()}
        parts.append(pd.DataFrame(columns).reset_index().assign(**{results.ON: photographs}))
    return pd.concat(parts, ignore_index=True)
