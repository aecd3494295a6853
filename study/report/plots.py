"""Figures of a study: fronts, training curves, patches and spectra, real encoders, decisions about images.

Every function returns a matplotlib ``Figure`` one column wide (3.5 in), so that it stays legible on a
phone and fits a paper. :func:`svg` makes it a fragment for HTML that follows the page's colours and font,
:func:`pdf` a file.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study import results
from study.results import fronts

INK, RULE, PAPER = "#1c1e21", "#d5d7da", "#ffffff"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00")  # Okabe & Ito 2008, the last one darkened
RAMP = ("#b39ddb", "#7e57c2", "#3f2191")  # the smaller λ, the darker
ISPS = ("UNet", "INet", "DNet", "ClassicISP", "ONet")  # an ISP keeps its colour in every study
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "study",
    "pdf.fonttype": 42,
}
FIDELITY = {"psnr": "PSNR (dB)", "ssim": "SSIM"}
ENDS = ("", "_low", "_high")  # a mean and its interval
COLUMN = 3.5  # inches
CROP = 128  # pixels of a patch that are shown, as in the paper
SPECTRUM = 64  # pixels at most, where many spectra stand side by side
RULES = {"mean_log_probability": ("-", "mean log-probability"), "majority": ((0, (1, 1)), "majority")}


def lambda_label(lam: float) -> str:
    return "fixed" if np.isnan(lam) else f"{lam:g}"


def trade_off(
    table: pd.DataFrame, summary: pd.DataFrame, fidelity: str, published: pd.DataFrame | None = None
) -> Figure:
    """Fidelity against accuracy (paper Fig. 9, supplement Figs. 2 and 3): one panel, so hand in one camera's rows.

    Dots are seeds and thin lines their fronts, circles the means joined in the order of λ, filled where no other
    setting of the same ISP is better in both; the diamond is fixed. λ labels that would overlap are left out.

    Args:
        table: finished trials, from :func:`results.trials`.
        summary: their :func:`results.summary`.
        fidelity: "psnr" or "ssim".
        published: the same camera in the paper, from :func:`paper.supplement_table_1`; dashed.
    """
    on_front = set(fronts.front(summary, fidelity)["run_ids"])
    by_seed = fronts.front(table, fidelity, ["isp", "seed"])
    with rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
        axes = figure.subplots()
        for isp in _by_palette(summary["isp"]):
            colour = _colour(isp)
            seeds, means = table[table["isp"] == isp], summary[summary["isp"] == isp]
            axes.plot(
                seeds[fidelity],
                100 * seeds["accuracy"],
                "o",
                color=colour,
                alpha=0.45,
                markersize=2.6,
                markeredgewidth=0,
            )
            for _, seed in by_seed[by_seed["isp"] == isp].groupby("seed"):
                axes.plot(seed[fidelity], 100 * seed["accuracy"], "-", color=colour, alpha=0.45, linewidth=0.5)
            if published is not None:
                theirs = published[(published["isp"] == isp) & (published["mode"] != results.FIXED)]
                axes.plot(
                    theirs[fidelity], 100 * theirs["accuracy"], color=colour, linewidth=0.9, linestyle=(0, (4, 2))
                )
            joint = means[means["mode"] != results.FIXED].sort_values("lam")
            axes.plot(joint[fidelity], 100 * joint["accuracy"], "-", color=colour, linewidth=1.1)
            for mean in means.itertuples():
                axes.plot(
                    getattr(mean, fidelity),
                    100 * mean.accuracy,
                    "D" if mean.mode == results.FIXED else "o",
                    color=colour,
                    markersize=5 if mean.mode == results.FIXED else 4,
                    markeredgewidth=1.1,
                    markerfacecolor=colour if mean.run_ids in on_front else PAPER,
                )
            axes.plot([], [], "-o", color=colour, markersize=4, linewidth=1.1, label=isp)
        axes.plot([], [], "D", color=INK, markersize=4.5, markerfacecolor=PAPER, label="fixed")
        if published is not None and len(published):
            axes.plot([], [], color=INK, linewidth=0.9, linestyle=(0, (4, 2)), label="paper")
        axes.set_xlabel(FIDELITY[fidelity])
        axes.set_ylabel("Accuracy (%)")
        axes.margins(0.07)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        figure.legend(loc="outside upper left", ncols=4, columnspacing=1.2, handletextpad=0.5, borderaxespad=0.2)
        settle(figure)
        _label_lambdas(figure, axes, summary, fidelity)
    return figure


def progress(accuracy: pd.DataFrame, psnr: pd.DataFrame) -> Figure:
    """Validation accuracy and PSNR by iteration (paper Fig. 8) of one camera × ISP.

    Thin lines are seeds, thick ones their mean.

    Args:
        accuracy, psnr: from :func:`results.curves`; each λ in them gets a line, three at most.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 3.9), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        lambdas = sorted(
            accuracy["lam"].unique(), key=lambda lam: (not np.isnan(lam), -lam)
        )  # fixed first, then falling λ
        for axes, points, scale in ((upper, accuracy, 100), (lower, psnr, 1)):
            ramp = iter(RAMP)
            for lam in lambdas:
                chosen = points[points["lam"].isna() if np.isnan(lam) else points["lam"] == lam]
                colour, dashes = (INK, (0, (4, 2))) if np.isnan(lam) else (next(ramp), "-")
                for _, run in chosen.groupby("run_id"):
                    axes.plot(run["iteration"], scale * run["value"], color=colour, linewidth=0.5, alpha=0.35)
                mean = scale * chosen.groupby("iteration")["value"].mean()
                axes.plot(
                    mean.index,
                    mean,
                    color=colour,
                    linewidth=1.4,
                    linestyle=dashes,
                    label=_lambda(lam),
                )
        upper.set_ylabel("Accuracy (%)")
        lower.set_ylabel("PSNR (dB)")
        lower.set_xlabel("Iteration")
        lower.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        legend(figure, upper, 4)
        settle(figure)
    return figure


