"""The report of a study: one HTML file that needs nothing beside it, and its figures and tables as files.

    report.html            everything, pictures embedded, light and dark
    figures/*.pdf          every figure, one column wide
    tables/*.csv *.tex     every table, in numbers and as printed; trials.csv holds each trial

All that is said comes out of MLflow (:mod:`study.results`); the plan only tells what is missing from it.
"""

import base64
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

from study import figures, results

BUDGETS = (1.0, 3.0)  # dB of PSNR that one may be willing to lose
CURVES = len(figures.RAMP)  # λ values in a figure of training progress, beside fixed
PATCHES = 2  # shown per camera × ISP


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
class Table:
    """A table as printed (text cells, one or two header rows), with the numbers behind it."""

    name: str
    caption: str
    printed: pd.DataFrame
    numbers: pd.DataFrame

    @property
    def csv(self) -> str:
        return self.numbers.to_csv(index=False)

    @property
    def latex(self) -> str:
        body = self.printed.to_latex(
            index=False, escape=True, multicolumn_format="c", column_format="l" * len(self.printed.columns)
        )
        return (
            body.replace("λ", r"$\lambda$")
            .replace("±", r"$\pm$")
            .replace("–", "--")
            .replace("−", "$-$")
            .replace("≤", r"$\leq$")
        )

    def download(self, kind: str) -> str:
        """A data URI of "csv" or "tex"."""
        content = {"csv": self.csv, "tex": self.latex}[kind]
        return f"data:text/plain;base64,{base64.b64encode(content.encode()).decode()}"

    @property
    def header(self) -> list[list[tuple[str, int]]]:
        """Header rows as (text, columns spanned)."""
        columns = self.printed.columns
        rows = [columns.get_level_values(level) for level in range(columns.nlevels)]
        header: list[list[tuple[str, int]]] = []
        for row in rows[:-1]:
            spans: list[tuple[str, int]] = []
            for text in row:
                if spans and spans[-1][0] == text:
                    spans[-1] = (text, spans[-1][1] + 1)
                else:
                    spans.append((text, 1))
            header.append(spans)
        return [*header, [(text, 1) for text in rows[-1]]]


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
    summary, gains = results.summary(table), results.gain(table)
    confusions = results.confusions(tracking_uri, table)
    tables = [_headline(gains), _metrics(summary), _pretrained(results.pretrained(tracking_uri, experiment))]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["signed"] = _signed
    page = environment.get_template("report.html.j2").render(
        study=study,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        planned=len(planned),
        done=len(done),
        fewest_seeds=int(summary["seeds"].min()) if len(summary) else 0,
        cameras=sorted(set(table["camera"])),
        simulated=sorted(camera for camera, simulated in provenance.simulated.items() if simulated),
        lede=_lede(gains),
        tables={entry.name: entry for entry in tables},
        budgets=BUDGETS,
        fronts={fidelity: list(_fronts(done, summary, fidelity, folder)) for fidelity in figures.FIDELITY},
        confusions=list(_confusions(confusions, summary)),
        progress=list(_progress(tracking_uri, done, folder)),
        patches=list(_patches(tracking_uri, done, gains, folder)),
        missing=_missing(table, planned),
        superseded=[row for row in table.to_dict("records") if row["superseded"]],
        unplanned=len(everything) - len(table),
        provenance=list(_provenance(done)),
        notes=provenance.notes,
        settings=provenance.settings,
    )
    for entry in tables:
        _write(folder / "tables" / f"{entry.name}.csv", entry.csv.encode())
        _write(folder / "tables" / f"{entry.name}.tex", entry.latex.encode())
    trials = table.drop(columns=["packages", "artifact_uri"]).assign(superseded=table["superseded"].map(" ".join))
    _write(folder / "tables" / "trials.csv", trials.to_csv(index=False).encode())
    _write(folder / "tables" / "confusions.csv", _long(confusions).to_csv(index=False).encode())
    _write(folder / "report.html", page.encode())
    return folder / "report.html"


def _lede(gains: pd.DataFrame) -> dict[str, Any] | None:
    """The greatest gain that costs at most the larger budget, if joint training gained anything."""
    affordable = results.best_within(gains, max(BUDGETS))
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
        "budget": max(BUDGETS),
    }


