"""Where the results come from: which images were used, and how they were examined."""

from prnu.experiment import CameraResult
from study.report.fingerprint_statistics import FingerprintContent
from study.report.parts import MACROS, Part, Section, note

FILES = (
    "Every figure is a PDF in figures/, every table CSV and LaTeX in tables/; tables/pairs.csv holds every single PCE."
)


def section(content: FingerprintContent) -> Section:
    known = {result.camera: _examined(result) for result in content.cameras} | dict(content.notes)
    return Section(
        "Provenance", [Part(MACROS.definitions([(title, [(text, 1)]) for title, text in known.items()])), note(FILES)]
    )


def _examined(result: CameraResult) -> str:
    height, width = result.fingerprints.shape[-2:]
    parts, settings = result.images, result.settings
    return (
        f"{len(parts.estimation)} images for fingerprints, {len(parts.prediction)} for predictors, "
        f"{len(parts.evaluation)} evaluated; crops of {height} × {width} px, windows of {settings.window} px every "
        f"{settings.stride} px, forged square of {settings.forgery} px, σ₀ = {255 * settings.sigma:g}/255"
    )
