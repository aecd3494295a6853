"""Is a learned artefact mistaken for a fingerprint? Pairs of different cameras above the threshold."""

import pandas as pd
from matplotlib.figure import Figure

from prnu.experiment import PCE_THRESHOLD
from study.report import fingerprint_statistics as statistics
from study.report import plots
from study.report.fingerprint_statistics import FingerprintContent
from study.report.parts import Section, note, panels, paragraph, picture, show
from study.report.tables import Table, as_printed

READING = f"""A pipeline may leave a pattern of its own in every photograph it develops. If that were taken for a
sensor’s, photographs of different cameras by one pipeline would seem to come from the same camera: each point is the
share of such pairs above PCE {PCE_THRESHOLD:g}, of all cameras together, each bar Wilson’s 95 % interval. Where the
interval of a jointly trained pipeline lies above that of the standard pipeline, its learned artefact is mistaken for a
fingerprint. Pairs that share a photograph or a fingerprint are not independent, so that the truth is a little less
certain than the bars."""
NO_JOINT = """No jointly trained pipeline has developed photographs of another camera; the pipelines below are what it
would be compared with."""
EVERY = "all jointly trained"


def section(content: FingerprintContent) -> Section:
    known = content.pairs[content.pairs["other"].map(len) > 0]
    joint = known[known["setting"] == statistics.JOINT]
    pictures = [
        picture(plot(statistics.of_isp(known, isp)), "mistakes", isp, f"False matches by λ, {isp}")
        for isp in joint["isp"].unique()
    ]
    nothing = NO_JOINT if len(known) else "No photographs of other cameras have been compared."
    parts = [note(READING), panels(pictures)] if pictures else [paragraph(nothing)]
    return Section("Is a learned artefact mistaken for a fingerprint?", [*parts, show(mistakes(known))])


def mistakes(known: pd.DataFrame) -> Table:
    """Pairs of different cameras, all cameras together: by setting, and of all that are jointly trained."""
    every = known[known["setting"] == statistics.JOINT].assign(isp=EVERY, setting=EVERY, lam=float("nan"))
    found = statistics.pooled(pd.concat([known, every]), statistics.SETTING)
    printed = [statistics.setting_cells(row) | statistics.other_cells(row) for row in found.to_dict("records")]
    caption = f"Pairs of different cameras above PCE {PCE_THRESHOLD:g}, all cameras together, with 95 % intervals"
    return Table("mistakes", caption, as_printed(printed), found)


def plot(points: pd.DataFrame) -> Figure:
    """Shares of pairs of different cameras above the threshold, from :func:`statistics.of_isp`: a row per setting."""
    points = points.assign(name=points["setting"].mask(points["lam"].notna(), points["lam"].map("λ = {:g}".format)))
    names = list(points["name"].unique())
    with plots.column(0.95 + 0.3 * len(names)) as figure:
        axes = figure.subplots()
        for view, colour, aside, seen in statistics.by_view(points, 0.28):
            places = [names.index(name) + aside for name in seen["name"]]
            share, low, high = (100 * seen[f"mistaken_{end}"] for end in ("share", "low", "high"))
            axes.plot(share, places, "o", color=colour, markersize=4, label=statistics.VIEWS[view], clip_on=False)
            axes.hlines(places, low, high, color=colour, linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"Pairs of different cameras above PCE {PCE_THRESHOLD:g} (%)")
        plots.legend(figure, axes, 2)
    return figure