def _headline(gains: pd.DataFrame) -> Table:
    """Per camera × ISP: fixed, and the best joint setting within each budget of PSNR."""
    further = results.axes(gains)
    chosen = [results.best_within(gains, budget).assign(max_loss_db=budget) for budget in BUDGETS]
    rows = []
    for setting, group in gains.groupby(["camera", "isp", *further]):
        row: dict[tuple[str, str], str] = dict(
            zip(
                [("", "Camera"), ("", "ISP"), *(("", axis) for axis in further)],
                map(str, setting),
                strict=True,
            )
        )
        row["Fixed", "Accuracy (%)"] = f"{100 * group['fixed_accuracy'].iloc[0]:.1f}"
        row["Fixed", "PSNR (dB)"] = f"{group['fixed_psnr'].iloc[0]:.2f}"
        for budget, best in zip(BUDGETS, chosen, strict=True):
            found = best[(best[["camera", "isp", *further]] == list(setting)).all(axis=1)]
            top = f"Joint, ≤ {budget:g} dB lost"
            for name, text in _gain_cells(found).items():
                row[top, name] = text
        rows.append(row)
    printed = pd.DataFrame(
        [list(row.values()) for row in rows],
        columns=pd.MultiIndex.from_tuples(rows[0]) if rows else ["Camera"],
    )
    return Table("gains", "Best accuracy for a bounded loss of PSNR", printed, _numbers(pd.concat(chosen)))


def _gain_cells(found: pd.DataFrame) -> dict[str, str]:
    if found.empty:
        return {"λ": "–", "Accuracy (%)": "–", "Gain (points)": "–"}
    row = found.iloc[0]
    low, high = 100 * row["accuracy_low"], 100 * row["accuracy_high"]
    interval = "" if np.isnan(low) else f" [{_signed(low, 1)}, {_signed(high, 1)}]"
    return {
        "λ": f"{row['lam']:g}",
        "Accuracy (%)": f"{100 * (row['fixed_accuracy'] + row['accuracy']):.1f}",
        "Gain (points)": _signed(100 * row["accuracy"], 1) + interval,
    }


def _signed(value: float, digits: int) -> str:
    """With a sign, and a minus that is as wide as the plus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def _metrics(summary: pd.DataFrame) -> Table:
    """As the paper's supplement, Table 1: a row per camera × λ, fixed last; PSNR, SSIM, accuracy per ISP."""
    further = results.axes(summary)
    isps = list(summary["isp"].unique())
    rows = []
    for panel, group in summary.groupby(["camera", *further]):
        names = [str(value) for value in panel]
        for lam, settings in group.groupby("lam", dropna=False):
            row: dict[tuple[str, str], str] = dict(
                zip([("", "Camera"), *(("", axis) for axis in further)], names, strict=True)
            )
            row["", "λ"] = figures.lambda_label(lam)
            for isp in isps:
                found = settings[settings["isp"] == isp]
                row[isp, "PSNR (dB)"] = _mean(found, "psnr", 1, 2)
                row[isp, "SSIM"] = _mean(found, "ssim", 1, 3)
                row[isp, "Accuracy (%)"] = _mean(found, "accuracy", 100, 1)
            rows.append(row)
            names = [""] * len(names)  # named once, at the top of its block
    printed = pd.DataFrame(
        [list(row.values()) for row in rows],
        columns=pd.MultiIndex.from_tuples(rows[0]) if rows else ["Camera"],
    )
    return Table("metrics", "Validation metrics, mean ± standard deviation over seeds", printed, _numbers(summary))


def _mean(found: pd.DataFrame, metric: str, scale: float, digits: int) -> str:
    if found.empty:
        return "–"
    row = found.iloc[0]
    spread = "" if np.isnan(row[metric + "_std"]) else f" ± {scale * row[metric + '_std']:.{digits}f}"
    return f"{scale * row[metric]:.{digits}f}{spread}"


def _pretrained(pretrained: pd.DataFrame) -> Table:
    printed = pd.DataFrame(
        {
            "Camera": pretrained["camera"],
            "ISP": pretrained["isp"],
            "PSNR (dB)": pretrained["psnr"].map("{:.2f}".format),
            "SSIM": pretrained["ssim"].map("{:.3f}".format),
        }
    )
    return Table("pretraining", "Fidelity of the pre-trained ISPs", printed, pretrained)