def patch(target: np.ndarray, native: np.ndarray, developed: np.ndarray, scale: int) -> Figure:
    """One validation patch as in paper Fig. 10: what the NIPs make of it, and where they differ.

    Args:
        target, native, developed: (3,H,W) uint8: y, ŷ⁰ of the pre-trained NIP, ŷ* of the trial's. The middle
            128 × 128 pixels are shown.
        scale: factor on the |difference| picture, see :func:`difference_scale`.
    """
    target, native, developed = (_centre(image, CROP) for image in (target, native, developed))
    difference = np.abs(native.astype(float) - developed)
    panels = [
        ("target y", target),
        ("pre-trained ŷ⁰", native),
        ("joint ŷ*", developed),
        (f"|ŷ⁰ − ŷ*| × {scale}", np.clip(scale * difference, 0, 255).astype(np.uint8)),
        ("spectrum of ŷ* − y", _grey(spectrum(developed.astype(float) - target))),
        ("ΔF of ŷ⁰ and ŷ*", _grey(spectrum_difference(native, developed))),
    ]
    with rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 2.62), layout="constrained")
        for axes, (title, image) in zip(figure.subplots(2, 3).flat, panels, strict=True):
            axes.imshow(image.transpose(1, 2, 0), interpolation="none")
            axes.set_title(title, fontsize=7.5, pad=3)
            axes.set_axis_off()
        settle(figure)
    return figure


def spectra(pretrained: np.ndarray, rows: Sequence[tuple[str, Sequence[np.ndarray]]]) -> Figure:
    """Learned distortions across repetitions (supplement Figs. 4 and 5): a row per λ, a column per seed.

    Args:
        pretrained: (H,W), spectrum of the pre-trained NIP's error, alone in the first row.
        rows: (label, one ΔF (H,W) per seed), see :func:`mean_spectrum_difference`.
    """
    columns = max(3, *(len(images) for _, images in rows))
    lines = [("pre-trained\nF(ŷ⁰ − y)", [pretrained]), *rows]
    with rc_context(STYLE):
        width = (COLUMN - 0.85) / columns
        figure = Figure(figsize=(COLUMN, len(lines) * (width + 0.04) + 0.1), layout="constrained")
        grid = figure.subplots(len(lines), columns, squeeze=False)
        for panels, (label, images) in zip(grid, lines, strict=True):
            for axes in panels:
                axes.set_axis_off()
            for axes, image in zip(panels, images, strict=False):
                axes.imshow(_grey(_reduced(image)).transpose(1, 2, 0), interpolation="none")
            panels[0].text(-0.08, 0.5, label, transform=panels[0].transAxes, ha="right", va="center", fontsize=6.5)
        settle(figure)
    return figure


