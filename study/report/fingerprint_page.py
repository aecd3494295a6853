"""The report of the fingerprint (PRNU) experiments: one HTML file, in the look of a study's report.

    prnu.html              everything, pictures embedded, light and dark
    figures/*.pdf          every figure, one column wide
    tables/*.csv *.tex     every matrix and table, in numbers and as printed; pairs.csv holds every single PCE

The sections, one file each, are listed in :mod:`study.report.sections.fingerprints`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from prnu.experiment import CameraResult
from prnu.lowlight import LowLight
from study.report.fingerprint_statistics import FingerprintContent
from study.report.page import write_page
from study.report.sections import fingerprints
from study.report.tables import count

SIMULATED = Markup("""<b>Simulated data.</b> The photographs of {} come from a camera simulation, not from a real
sensor.""")
PAPER = Markup("""The paper’s numbers stand beside ours as context only: they were measured on real cameras, and
photographs of simulated cameras neither reproduce nor refute absolute numbers.""")


def page(
    study: str,
    cameras: Sequence[CameraResult],
    low_light: Sequence[LowLight],
    lambdas: Mapping[str, float],
    folder: Path,
    notes: Mapping[str, str],
    *,
    simulated: Sequence[str] = (),
) -> Path:
    """Write the page of a study's fingerprint experiments and return the path of ``prnu.html``.

    Args:
        study: its name, the title.
        cameras: the results of the experiment, one per camera.
        low_light: those of the experiment in low light.
        lambdas: λ of the jointly trained pipelines, by name. A pipeline's name begins with that of its ISP; the one
            that NIPs are trained to reproduce is called "standard".
        folder: created where it is missing; files of an earlier page are replaced.
        notes: further lines for the section on provenance.
        simulated: those of the cameras whose photographs come from a simulation.
    """
    pipelines = {name for result in cameras for name in result.pipelines}
    joint = f"{len(pipelines & lambdas.keys()) or 'none'} of them jointly trained"
    state = f"{count(len(cameras), 'camera')}, {count(len(pipelines), 'pipeline')}, {joint}."
    notice = Markup(" ").join([SIMULATED.format(", ".join(sorted(simulated))), PAPER]) if simulated else PAPER
    return write_page(
        folder / "prnu.html",
        f"{study} – sensor fingerprints",
        f"{study}: sensor fingerprints",
        state if cameras else "No camera has been examined yet.",
        notice,
        fingerprints,
        FingerprintContent(cameras, low_light, lambdas, notes),
    )
