"""The effect of imaging pipelines on a camera's fingerprint (paper, section 3.3.1), and some further questions.

    the camera's images ── pipeline j ─┬─ estimation ── Kⱼ ─────────────┬─ correlations of Kᵢ, Kⱼ (Fig. 5a)
                                       ├─ prediction ── predictorⱼ ─┐   │
                                       └─ evaluation ─┬─ forged ────┴───┼─ maps by Kᵢ, predictorᵢ (Fig. 5b, c)
    other cameras' images ── pipeline j ──────────────┴─────────────────┴─ PCE with Kⱼ

Beyond the paper: how well the photographs of a pipeline match the fingerprint that they should match; whether traces
that a pipeline leaves in the photographs of *every* camera are mistaken for a fingerprint; and, if the sensor's pattern
is known, how much of it is in the fingerprint. All of this before and after the distribution channel. After the
channel, the analyst has only received photographs: fingerprints are estimated from them as well, at their size.

A photograph is what a file would hold: a central crop in 8 bits. Only one of them is in memory at a time, beside the
fingerprints.

    inputs         pipelines, other cameras, settings, the split of the images; the photographs themselves
    camera_model   a fingerprint and a predictor by one pipeline
    localisation   forged photographs and what every camera model finds in them
    attribution    which camera took a photograph: PCE, error rates
    result         everything about one camera, and its file
    run            the whole experiment
"""

from prnu.crops import GRID, central_crop, crop_box
from prnu.experiment.attribution import (
    Attribution,
    Proportion,
    Score,
    attributions,
    photographs_of_others,
    scores,
)
from prnu.experiment.camera_model import CameraModel, correlations, enrol, estimate
from prnu.experiment.inputs import (
    AS_DEVELOPED,
    DEVELOPED,
    PAPER,
    RECEIVED,
    UNKNOWN,
    Develop,
    OtherCamera,
    Pipeline,
    Progress,
    Settings,
    Split,
    View,
    as_file,
    photographs,
    silent,
    split,
    steps,
)
from prnu.experiment.localisation import Forgery, tamper
from prnu.experiment.result import CameraResult, load, save
from prnu.experiment.run import experiment
from prnu.match import PCE_THRESHOLD

__all__ = [
    "AS_DEVELOPED",
    "DEVELOPED",
    "GRID",
    "PAPER",
    "PCE_THRESHOLD",
    "RECEIVED",
    "UNKNOWN",
    "Attribution",
    "CameraModel",
    "CameraResult",
    "Develop",
    "Forgery",
    "OtherCamera",
    "Pipeline",
    "Progress",
    "Proportion",
    "Score",
    "Settings",
    "Split",
    "View",
    "as_file",
    "attributions",
    "central_crop",
    "correlations",
    "crop_box",
    "enrol",
    "estimate",
    "experiment",
    "load",
    "photographs",
    "photographs_of_others",
    "save",
    "scores",
    "silent",
    "split",
    "steps",
    "tamper",
]
