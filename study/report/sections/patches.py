"""Validation patches as the pre-trained and as the jointly trained ISP develop them."""

import itertools
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from forensics.spectrum import difference_scale, grey, spectrum, spectrum_difference
from study import results
from study.report import plots
from study.report.content import BUDGETS, Content
from study.report.parts import Part, Section, note, panels, picture

PATCHES = 2  # shown per camera × ISP
CROP = 128  # pixels of a patch that are shown, as in the paper
READING = f"""Validation patches of the setting with the greatest gain at no more than {max(BUDGETS):g} dB lost. The
difference is multiplied as stated; spectra show log(10 + |x|), zero frequency in the middle, each over its own full
range."""


def section(content: Content) -> Section:
    return Section("Developed patches", [note(READING), panels(_pictures(content))])


def _pictures(content: Content) -> Iterator[Part]:
    """For every camera × ISP patches of its best setting within the larger budget, first seed."""
    further = results.axes(content.view.gains)
    for row in results.best_within(content.view.gains, max(BUDGETS)).to_dict("records"):
        run = content.done[content.done["run_id"].isin(row["run_ids"])].sort_values("seed").iloc[0]
        images = results.examples(content.snapshot, run["artifact_uri"])
        if not images:
            continue
        scale = difference_scale(images["native"], images["developed"])
        axes = [f"{axis} {run[axis]}" for axis in further]
        setting = " · ".join([run["camera"], run["isp"], *axes, f"λ = {run['lam']:g}, seed {run['seed']}"])
        triples = zip(images["target"], images["native"], images["developed"], strict=True)
        for number, triple in enumerate(itertools.islice(triples, PATCHES), 1):
            yield picture(patch(*triple, scale), f"patch-{number}", setting, f"Validation patch {number}, {setting}")


def patch(target: np.ndarray, native: np.ndarray, developed: np.ndarray, scale: int) -> Figure:
    """One validation patch as in paper Fig. 10: what the NIPs make of it, and where they differ.

    Args: y, ŷ⁰ of the pre-trained NIP and ŷ* of the trial's, (3,H,W) uint8, and :func:`difference_scale`.
    """
    target, native, developed = (_centre(image, CROP) for image in (target, native, developed))
    difference = np.abs(native.astype(float) - developed)
    panels = [
        ("target y", target.transpose(1, 2, 0)),
        ("pre-trained ŷ⁰", native.transpose(1, 2, 0)),
        ("joint ŷ*", developed.transpose(1, 2, 0)),
        (f"|ŷ⁰ − ŷ*| × {scale}", np.clip(scale * difference, 0, 255).astype(np.uint8).transpose(1, 2, 0)),
        ("spectrum of ŷ* − y", grey(spectrum(developed[None].astype(float) - target))),
        ("ΔF of ŷ⁰ and ŷ*", grey(spectrum_difference(native[None], developed[None]))),
    ]
    with plots.column(2.62) as figure:
        for axes, (title, image) in zip(figure.subplots(2, 3).flat, panels, strict=True):
            axes.imshow(image, interpolation="none")
            axes.set_title(title, fontsize=7.5, pad=3)
            axes.set_axis_off()
    return figure


def _centre(image: np.ndarray, size: int) -> np.ndarray:
    """The middle of a (3,H,W) image, ``size`` pixels wide and high where it has as many."""
    top, left = (max(side - size, 0) // 2 for side in image.shape[1:])
    return image[:, top : top + size, left : left + size]
