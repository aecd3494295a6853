"""Every figure of a study's report as a file of its own, for a paper."""

from pathlib import Path

from cameras import atomic
from study.report import plots
from study.report.parts import Section


def write_figures(section: Section, folder: Path, kind: plots.Kind) -> list[Path]:
    """Write the figures of a section and return their files.

    They are named after the section and the setting, as the PDF files of the report are. A file of the same name is
    replaced.

    Args:
        folder: is there.
    """
    written = []
    for part in section.parts:
        for name, draw in part.figures.items():
            path = folder / f"{name}.{kind}"
            atomic.write(path, plots.file(draw(), kind))
            written.append(path)
    return written
