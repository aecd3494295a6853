"""What all figures share: one column wide (3.5 in), so that they stay legible on a phone and fit a paper.

:func:`svg` makes a figure a fragment of HTML that follows the page's colours and font, :func:`file` a file.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context

from models.registry import NIPS
from study.report import font

INK, RULE, PAPER = "#1c1e21", "#d5d7da", "#ffffff"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#7a1f3d")  # Okabe & Ito 2008, the last two darkened
RAMP = ("#b39ddb", "#7e57c2", "#3f2191")  # the smaller λ, the darker
STYLE: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7.5),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 3),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor"), "none"),
    "font.family": "sans-serif",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "legend.handlelength": 2.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "study",
    "pdf.fonttype": 42,
}
COLUMN = 3.5  # inches
DPI = 300  # of PNG files, and of pictures in the others
Kind = Literal["pdf", "svg", "png"]
DASHED, DOTTED = (0, (4, 2)), (0, (1, 1.5))


def style() -> AbstractContextManager[None]:
    """In this block figures follow the pages' style, and nothing of the user's own matplotlibrc."""
    return context(STYLE | {"font.sans-serif": list(font.families())}, after_reset=True)


@contextmanager
def column(height: float, layout: Any = "constrained") -> Iterator[Figure]:
    """An empty figure of one column × ``height`` inches in the pages' style; at the end it is laid out."""
    with style():
        figure = Figure(figsize=(COLUMN, height), layout=layout)
        yield figure
        settle(figure)


def settle(figure: Figure) -> None:
    """Lay the figure out once and for all: with an engine, even "none", every file would draw it twice."""
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    figure.set_layout_engine(None)


def legend(figure: Figure, axes: Axes, columns: int = 3) -> None:
    """Name the lines of ``axes`` above all panels."""
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=columns,
        columnspacing=1.2,
        handletextpad=0.5,
        borderaxespad=0.2,
    )


def svg(figure: Figure, description: str) -> str:
    """The figure as an ``<svg>`` fragment whose colours are CSS variables and whose font is the page's."""
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    fragment = buffer.getvalue()
    fragment = fragment[fragment.index("<svg") :]
    fragment = re.sub(r"<metadata>.*?</metadata>", "", fragment, flags=re.DOTALL)
    # Names such as axes_1 would repeat from figure to figure; ids that are referred to are hashes of content.
    fragment = re.sub(r' id="[A-Za-z]+[A-Za-z0-9]*_\d+"', "", fragment)
    fragment = re.sub(r"font-family: [^;\"]+", "font-family: inherit", fragment)
    fragment = re.sub(r"(font: [^;\"]*?)'DejaVu [^;\"]*", r"\1inherit", fragment)
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


def file(figure: Figure, kind: Kind) -> bytes:
    """The figure as a file on white paper that needs no font beside it."""
    about: dict[Kind, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    buffer = io.BytesIO()
    with style(), context({"svg.fonttype": "path"}):
        figure.savefig(buffer, format=kind, facecolor=PAPER, metadata=about[kind], dpi=DPI)
    return buffer.getvalue()


def shaded(
    names: Sequence[str], shades: np.ndarray, text: Callable[[int, int], str], rows: str, columns: str
) -> Figure:
    """A square matrix of shaded cells, its rows and columns named.

    Args:
        shades: (P, P) from 0, the palest, to 1.
        text: what stands in the cell of a row and a column.
        rows, columns: what they are.
    """
    side = min(COLUMN, 1.2 + 0.4 * len(names))
    with column(side) as figure:
        axes = figure.subplots()
        axes.imshow(shades, cmap="Blues", vmin=0, vmax=1)
        for (row, place), shade in np.ndenumerate(shades):
            ink = PAPER if shade > 0.5 else INK
            axes.text(place, row, text(row, place), ha="center", va="center", color=ink, fontsize=7)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.set(xlabel=columns, ylabel=rows)
    return figure


def in_order(isps: Iterable[str]) -> list[str]:
    """Different ISPs in the order of the registry, unknown ones last."""
    return sorted(set(isps), key=lambda isp: (place(isp), isp))


def isp_colour(isp: str) -> str:
    """The colour that an ISP has in every study, by its place in the registry."""
    return PALETTE[place(isp) % len(PALETTE)]


def place(isp: str) -> int:
    """The place of an ISP in the registry of NIPs; of unknown ones that after the last."""
    return list(NIPS).index(isp) if isp in NIPS else len(NIPS)


def spread(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of fixed and of as many λ, evenly spread, as a figure can tell apart."""
    lambdas = sorted(rows["lam"].dropna().unique())
    chosen = {lambdas[i] for i in np.linspace(0, len(lambdas) - 1, min(len(RAMP), len(lambdas))).round().astype(int)}
    return rows[rows["lam"].isin(chosen) | rows["lam"].isna()]


def by_lambda(rows: pd.DataFrame) -> Iterator[tuple[str, str, bool, pd.DataFrame]]:
    """Label, colour, whether it is fixed, and the rows of every λ (see :func:`spread`): fixed, then falling λ."""
    ramp = iter(RAMP)
    ordered = rows.sort_values("lam", ascending=False, na_position="first", kind="stable")
    for lam, group in ordered.groupby("lam", dropna=False, sort=False):
        fixed = bool(np.isnan(lam))
        yield "fixed" if fixed else f"λ = {lam:g}", INK if fixed else next(ramp), fixed, group
