"""The picture that validates dJPEG against libjpeg (paper, Fig. 6): PSNR over quality, a row for each subsampling."""

import io
from collections.abc import Sequence
from typing import Any

from channel.codecs.jpeg import SUBSAMPLINGS
from forensics.compression.djpeg import ROUNDINGS, Agreement
from forensics.compression.rates_picture import PALETTE, STYLE

DASHES = {"soft": (0, (4, 2)), "straight-through": (0, (1, 1.5))}  # both cover round, which shows between their dashes
INK = "#1c1e21"


def validation(means: Sequence[Agreement], photographs: int) -> bytes:
    """Draws means over so many photographs, as `forensics.compression.djpeg.means` returns them: a PNG file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 5.6), dpi=150, layout="constrained")
        panels = figure.subplots(len(SUBSAMPLINGS), 2, sharex=True, sharey="col")
        for (against_original, against_libjpeg), subsampling in zip(panels, SUBSAMPLINGS, strict=True):
            for colour, rounding in zip(PALETTE, ROUNDINGS, strict=False):
                curve = [one for one in means if (one.subsampling, one.rounding) == (subsampling, rounding)]
                qualities = [one.quality for one in curve]
                look: dict[str, Any] = {
                    "color": colour,
                    "linestyle": DASHES.get(rounding, "-"),
                    "label": f"dJPEG, {rounding}",
                }
                look["linewidth"] = 2.5 if rounding == "round" else 1.3
                against_original.plot(qualities, [one.djpeg for one in curve], **look)
                against_libjpeg.plot(qualities, [one.between for one in curve], **look)
                if rounding == ROUNDINGS[-1]:
                    libjpeg = [one.libjpeg for one in curve]
                    against_original.plot(qualities, libjpeg, "o", color=INK, markersize=3.5, label="libjpeg")
            against_original.set_title(f"{subsampling}: against the original", loc="left")
            against_libjpeg.set_title(f"{subsampling}: dJPEG against libjpeg", loc="left")
            against_original.set_ylabel("PSNR in dB")
        for axes in panels[-1]:
            axes.set_xlabel("JPEG quality")
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=6, columnspacing=1)
        note = f"mean over {photographs} photographs" if photographs > 1 else "one photograph"
        figure.supxlabel(note, x=0.99, ha="right", fontsize=7)
        content = io.BytesIO()
        figure.savefig(content, format="png")
    return content.getvalue()
