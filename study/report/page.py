"""The report of a study: one HTML file that needs nothing beside it, and its figures and tables as files.

    report.html            everything, pictures embedded, light and dark
    figures/*.pdf          every figure, one column wide
    tables/*.csv *.tex     every table, in numbers and as printed; trials.csv holds each trial, best.csv the way to it

All that is said comes out of MLflow (:mod:`study.results`); the plan only tells what is missing from it.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure

from study import results
from study.report import plots as figures
from study.report import tables
from study.results import fronts
from study.results.claims import paper

CURVES = len(figures.RAMP)  # λ values in a figure, beside fixed
PATCHES = 2  # shown per camera × ISP
REPETITIONS = 5  # seeds whose spectra are shown


@dataclass(frozen=True)
class Provenance:
    """What MLflow does not know about a study.

    ``settings``: the resolved study file, YAML. ``simulated``: for every camera, whether its photographs come
    from a simulation. ``notes``: further lines for the section on provenance.
    """

    settings: str = ""
    simulated: Mapping[str, bool] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A figure ready for the page."""

    name: str
    title: str
    svg: str


def report(
    study: str,
    tracking_uri: str,
    experiment: str,
    folder: Path,
    planned: Sequence[Mapping[str, Any]],
    provenance: Provenance | None = None,
) -> Path:
    """Write the report of a study and return the path of ``report.html``.

    Args:
        study: its name, the title.
        tracking_uri, experiment: where its runs are.
        folder: created where it is missing; files of an earlier report are replaced.
        planned: all trials of the study, as :func:`results.missing` takes them. Runs of other keys
            (an earlier state of the study file) are counted but not mixed in.

    Raises:
        ValueError: the experiment does not exist.
    """
    provenance = provenance or Provenance()
    everything = results.trials(tracking_uri, experiment)
    table = results.of_plan(everything, planned)
    done = results.finished(table)
    summary, gains, gaps = results.summary(table), results.gain(table), results.behind_codecs(table)
    confusions, pretrained = results.confusions(tracking_uri, table), results.pretrained(tracking_uri, experiment)
    fingerprints = results.fingerprints(tracking_uri, experiment)
    simulated = dict(zip(fingerprints["camera"], fingerprints["simulated"], strict=True)) | dict(provenance.simulated)
    verdicts = paper.verdicts(paper.Findings(table, pretrained, simulated, fingerprints))
    shown = [
        tables.headline(gains),
        tables.front_measures(done),
        tables.metrics(summary),
        tables.published_metrics(),
        tables.confusions(confusions),
        tables.codecs(gaps),
        tables.pretraining(pretrained),
        tables.claims(verdicts),
        tables.missing(table, planned),
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = tables.signed
    page = environment.get_template("report.html.j2").render(
        study=study,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        planned=len(planned),
        done=len(done),
        fewest_seeds=int(summary["seeds"].min()) if len(summary) else 0,
        cameras=sorted(set(table["camera"])),
        simulated=sorted(camera for camera, simulated in provenance.simulated.items() if simulated),
        lede=_lede(gains),
        tables={entry.name: entry for entry in shown},
        beside_paper=tables.shares_settings(summary),
        verdicts=verdicts["verdict"].value_counts().to_dict(),
        budgets=tables.BUDGETS,
        reference=fronts.REFERENCE,
        fronts={fidelity: list(_fronts(done, summary, fidelity, folder)) for fidelity in figures.FIDELITY},
        confusions=list(_confusions(confusions, summary)),
        codecs=list(_codecs(gaps, folder)),
        fusions=list(_fusions(results.fusions(tracking_uri, table), folder)),
        progress=list(_progress(tracking_uri, done, folder)),
        patches=list(_patches(tracking_uri, done, gains, folder)),
        spectra=list(_spectra(tracking_uri, done, summary, folder)),
        missing=len(results.missing(table, planned)),
        superseded=[row for row in table.to_dict("records") if row["superseded"]],
        unplanned=len(everything) - len(table),
        provenance=list(_provenance(done, pretrained)),
        notes=provenance.notes,
        settings=provenance.settings,
    )
    for entry in shown:
        write(folder / "tables" / f"{entry.name}.csv", entry.csv.encode())
        write(folder / "tables" / f"{entry.name}.tex", entry.latex.encode())
    trials = table.drop(columns=["packages", "artifact_uri"]).assign(superseded=table["superseded"].map(" ".join))
    for name, frame in (
        ("trials", trials),
        ("best", results.with_queries(results.best(summary))),
        ("fronts-by-seed", tables.front_measures_by_seed(done)),
    ):
        write(folder / "tables" / f"{name}.csv", frame.to_csv(index=False).encode())
    write(folder / "report.html", page.encode())
    return folder / "report.html"


def _lede(gains: pd.DataFrame) -> dict[str, Any] | None:
    """The greatest gain that costs at most the larger budget, if joint training gained anything."""
    affordable = results.best_within(gains, max(tables.BUDGETS))
    if affordable.empty:
        return None
    found = affordable.loc[affordable["accuracy"].idxmax()]
    return {
        "isp": found["isp"],
        "where": ", ".join([found["camera"], *(f"{axis} {found[axis]}" for axis in results.axes(gains))]),
        "lam": figures.lambda_label(found["lam"]),
        "seeds": found["seeds"],
        "fixed": 100 * found["fixed_accuracy"],
        "joint": 100 * (found["fixed_accuracy"] + found["accuracy"]),
        "gain": 100 * found["accuracy"],
        "low": 100 * found["accuracy_low"],
        "high": 100 * found["accuracy_high"],
        "psnr": found["fixed_psnr"] + found["psnr"],
        "change": found["psnr"],
        "budget": max(tables.BUDGETS),
    }


def _fronts(done: pd.DataFrame, summary: pd.DataFrame, fidelity: str, folder: Path) -> Iterator[Picture]:
    published = paper.supplement_table_1()
    for title, panel in _groups(summary, ["camera", *results.axes(summary)]):
        members = done[done["run_id"].isin(panel["run_ids"].explode())]
        theirs = published[(published["camera"] == panel["camera"].iloc[0]) & published["isp"].isin(panel["isp"])]
        figure = figures.trade_off(members, panel, fidelity, theirs if len(theirs) else None)
        yield picture(
            figure,
            f"front-{fidelity}",
            title,
            folder,
            f"{figures.FIDELITY[fidelity]} against accuracy, {title}",
        )


def _progress(tracking_uri: str, done: pd.DataFrame, folder: Path) -> Iterator[Picture]:
    further = results.axes(done)
    for title, group in _groups(done, ["camera", "isp", *further]):
        chosen = _spread(group)
        accuracy, psnr = (results.curves(tracking_uri, chosen, metric) for metric in ("accuracy", "psnr"))
        if len(accuracy) and len(psnr):
            yield picture(figures.progress(accuracy, psnr), "progress", title, folder, f"Training progress, {title}")


def _spread(group: pd.DataFrame) -> pd.DataFrame:
    """The rows of fixed and of as many λ, evenly spread, as a figure can tell apart."""
    lambdas = sorted(group["lam"].dropna().unique())
    chosen = {lambdas[i] for i in np.linspace(0, len(lambdas) - 1, min(CURVES, len(lambdas))).round().astype(int)}
    return group[group["lam"].isin(chosen) | group["lam"].isna()]


def _codecs(gaps: pd.DataFrame, folder: Path) -> Iterator[Picture]:
    for title, group in _groups(gaps, ["camera", "isp", *results.axes(gaps)]):
        figure = figures.behind_codecs(_spread(group))
        yield picture(figure, "codecs", title, folder, f"Accuracy behind real encoders, {title}")


def _fusions(decisions: pd.DataFrame, folder: Path) -> Iterator[Picture]:
    for title, group in _groups(decisions, ["camera", "isp", *results.axes(decisions)]):
        figure = figures.fusion(_spread(group))
        yield picture(figure, "images", title, folder, f"Accuracy of decisions about images, {title}")


def _spectra(tracking_uri: str, done: pd.DataFrame, summary: pd.DataFrame, folder: Path) -> Iterator[Picture]:
    """For every camera × ISP the spectra of the learned distortions, λ by λ, seed by seed."""
    joint = summary[summary["mode"] != results.FIXED]
    for title, group in _groups(joint, ["camera", "isp", *results.axes(joint)]):
        rows, pretrained = [], None
        for setting in _spread(group).sort_values("lam", ascending=False).to_dict("records"):
            runs = done[done["run_id"].isin(setting["run_ids"])].sort_values("seed").head(REPETITIONS)
            kept = [images for uri in runs["artifact_uri"] if (images := results.examples(tracking_uri, uri))]
            if not kept:
                continue
            if pretrained is None:
                pretrained = figures.mean_spectrum(kept[0]["native"].astype(float) - kept[0]["target"])
            label = f"λ = {setting['lam']:g}\n{setting['psnr']:.1f} dB\n{100 * setting['accuracy']:.0f} %"
            rows.append(
                (label, [figures.mean_spectrum_difference(images["native"], images["developed"]) for images in kept])
            )
        if pretrained is not None:
            figure = figures.spectra(pretrained, rows)
            yield picture(figure, "spectra", title, folder, f"Spectra of learned distortions, {title}")


def _patches(tracking_uri: str, done: pd.DataFrame, gains: pd.DataFrame, folder: Path) -> Iterator[Picture]:
    """For every camera × ISP patches of its best setting within the larger budget, first seed."""
    for row in results.best_within(gains, max(tables.BUDGETS)).to_dict("records"):
        run = done[done["run_id"].isin(row["run_ids"])].sort_values("seed").iloc[0]
        images = results.examples(tracking_uri, run["artifact_uri"])
        if not images:
            continue
        scale = figures.difference_scale(images["native"], images["developed"])
        setting = " · ".join(
            [
                run["camera"],
                run["isp"],
                *(f"{axis} {run[axis]}" for axis in results.axes(gains)),
                f"λ = {run['lam']:g}, seed {run['seed']}",
            ]
        )
        triples = zip(images["target"], images["native"], images["developed"], strict=True)
        for number, (target, native, developed) in enumerate(itertools.islice(triples, PATCHES), 1):
            figure = figures.patch(target, native, developed, scale)
            yield picture(figure, f"patch-{number}", setting, folder, f"Validation patch {number}, {setting}")


def _confusions(confusions: pd.DataFrame, summary: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """As the paper's Table 4, with rows = true class: fixed first, then falling λ."""
    by = [name for name in confusions.columns if name not in ("seeds", "classes", "confusion")]
    merged = confusions.merge(summary[[*by, "accuracy"]], on=by)
    for title, group in _groups(merged, ["camera", "isp", *results.axes(merged)]):
        matrices = [
            {
                "setting": "fixed" if row["mode"] == results.FIXED else f"λ = {row['lam']:g}",
                "accuracy": 100 * row["accuracy"],
                "seeds": row["seeds"],
                "classes": row["classes"],
                "rows": [
                    [(tables.percent(share), round(float(share), 3)) for share in line] for line in row["confusion"]
                ],
            }
            for row in group.sort_values("lam", ascending=False, na_position="first").to_dict("records")
        ]
        yield {"title": title, "matrices": matrices}


def _provenance(done: pd.DataFrame, pretrained: pd.DataFrame) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """(what, [(value, how many trials)]): several values of one thing mean that trials are not all alike."""
    for title, column in (
        ("Code revision", "git_revision"),
        ("Packages", "packages"),
        ("Hardware", "hardware"),
        ("Threads per trial", "threads"),
    ):
        yield title, _counts(done[column])
    for camera, group in done.groupby("camera"):
        yield f"Data fingerprint, {camera}", _counts(group["data_fingerprint"])
    if len(done):
        hours = (done["end"].max() - done["start"].min()).total_seconds() / 3600
        started, ended = (f"{moment:%Y-%m-%d %H:%M}" for moment in (done["start"].min(), done["end"].max()))
        training, before = done["seconds"].sum() / 3600, pretrained["seconds"].sum() / 3600
        yield "Wall time of the trials", [(f"{hours:.2f} h, {started} to {ended} UTC", len(done))]
        yield "Device time", [(f"{training:.2f} h of trials, {before:.2f} h of pre-training", len(done))]


def _counts(values: pd.Series) -> list[tuple[str, int]]:
    return [(value or "not logged", count) for value, count in values.value_counts().items()]


def _groups(frame: pd.DataFrame, by: list[str]) -> Iterable[tuple[str, pd.DataFrame]]:
    """Groups with their titles: camera · ISP · axis value."""
    for values, group in frame.groupby(by):
        named = [
            value if name in ("camera", "isp") else f"{name} {value}" for name, value in zip(by, values, strict=True)
        ]
        yield " · ".join(named), group


def picture(figure: Figure, kind: str, title: str, folder: Path, description: str) -> Picture:
    """Write the figure as PDF, and hand it back as SVG for the page."""
    name = f"{kind}-{re.sub(r'[^A-Za-z0-9.]+', '-', title).strip('-')}"
    write(folder / "figures" / f"{name}.pdf", figures.pdf(figure))
    return Picture(name, title, figures.svg(figure, description))


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)
