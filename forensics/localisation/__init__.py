"""The experiment on localisation: composites, maps of scores, and how well they find what was altered.

settings     what is tried
composites   regions, and photographs in which one was altered
maps         a score at every pixel
metrics      AUC, F1, IoU, and the rule that decides
experiment   all of it, for a trial
"""

from forensics.localisation.composites import FOREIGN, PRISTINE, SHAPES, STANDARD, Composite, composites, region
from forensics.localisation.experiment import (
    FAN_DETECTOR,
    PLAIN_F1,
    VERSION,
    Case,
    Detector,
    Photograph,
    Result,
    cases,
    developed,
    fan_detector,
    kinds,
    localise,
    of_pairs,
)
from forensics.localisation.maps import at_pixels, evidence, fan_scores
from forensics.localisation.metrics import Found, Rule, auc, choose, f1_curve, judged
from forensics.localisation.settings import Localisation

__all__ = [
    "FAN_DETECTOR",
    "FOREIGN",
    "PLAIN_F1",
    "PRISTINE",
    "SHAPES",
    "STANDARD",
    "VERSION",
    "Case",
    "Composite",
    "Detector",
    "Found",
    "Localisation",
    "Photograph",
    "Result",
    "Rule",
    "at_pixels",
    "auc",
    "cases",
    "choose",
    "composites",
    "developed",
    "evidence",
    "f1_curve",
    "fan_detector",
    "fan_scores",
    "judged",
    "kinds",
    "localise",
    "of_pairs",
    "region",
]