def behind_codecs(gaps: pd.DataFrame) -> Figure:
    """Accuracy behind real encoders of one camera × ISP: a line per codec, a colour per λ, bars of 95 %.

    Args:
        gaps: from :func:`results.behind_codecs`, four λ (fixed among them) at most.
    """
    codecs = list(dict.fromkeys(gaps["codec"]))
    rows = ["dJPEG", *codecs]
    with rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 0.9 + 0.3 * len(rows)), layout="constrained")
        axes = figure.subplots()
        styles = _styles(gaps["lam"])
        for number, (lam, (colour, marker)) in enumerate(styles.items()):
            shift = 0.5 * (number - (len(styles) - 1) / 2) / max(len(styles), 1)
            chosen = gaps[gaps["lam"].isna() if np.isnan(lam) else gaps["lam"] == lam]
            trained = chosen.iloc[:1].assign(
                codec="dJPEG", **{f"behind{end}": chosen["accuracy" + end] for end in ENDS}
            )
            points = pd.concat([trained, chosen])
            places = [rows.index(codec) + shift for codec in points["codec"]]
            axes.plot(100 * points["behind"], places, marker, color=colour, markersize=4, label=_lambda(lam))
            axes.hlines(places, 100 * points["behind_low"], 100 * points["behind_high"], color=colour, linewidth=1)
        axes.set_yticks(range(len(rows)), rows)  # text, which another font may widen
        axes.invert_yaxis()
        axes.axhline(0.5, color=INK, linewidth=0.6)
        axes.set_xlabel("Accuracy (%)")
        legend(figure, axes)
        settle(figure)
    return figure


def fusion(decisions: pd.DataFrame) -> Figure:
    """Accuracy of decisions about whole images by number of patches, of one camera × ISP, with 95 % intervals.

    Args:
        decisions: from :func:`results.fusions`, four λ (fixed among them) at most.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 2.7), layout="constrained")
        axes = figure.subplots()
        for lam, (colour, marker) in _styles(decisions["lam"]).items():
            chosen = decisions[decisions["lam"].isna() if np.isnan(lam) else decisions["lam"] == lam]
            for rule, (dashes, _) in RULES.items():
                points = chosen[chosen["rule"] == rule].sort_values("patches")
                label = _lambda(lam) if dashes == "-" else None
                axes.plot(
                    points["patches"],
                    100 * points["accuracy"],
                    color=colour,
                    linestyle=dashes,
                    marker=marker,
                    markersize=3.5,
                    linewidth=1.2,
                    label=label,
                )
                if dashes == "-":
                    axes.fill_between(
                        points["patches"].astype(float),
                        100 * points["low"],
                        100 * points["high"],
                        color=colour,
                        alpha=0.15,
                        linewidth=0,
                    )
        for dashes, name in RULES.values():
            axes.plot([], [], color=INK, linestyle=dashes, linewidth=1.2, label=name)
        counts = sorted(decisions["patches"].unique())
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlabel("Patches per image")
        axes.set_ylabel("Image-level accuracy (%)")
        legend(figure, axes)
        settle(figure)
    return figure


def difference_scale(native: np.ndarray, developed: np.ndarray) -> int:
    """Power of two that brings the 99th percentile of |ŷ⁰ − ŷ*|, over all patches (k,3,H,W), close to 255."""
    spread = np.percentile(np.abs(native.astype(float) - developed), 99)
    return int(2 ** np.clip(np.floor(np.log2(255 / max(spread, 1))), 0, 6))


def spectrum(image: np.ndarray) -> np.ndarray:
    """log(10 + |F|) of the mean over colours of a (3,H,W) image in [0,255]: (H,W), zero frequency centred."""
    return np.log(10 + _amplitude(image))


def spectrum_difference(native: np.ndarray, developed: np.ndarray) -> np.ndarray:
    """Paper §5.2: ΔF = log(10 + | |F(ŷ⁰)| − |F(ŷ*)| |), (H,W)."""
    return np.log(10 + np.abs(_amplitude(native) - _amplitude(developed)))


def mean_spectrum_difference(native: np.ndarray, developed: np.ndarray) -> np.ndarray:
    """ΔF of several patches (k,3,H,W), amplitudes averaged before the logarithm: (H,W)."""
    differences = [np.abs(_amplitude(a) - _amplitude(b)) for a, b in zip(native, developed, strict=True)]
    return np.log(10 + np.mean(differences, axis=0))


def mean_spectrum(images: np.ndarray) -> np.ndarray:
    """:func:`spectrum` of several images (k,3,H,W), amplitudes averaged before the logarithm: (H,W)."""
    return np.log(10 + np.mean([_amplitude(image) for image in images], axis=0))


def svg(figure: Figure, description: str) -> str:
    """The figure as an ``<svg>`` fragment whose colours are CSS variables and whose font is the page's."""
    buffer = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    fragment = buffer.getvalue()
    fragment = fragment[fragment.index("<svg") :]
    fragment = re.sub(r"<metadata>.*?</metadata>", "", fragment, flags=re.DOTALL)
    # Names such as axes_1 would repeat from figure to figure; ids that are referred to are hashes of content.
    fragment = re.sub(r' id="[A-Za-z]+[A-Za-z0-9]*_\d+"', "", fragment)
    fragment = re.sub(r"font-family: [^;\"]+", "font-family: inherit", fragment)
    fragment = re.sub(r"(font: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1inherit", fragment)
    fragment = fragment.replace(INK, "currentColor").replace(RULE, "var(--rule)").replace(PAPER, "var(--paper)")
    for name, colours in (("palette", PALETTE), ("ramp", RAMP)):
        for number, colour in enumerate(colours):
            fragment = fragment.replace(colour, f"var(--{name}-{number})")
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">',
        fragment,
        count=1,
        flags=re.DOTALL,
    ).strip()


