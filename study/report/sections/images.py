"""Decisions about whole images, fused from those about their patches."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from study import results
from study.report import plots
from study.report.content import Content, groups
from study.report.parts import Section, note, panels, picture

RULES = {"mean_log_probability": ("-", "mean log-probability"), "majority": ((0, (1, 1)), "majority")}
READING = """The patches of one image decide together: by the mean of their log-probabilities (solid, with 95 %
interval) or by majority (dotted). Means over seeds."""


def section(content: Content) -> Section:
    decisions = results.fusions(content.snapshot, content.trials)
    pictures = [
        picture(fusion(plots.spread(group)), "images", title, f"Accuracy of decisions about images, {title}")
        for title, group in groups(decisions, "camera", "isp")
    ]
    return Section("Decisions about whole images", [note(READING), panels(pictures)])


def fusion(decisions: pd.DataFrame) -> Figure:
    """Accuracy of decisions about whole images by number of patches, of one camera × ISP, with 95 % intervals."""
    with plots.column(2.7) as figure:
        axes = figure.subplots()
        for label, colour, fixed, chosen in plots.by_lambda(decisions):
            look: dict[str, Any] = {
                "color": colour,
                "marker": "D" if fixed else "o",
                "markersize": 3.5,
                "linewidth": 1.2,
            }
            for rule, (dashes, _) in RULES.items():
                points = chosen[chosen["rule"] == rule].sort_values("patches")
                mean, low, high = (100 * points[name] for name in ("accuracy", "low", "high"))
                solid = dashes == "-"
                axes.plot(points["patches"], mean, linestyle=dashes, label=label if solid else None, **look)
                if solid:
                    counts = points["patches"].astype(float)
                    axes.fill_between(counts, low, high, color=colour, alpha=0.15, linewidth=0)
        for dashes, name in RULES.values():
            axes.plot([], [], color=plots.INK, linestyle=dashes, linewidth=1.2, label=name)
        counts = sorted(decisions["patches"].unique())
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set(xlabel="Patches per image", ylabel="Image-level accuracy (%)")
        plots.legend(figure, axes)
    return figure
