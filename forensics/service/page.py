"""A page in HTML about photographs that were analysed: pictures, maps, figures, and the words that go with them.

It needs nothing beside itself: pictures and styles are inside, and there is no script.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from cameras.errors import printable
from cameras.photographs import PhotographError, Source, header, read
from forensics.analysis import words
from forensics.analysis.analyse import Analysis, calibrated
from forensics.analysis.picture import colour, data_uri, painted, upright
from forensics.package import Package

SIDE = 1024  # pixels of a picture on a page, at most
MOST_SHOWN = 64_000_000  # pixels of a photograph that is shown

_FOLDER = Path(__file__).parent / "templates"
_ENVIRONMENT = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)
_ENVIRONMENT.globals |= {"words": words, "colour": colour}
_STYLE = (_FOLDER / "style.css").read_text("utf-8")
STYLE_HASH = f"sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}"  # for a security policy
_MACROS: Any = _ENVIRONMENT.get_template("page.html.j2").module


@dataclass(frozen=True)
class Shown:
    """A photograph on a page.

    Attributes:
        name: of its file.
        analysis: of it.
        picture: it, upright, as an address; empty where it is too large or its pixels cannot be read.
        map: the map of the analysis over it, likewise; empty where the analysis has none.
    """

    name: str
    analysis: Analysis
    picture: str = ""
    map: str = ""


def show(name: str, source: Source, analysis: Analysis) -> Shown:
    """Prepare a photograph that was analysed for a page."""
    name = printable(name)
    try:
        about = header(source)
        if about.height * about.width > MOST_SHOWN:
            return Shown(name, analysis)
        received = read(source)
    except PhotographError:  # what was said of it did not need its pixels
        return Shown(name, analysis)
    picture = data_uri(upright(received, about.orientation, SIDE))
    if analysis.map is None:
        return Shown(name, analysis, picture)
    return Shown(name, analysis, picture, data_uri(painted(received, analysis, about.orientation, SIDE)))


def page(package: Package, shown: Sequence[Shown], refused: Mapping[Path, str]) -> str:
    """A page about any number of photographs.

    Args:
        package: by which they were analysed.
        refused: reasons by file.
    """
    lost = [(printable(path.name), printable(reason)) for path, reason in refused.items()]
    many = len(shown) + len(lost) > 1
    title = "Analysis of photographs" if many else f"{shown[0].name} – analysis"
    return beginning(title, many) + _MACROS.several(shown, lost) + ending(package, shown)


def beginning(title: str, several: bool = False) -> Markup:
    """The page up to what it is about: one photograph or several."""
    return _MACROS.beginning(title, Markup(_STYLE), several)


def one(shown: Shown) -> Markup:
    """What is known of a photograph."""
    return _MACROS.photograph(shown, 1)


def waiting(before: int) -> Markup:
    """For a browser that waits: so many photographs come before. It disappears when more of the page follows."""
    return _MACROS.waiting(before)


def refusal(reason: str) -> Markup:
    """Why a photograph was not analysed, in one line."""
    return _MACROS.refusal(reason)


def form(rates: Sequence[float], chosen: float, limits: str) -> Markup:
    """A form that asks for a photograph and a false-alarm rate."""
    return _MACROS.form(rates, chosen, limits)


def ending(package: Package, shown: Sequence[Shown] = ()) -> Markup:
    """What the words mean, and what the package says about itself."""
    calibration = calibrated(package)
    rates = sorted({one.analysis.false_alarms for one in shown})
    return _MACROS.ending(package, calibration, rates, list(_facts(package.about)))


def _facts(about: object, name: str = "") -> Iterator[tuple[str, str]]:
    """What a package says about itself, as pairs of a name and a text: ``metrics · psnr`` and ``36.1``."""
    if isinstance(about, Mapping):
        for key, value in about.items():
            yield from _facts(value, f"{name} · {key}" if name else str(key))
    else:
        yield name, _text(about)


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(entry)}" for name, entry in value.items())
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
