"""The sections of the page about a package, in its order.

As in :mod:`study.report.sections`, but ``section`` takes a :class:`study.report.package_content.PackageContent`.
"""

SECTIONS = ("overview", "false_alarms", "detection", "probabilities", "eight_bits", "provenance")
