"""The sections of the report on sensor fingerprints, in the order of the page.

As in :mod:`study.report.sections`, but ``section`` takes a :class:`study.report.fingerprint_page.FingerprintContent`.
"""

SECTIONS = (
    "words",
    "recovery",
    "correlations",
    "localisation",
    "maps",
    "low_light",
    "survival",
    "mistakes",
    "provenance",
)
