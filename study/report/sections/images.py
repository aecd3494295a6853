"""Decisions about whole images, fused from those about their patches."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from study import results
from study.report import plots
from study.report.content import Content, groups
from study.report.parts import Part, Section, note, panels, picture

RULES = {"mean_log_probability": ("-", "mean log-probability"), "majority": ((0, (1, 1)), "majority")}
READING = """The patches of one image decide together: by the mean of their log-probabilities (solid, with 95 %
interval) or by majority (dotted). Means over seeds, on the {photographs} photographs{number}. The interval is a
percentile bootstrap over these photographs, for the networks of each trial, averaged over seeds. It is too narrow: in
simulations it covers the mean over other photographs of the camera in about 84 % of cases for 6 photographs and 93 %
for 30, and where nearly all decisions are right in about 54 and 90 %."""


def section(content: Content) -> Section:
    decisions = results.fusions(content.snapshot, content.trials)
    by = ["camera", "isp", "lam", *results.axes(decisions)]
    tested = decisions.groupby(by, dropna=False)[results.ON].transform("min") == results.TEST_SET  # before "validation"
    shown = decisions[~tested | (decisions[results.ON] == results.TEST_SET)]
    pictures = [
        picture(fusion(plots.spread(group)), "images", title, f"Accuracy of decisions about images, {title}")
        for title, group in groups(shown, "camera", "isp")
    ]
    numbers = sorted(int(number) for number in shown["images"].dropna().unique())
    number = f" ({' or '.join(map(str, numbers))} a camera)" if numbers else ""
    reading = READING.format(photographs=" or ".join(sorted(shown[results.ON].unique())), number=number)
    csv = Part(files={"tables/images.csv": decisions.to_csv(index=False).encode()})
    return Section("Decisions about whole images", [note(reading), panels(pictures), csv])


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
