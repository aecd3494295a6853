"""Spectra of the learned distortions, seed by seed: does chance decide what an ISP learns?"""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from forensics.spectrum import grey, reduced, spectrum, spectrum_difference
from study import results
from study.report import plots
from study.report.content import Content, groups
from study.report.parts import Part, Section, note, panels, picture

SEEDS = 5  # at most
PIXELS = 64  # of the shorter side of a spectrum, less than twice as many
READING = """A column per seed: ΔF, the difference between the amplitude spectra of pre-trained and jointly trained ISP,
mean over the kept validation patches. First row: error of the pre-trained ISP against its target. All as log(10 + |x|),
zero frequency in the middle, each over its own full range; dB and accuracy are means over seeds, on the {} photographs.
"""


def section(content: Content) -> Section:
    return Section(
        "Learned distortions across seeds", [note(READING.format(content.view.photographs)), panels(_pictures(content))]
    )


def _pictures(content: Content) -> Iterator[Part]:
    """For every camera × ISP the spectra of the learned distortions, λ by λ, seed by seed."""
    joint = content.view.reported[content.view.reported["mode"] != results.FIXED]
    for title, group in groups(joint, "camera", "isp"):
        rows: list[tuple[str, list[np.ndarray]]] = []
        for setting in plots.spread(group).sort_values("lam", ascending=False).to_dict("records"):
            runs = content.done[content.done["run_id"].isin(setting["run_ids"])].sort_values("seed").head(SEEDS)
            kept = [images for uri in runs["artifact_uri"] if (images := results.examples(content.snapshot, uri))]
            if kept and not rows:
                error = kept[0]["native"].astype(float) - kept[0]["target"]
                rows.append(("pre-trained\nF(ŷ⁰ − y)", [spectrum(error)]))
            if kept:
                label = f"λ = {setting['lam']:g}\n{setting['psnr']:.1f} dB\n{100 * setting['accuracy']:.0f} %"
                rows.append((label, [spectrum_difference(images["native"], images["developed"]) for images in kept]))
        if rows:
            yield picture(spectra(rows), "spectra", title, f"Spectra of learned distortions, {title}")


def spectra(rows: Sequence[tuple[str, Sequence[np.ndarray]]]) -> Figure:
    """Learned distortions across repetitions (supplement Figs. 4 and 5).

    Args:
        rows: (label, spectra (H,W)): one of the pre-trained NIP's error, then those of a λ, one ΔF per seed.
    """
    columns = max(3, *(len(images) for _, images in rows))
    width = (plots.COLUMN - 0.85) / columns
    with plots.column(len(rows) * (width + 0.04) + 0.1) as figure:
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for panels, (label, images) in zip(grid, rows, strict=True):
            for axes in panels:
                axes.set_axis_off()
            for axes, image in zip(panels, images, strict=False):
                axes.imshow(grey(reduced(image, PIXELS)), interpolation="none")
            panels[0].text(-0.08, 0.5, label, transform=panels[0].transAxes, ha="right", va="center", fontsize=6.5)
    return figure