def pdf(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="pdf", facecolor=PAPER, metadata={"CreationDate": None})
    return buffer.getvalue()


def settle(figure: Figure) -> None:
    """Lay the figure out once and for all, not again for every file it is saved to."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def legend(figure: Figure, axes: Axes, columns: int = 3) -> None:
    """What the lines of `axes` are, above all panels."""
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=columns,
        columnspacing=1.2,
        handletextpad=0.5,
        borderaxespad=0.2,
    )


def _lambda(lam: float) -> str:
    return "fixed" if np.isnan(lam) else f"λ = {lam:g}"


def _styles(lambdas: pd.Series) -> dict[float, tuple[str, str]]:
    """Colour and marker of every λ: fixed first, then falling."""
    joint = sorted(lambdas.dropna().unique(), reverse=True)
    styles = {float("nan"): (INK, "D")} if lambdas.isna().any() else {}
    return styles | {lam: (colour, "o") for lam, colour in zip(joint, RAMP, strict=False)}


def _by_palette(isps: pd.Series) -> list[str]:
    return sorted(isps.unique(), key=lambda isp: (ISPS.index(isp) if isp in ISPS else len(ISPS), isp))


def _colour(isp: str) -> str:
    return PALETTE[ISPS.index(isp) if isp in ISPS else -1]


def _label_lambdas(figure: Figure, axes: Axes, summary: pd.DataFrame, fidelity: str) -> None:
    """Write λ beside the means, upper right or lower left, where that covers no mean and no other label."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    points = axes.transData.transform(np.column_stack([summary[fidelity], 100 * summary["accuracy"]]))
    taken: list[Sequence[float]] = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]  # left, bottom, right, top
    frame = axes.get_window_extent(renderer)
    for number in np.argsort(
        summary["isp"].map({isp: n for n, isp in enumerate(_by_palette(summary["isp"]))}), kind="stable"
    ):
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
                color=_colour(row["isp"]),
            )
            box = text.get_window_extent(renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            others = taken[:number] + taken[number + 1 :]  # its own marker is no obstacle
            if inside and not any(_overlap(box.extents, other) for other in others):
                taken.append(box.extents)
                break
            text.remove()


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _amplitude(image: np.ndarray) -> np.ndarray:
    """(3,H,W) -> (H,W): |F| of the mean over colours, zero frequency in the middle."""
    return np.abs(np.fft.fftshift(np.fft.fft2(image.mean(axis=0))))


def _centre(image: np.ndarray, size: int) -> np.ndarray:
    """The middle of a (3,H,W) image, ``size`` pixels wide and high where it has as many."""
    top, left = (max(side - size, 0) // 2 for side in image.shape[1:])
    return image[:, top : top + size, left : left + size]


def _reduced(values: np.ndarray) -> np.ndarray:
    """(H,W) averaged over square blocks, until neither side is much larger than a thumbnail's."""
    step = max(1, min(values.shape) // SPECTRUM)
    height, width = (side // step for side in values.shape)
    return values[: height * step, : width * step].reshape(height, step, width, step).mean(axis=(1, 3))


def _grey(values: np.ndarray) -> np.ndarray:
    """(H,W) -> (3,H,W) uint8 over the full range of the values."""
    low, high = values.min(), values.max()
    scaled = np.round(255 * (values - low) / max(high - low, 1e-12)).astype(np.uint8)
    return np.broadcast_to(scaled, (3, *scaled.shape))
