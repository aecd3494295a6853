"""The report of a study: one HTML file that needs nothing beside it, and its figures and tables as files.

    report.html            everything, pictures embedded, light and dark
    figures/*.pdf          every figure, one column wide
    tables/*.csv *.tex     every table, in numbers and as printed; trials.csv holds each trial, best.csv the way to it

Every number comes out of MLflow (:mod:`study.results`); the plan only tells what is missing. The sections, one file
each, are listed in :mod:`study.report.sections`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from markupsafe import Markup

from cameras import atomic
from study.report import sections
from study.report.content import Content, Provenance
from study.report.parts import ENVIRONMENT, Section
from study.tracking import Snapshot

STATE = Markup("{} of {} planned trials finished{}.")
MISSING = Markup('; <a href="#missing">{} without a result</a>')
SIMULATED = Markup("""<b>Simulated data.</b> {} come from a camera simulation, not from a real sensor. The pictures show
how the method behaves; they neither reproduce nor refute absolute numbers measured on real cameras.""")


def report(
    name: str,
    snapshot: Snapshot,
    folder: Path,
    plan: Sequence[Mapping[str, Any]],
    provenance: Provenance | None = None,
) -> Path:
    """Write the report of a study and return the path of ``report.html``.

    Args:
        name: the study's, the title.
        snapshot: of its runs.
        folder: created where it is missing; files of an earlier report are replaced.
        plan: all trials of the study, as :func:`results.missing` takes them. Runs of other keys (an earlier state of
            the study file) are counted but not mixed in.
    """
    content = Content.of(snapshot, plan, provenance or Provenance())
    missing = MISSING.format(len(content.missing)) if len(content.missing) else ""
    state = STATE.format(len(content.done), len(plan), missing)
    title = f"{name} – study report"
    return write_page(folder / "report.html", title, name, state, _simulated(content), sections, content)


def _simulated(content: Content) -> Markup:
    """Which photographs are simulated; empty where none are."""
    simulated = sorted(camera for camera, value in content.provenance.simulated.items() if value)
    every = len(simulated) == content.trials["camera"].nunique()
    whose = "All photographs of this study" if every else f"The photographs of {', '.join(simulated)}"
    return SIMULATED.format(whose) if simulated else Markup("")


def write_page(
    path: Path, title: str, heading: str, state: str, notice: str, package: ModuleType, content: Any
) -> Path:
    """Write a page, and beside it the files of its sections; returns its path.

    Args:
        package: lists its modules in ``SECTIONS``; the function ``section`` of each takes the content.
    """
    html, files = render(title, heading, state, notice, package, content)
    for name, file in {**files, path.name: html.encode()}.items():
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path.parent / name, file)
    return path


def build(package: ModuleType, content: Any) -> Iterator[Section]:
    """The sections that a package lists in ``SECTIONS``, one after the other."""
    for name in package.SECTIONS:
        yield import_module(f"{package.__name__}.{name}").section(content)


def render(
    title: str, heading: str, state: str, notice: str, package: ModuleType, content: Any
) -> tuple[str, dict[str, bytes]]:
    """The page that :func:`write_page` writes, and the files beside it by their paths."""
    built = list(build(package, content))
    written = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    html = ENVIRONMENT.get_template("page.html.j2").render(
        title=title, heading=heading, state=state, written=written, notice=notice, sections=built
    )
    parts = [part for section in built for part in section.parts]
    return html, {name: file for part in parts for name, file in part.files.items()}
