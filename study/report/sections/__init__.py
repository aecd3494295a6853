"""The sections of a study's report, in the order of the page.

A section is a module of this package whose function ``section(content)`` takes a :class:`study.report.content.Content`
and returns a :class:`study.report.parts.Section`. A new one is a file here and its name below.
"""

SECTIONS = (
    "headline",
    "fronts",
    "explorer",
    "attainment",
    "search",
    "comparison",
    "metrics",
    "confusions",
    "panel",
    "codecs",
    "own_codec",
    "localisation",
    "images",
    "progress",
    "steadiness",
    "patches",
    "spectra",
    "pretraining",
    "claims",
    "missing",
    "provenance",
)
