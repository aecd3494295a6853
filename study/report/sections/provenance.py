"""Where the results come from: code, packages, hardware, data, time, and the study file."""

from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from study.report.content import Content
from study.report.parts import MACROS, Part, Section, details

COLUMNS = {
    "Code revision": "git_revision",
    "Packages": "packages",
    "Hardware": "hardware",
    "Threads per trial": "threads",
}


def section(content: Content) -> Section:
    known = [*_known(content), *((title, [(text, 1)]) for title, text in content.provenance.notes.items())]
    if missing := sorted(content.snapshot.missing):  # this section is the last one
        known.append(("Missing artifacts", [(address, 1) for address in missing]))
    parts = [Part(MACROS.definitions(known))]
    if content.provenance.settings:
        parts.append(details("Study file", Part(Markup("<pre>{}</pre>\n").format(content.provenance.settings))))
    return Section("Provenance", parts)


def _known(content: Content) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """(what, [(value, how many trials)]): several values of one thing mean that trials are not all alike."""
    done = content.done
    for title, column in COLUMNS.items():
        yield title, _counts(done[column])
    for camera, group in done.groupby("camera"):
        yield f"Data hash, {camera}", _counts(group["data_fingerprint"])
    if len(done):
        started, ended = done["start"].min(), done["end"].max()
        hours = (ended - started).total_seconds() / 3600
        training, before = done["seconds"].sum() / 3600, content.pretrained["seconds"].sum() / 3600
        times = f"{hours:.2f} h, {started:%Y-%m-%d %H:%M} to {ended:%Y-%m-%d %H:%M} UTC"
        yield "Wall time of the trials", [(times, len(done))]
        yield "Device time", [(f"{training:.2f} h of trials, {before:.2f} h of pre-training", len(done))]


def _counts(values: pd.Series) -> list[tuple[str, int]]:
    return [(value or "not logged", count) for value, count in values.value_counts().items()]
