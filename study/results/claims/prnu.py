"""Answers to the claims about PRNU fingerprints, out of the metrics of ``python -m study fingerprints``."""

from collections.abc import Callable
from functools import partial

import pandas as pd

from study.results.claims.findings import Answer, Answers, Findings, mean_over_cameras, one_setting


def mean_of(findings: Findings, measure: Callable[[pd.DataFrame], pd.Series]) -> Answer:
    """Mean of a measure of the table of fingerprints, over the cameras that have it."""
    values = measure(findings.fingerprints).dropna()
    rows = findings.fingerprints.loc[values.index]
    return (mean_over_cameras(values, one_setting(rows)["camera"]), rows) if len(values) else None


ANSWERS: Answers = {
    "prnu-correlation": partial(mean_of, measure=lambda table: table["correlation"]),
    "prnu-localisation": partial(mean_of, measure=lambda table: table["f1_matching"] - table["f1_mismatched"]),
    "prnu-low-light": partial(mean_of, measure=lambda table: table["pce_unet_short"]),
}
