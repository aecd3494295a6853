"""The page about a package: one HTML file, in the look of a study's report, with nothing beside it.

It says what the package is, and how far its answers can be trusted; every table and figure is offered in the page
itself. The sections, one file each, are listed in :mod:`study.report.sections.package`.
"""

from pathlib import Path

from forensics.package_files import is_zip
from study.report.package_content import PackageContent
from study.report.page import render
from study.report.sections import package
from study.report.sections.package.overview import MADE_BY
from study.report.tables import lambda_label
from study.results import FIXED
from study.settings import StudyError

HEAD = 2**16  # bytes of a page in which its head lies
NOTICE = """These figures hold for photographs of this camera that this NIP has developed, as large as stated, shrunk
and compressed as stated. Of other photographs they say nothing."""


def beside(package: Path) -> Path:
    """Where the page about a package lies: ``camera.html`` for ``camera.zip`` or the folder ``camera``."""
    return package.with_suffix(".html") if is_zip(package) else package.with_name(f"{package.name}.html")


def check_place(path: Path) -> None:
    """Check that a page may be written here: there is nothing yet, or an earlier page about a package.

    Raises:
        StudyError: there is something else, which would be lost.
    """
    if not path.exists() and not path.is_symlink():
        return
    if path.is_file():
        with path.open("rb") as file:
            if MADE_BY.encode() in file.read(HEAD):
                return
    raise StudyError(f"{path} is there and is no page about a package: name another place")


def page(content: PackageContent) -> bytes:
    """The page about a package."""
    about, trial = content.about, content.trial
    lam = about["lambda"]
    trained = FIXED if lam == FIXED else f"λ = {lambda_label(lam)}"
    html, _ = render(
        f"{content.name} – package",
        f"{trial['camera']} · {trial['isp']} · {trained}",
        f"Package {content.name}, release {about['release']}.",
        NOTICE,
        package,
        content,
    )
    return html.encode()
