"""What a page is made of: sections of paragraphs, tables and pictures, each with the files that it is offered as."""

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from matplotlib.figure import Figure

from study.report import plots
from study.report.tables import Table

ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
MACROS: Any = ENVIRONMENT.get_template("macros.html.j2").module


@dataclass(frozen=True)
class Part:
    """A piece of a section.

    ``html``: empty where there is nothing to show. ``files``: content by path below the report's folder, written even
    where nothing is shown. ``explains``: whether it only explains other parts. ``figures``: what draws it as a figure
    of its own, by the name of the file without suffix.
    """

    html: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    explains: bool = False
    figures: Mapping[str, Callable[[], Figure]] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A section of a page.

    ``aside`` stands beside the title, ``anchor`` is what links lead to, ``head`` is added to the page's head.
    """

    title: str
    parts: Sequence[Part]
    aside: str = ""
    anchor: str = ""
    head: str = ""

    @property
    def html(self) -> str:
        """Empty where no part has anything to show: explanations alone do not count."""
        shown = any(part.html and not part.explains for part in self.parts)
        return Markup("").join(Markup(part.html) for part in self.parts if shown)


def paragraph(text: str, kind: str = "finding") -> Part:
    """A paragraph of a kind: "lede", "finding", "plain" or "soft". Its text is escaped unless it is Markup."""
    return Part(Markup('<p class="{}">{}</p>\n').format(kind, text))


def note(text: str) -> Part:
    """An explanation in small print."""
    return Part(paragraph(text, "soft").html, explains=True)


def show(table: Table) -> Part:
    """A table with its downloads; only its files where it has no rows."""
    return Part("" if table.printed.empty else MACROS.table(table), table.files)


def offer(table: Table) -> Part:
    """The downloads of a table that is shown in another form."""
    return Part("" if table.printed.empty else MACROS.download(table), table.files)


def picture(figure: Figure, kind: str, title: str, description: str) -> Part:
    """A figure under its title; ``kind`` and title make the name of its PDF, the description is for screen readers."""
    name = figure_name(kind, title)
    html = MACROS.picture(title, plots.svg(figure, description))
    return Part(html, {f"figures/{name}.pdf": plots.file(figure, "pdf")}, figures={name: lambda: figure})


def figure_name(kind: str, title: str) -> str:
    """The name of a figure's file, without suffix."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9.]+', '-', title).strip('-')}"


def embedded(picture: Part) -> Part:
    """A picture on a page that has no files beside it: its PDF is linked in the page itself."""
    link = Markup('<a download="{}" href="data:application/pdf;base64,{}">PDF</a>')
    links = [link.format(Path(path).name, base64.b64encode(file).decode()) for path, file in picture.files.items()]
    return replace(picture, html=picture.html + paragraph(Markup(" · ").join(links), "soft").html)


def panels(pictures: Iterable[Part]) -> Part:
    """Pictures side by side, as far as there is room."""
    return _together(pictures, MACROS.panels)


def details(summary: str, *parts: Part, opened: bool = False) -> Part:
    """Parts that a reader unfolds."""
    return _together(parts, lambda contents: MACROS.details(contents, summary, opened))


def _together(parts: Iterable[Part], macro: Callable[[Sequence[str]], str]) -> Part:
    several = list(parts)
    contents = [Markup(part.html) for part in several if part.html]
    files = {path: content for part in several for path, content in part.files.items()}
    figures = {name: draw for part in several for name, draw in part.figures.items()}
    return Part(macro(contents) if contents else "", files, figures=figures)


def matrix(
    title: str,
    names: Sequence[str],
    shades: np.ndarray,
    text: Callable[[int, int], str],
    says: Callable[[int, int], str] = lambda row, column: "",
    aside: str = "",
    corner: str = "",
    letters: int = 100,
) -> Part:
    """A square matrix as a table of shaded cells.

    Args:
        names: of rows and columns; ``letters`` of them stand above a column.
        shades: (P, P) from 0, the palest, to 1.
        text, says: what stands in the cell of a row and a column, and what a pointer that rests on it shows.
    """
    places = range(len(names))
    rows = [(i, names[i], [(text(i, j), round(float(shades[i, j]), 3), says(i, j)) for j in places]) for i in places]
    return Part(MACROS.matrix(title, aside, corner, [(name[:letters], name) for name in names], rows))


def matrices(several: Iterable[Part], kind: str) -> Part:
    """Matrices side by side, in the look of "heats" or of "confusions"."""
    return _together(several, lambda contents: MACROS.matrices(contents, kind))