def _fronts(done: pd.DataFrame, summary: pd.DataFrame, fidelity: str, folder: Path) -> Iterator[Picture]:
    further = results.axes(summary)
    for title, panel in _groups(summary, ["camera", *further]):
        members = done[done["run_id"].isin(panel["run_ids"].explode())]
        figure = figures.trade_off(members, panel, fidelity)
        yield _picture(
            figure,
            f"front-{fidelity}",
            title,
            folder,
            f"{figures.FIDELITY[fidelity]} against accuracy, {title}",
        )


def _progress(tracking_uri: str, done: pd.DataFrame, folder: Path) -> Iterator[Picture]:
    further = results.axes(done)
    for title, group in _groups(done, ["camera", "isp", *further]):
        lambdas = sorted(group["lam"].dropna().unique())
        shown = {lambdas[i] for i in np.linspace(0, len(lambdas) - 1, min(CURVES, len(lambdas))).round().astype(int)}
        chosen = group[group["lam"].isin(shown) | group["lam"].isna()]
        accuracy, psnr = (results.curves(tracking_uri, chosen, metric) for metric in ("accuracy", "psnr"))
        if len(accuracy) and len(psnr):
            yield _picture(figures.progress(accuracy, psnr), "progress", title, folder, f"Training progress, {title}")


def _patches(tracking_uri: str, done: pd.DataFrame, gains: pd.DataFrame, folder: Path) -> Iterator[Picture]:
    """For every camera × ISP patches of its best setting within the larger budget, first seed."""
    for row in results.best_within(gains, max(BUDGETS)).to_dict("records"):
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
            yield _picture(figure, f"patch-{number}", setting, folder, f"Validation patch {number}, {setting}")


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
                "rows": [[(_percent(share), round(float(share), 3)) for share in line] for line in row["confusion"]],
            }
            for row in group.sort_values("lam", ascending=False, na_position="first").to_dict("records")
        ]
        yield {"title": title, "matrices": matrices}


def _percent(share: float) -> str:
    if share < 0.005:
        return ""
    return "*" if share < 0.03 else f"{100 * share:.0f}"


def _long(confusions: pd.DataFrame) -> pd.DataFrame:
    """One row per entry of each confusion matrix."""
    by = [name for name in confusions.columns if name not in ("classes", "confusion")]
    rows = [
        {
            **{name: row[name] for name in by},
            "true": true,
            "predicted": predicted,
            "share": row["confusion"][i][j],
        }
        for row in confusions.to_dict("records")
        for i, true in enumerate(row["classes"])
        for j, predicted in enumerate(row["classes"])
    ]
    return pd.DataFrame(rows, columns=[*by, "true", "predicted", "share"])


def _missing(table: pd.DataFrame, planned: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Trials without a result; seeds of the same setting that share a state share a line."""
    missing = results.missing(table, planned).groupby(["camera", "isp", "lam", "state"], dropna=False, sort=False)
    return [
        {
            "camera": camera,
            "isp": isp,
            "lam": figures.lambda_label(lam),
            "state": state,
            "count": len(rows),
            "seeds": ", ".join(map(str, sorted(rows["seed"].unique()))),
        }
        for (camera, isp, lam, state), rows in missing
    ]


def _provenance(done: pd.DataFrame) -> Iterator[tuple[str, list[tuple[str, int]]]]:
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
        yield "Sum of trial times", [(f"{done['seconds'].sum() / 3600:.2f} h", len(done))]
        yield (
            "First start to last end",
            [(f"{done['start'].min():%Y-%m-%d %H:%M} to {done['end'].max():%Y-%m-%d %H:%M} UTC", len(done))],
        )


def _counts(values: pd.Series) -> list[tuple[str, int]]:
    return [(value or "not logged", count) for value, count in values.value_counts().items()]


def _groups(frame: pd.DataFrame, by: list[str]) -> Iterable[tuple[str, pd.DataFrame]]:
    """Groups with their titles: camera · ISP · axis value."""
    for values, group in frame.groupby(by):
        named = [
            value if name in ("camera", "isp") else f"{name} {value}" for name, value in zip(by, values, strict=True)
        ]
        yield " · ".join(named), group


def _picture(figure: Figure, kind: str, title: str, folder: Path, description: str) -> Picture:
    """Write the figure as PDF, and hand it back as SVG for the page."""
    name = f"{kind}-{re.sub(r'[^A-Za-z0-9.]+', '-', title).strip('-')}"
    _write(folder / "figures" / f"{name}.pdf", figures.pdf(figure))
    return Picture(name, title, figures.svg(figure, description))


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(run_ids=frame["run_ids"].map(" ".join))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)
