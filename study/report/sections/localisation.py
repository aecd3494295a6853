"""Where a photograph was altered: how well fixed and joint ISPs, and PRNU, find a region."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study import results
from study.report import plots
from study.report.content import BUDGETS, Content
from study.report.parts import Part, Section, details, note, panels, paragraph, picture, show
from study.report.tables import Cells, Table, as_printed, count, interval, lambda_label, named, number
from study.results import localised
from study.results.runs_table import setting_columns

READING = """Whole photographs in which one region was manipulated, or replaced by content of another pipeline, at the
native resolution; then shrunk as in training and compressed by a real encoder ({codecs}; regions of {sizes} of the
picture; {images}, {on}). Each pixel’s score is the log-likelihood ratio of altered against native, by the FAN over
windows placed everywhere. AUC is that of pixels. One threshold a trial, chosen on validation photographs, gives F1;
“everything” is F1 if all pixels were flagged. Pristine photographs went through the same channel. PRNU is the
fingerprint of the trial’s own NIP. Brackets: 95 %, Student’s t over photographs, each averaged over composites and
seeds; of alarms Clopper and Pearson."""
GAIN = """Of {all}, joint training finds altered regions better than the fixed ISP in {better}, by an interval of the
pixel AUC that excludes 0; worse in {worse}."""
NO_PRNU = "PRNU was not tried: {}."
NAMES = {localised.FAN: "FAN", "prnu": "PRNU"}
SHOWN = ("sharpen", "standard pipeline")  # kinds of composites, as far as they are there; else the first
WIDTH = 192  # pixels of a picture at most


def section(content: Content) -> Section:
    rows = localised.localised(content.snapshot, content.done)
    title = "Where a photograph was altered"
    if rows.empty:
        return Section(title, [])
    gains = localised.localisation_gain(rows)
    reasons = sorted(set(rows["prnu"]) - {localised.TRIED})
    parts = [note(_reading(rows)), *(paragraph(NO_PRNU.format(reason), "soft") for reason in reasons)]
    if len(own := gains[gains["detector"] == localised.FAN]):
        better, worse = int((own["auc_low"] > 0).sum()), int((own["auc_high"] < 0).sum())
        parts.insert(0, paragraph(GAIN.format(better=better, worse=worse, all=count(len(own), "joint setting"))))
    by_kind = kinds(rows)
    parts += [show(detected(rows, gains)), details(by_kind.caption, show(by_kind)), panels(_pictures(content, rows))]
    return Section(title, parts)


def _reading(rows: pd.DataFrame) -> str:
    altered = rows[rows["kind"] != localised.PRISTINE]
    images = rows.groupby(setting_columns(rows), dropna=False)["photograph"].nunique().max()
    sizes = ", ".join(f"1/{1 / size:.3g}" for size in sorted(altered["size"].unique()))
    on = " or ".join(sorted(rows[results.ON].unique()))
    return READING.format(
        codecs=", ".join(rows["codec"].unique()), sizes=sizes, on=on, images=count(images, "photograph")
    )


def detected(rows: pd.DataFrame, gains: pd.DataFrame) -> Table:
    """A row per setting and detector: what it finds, what it flags in pristine photographs, joint minus fixed."""
    by = [*setting_columns(rows), "detector"]
    numbers = localised.found(rows).merge(localised.pristine(rows).drop(columns=["seeds", "images"]), on=by)
    differences = gains[[*by, *(f"{name}{end}" for name in ("auc", "f1") for end in ("", "_low", "_high"))]]
    numbers = numbers.merge(differences, on=by, how="left", suffixes=("", "_gain"))
    lines = []
    for found in numbers.to_dict("records"):
        line: Cells = named({name: found[name] for name in by if name not in ("mode", "detector")})
        line["", "Detector"] = NAMES.get(found["detector"], found["detector"])
        line["Composites", "AUC"] = interval(found, "auc", 3)
        line["Composites", "F1"] = interval(found, "f1", 3)
        line["Composites", "F1, no median"] = number(found["f1_plain"], 3)
        line["Composites", "F1, everything"] = number(found["everything"], 3)
        line["Composites", "IoU"] = number(found["iou"], 3)
        line["Pristine photographs", "Pixels flagged (%)"] = interval(found, "flagged", 2, scale=100)
        line["Pristine photographs", "With any (%)"] = interval(found, "alarms", 0, scale=100)
        for name, heading in (("auc", "AUC"), ("f1", "F1")):
            ends = {f"{name}{end}": found[f"{name}{end}_gain"] for end in ("", "_low", "_high")}
            line["Joint − fixed", heading] = interval(ends, name, 3, sign=True)
        lines.append(line)
    caption = "Finding an altered region: composites, pristine photographs, and joint minus fixed"
    return Table("localisation", caption, as_printed(lines, once=len(by) - 3), numbers)


def kinds(rows: pd.DataFrame) -> Table:
    """A row per setting and detector: the AUC of every kind of composite, and joint minus fixed."""
    by = [*setting_columns(rows), "detector"]
    gains = localised.localisation_gain(rows, ["kind"])[[*by, "kind", "auc", "auc_low", "auc_high"]]
    numbers = localised.found(rows, ["kind"]).merge(gains, on=[*by, "kind"], how="left", suffixes=("", "_gain"))
    lines = []
    for values, group in numbers.groupby(by, dropna=False, sort=False):
        place = dict(zip(by, values, strict=True))
        line = named({name: value for name, value in place.items() if name not in ("mode", "detector")})
        line["", "Detector"] = NAMES.get(place["detector"], place["detector"])
        for found in group.to_dict("records"):
            line["AUC", found["kind"]] = interval(found, "auc", 3)
        for found in group.to_dict("records"):
            ends = {f"auc{end}": found[f"auc{end}_gain"] for end in ("", "_low", "_high")}
            line["Joint − fixed", found["kind"]] = interval(ends, "auc", 3, sign=True)
        lines.append(line)
    return Table("localisation-kinds", "AUC by what was done", as_printed(lines, once=len(by) - 3), numbers)


def _pictures(content: Content, rows: pd.DataFrame) -> Iterator[Part]:
    """For every camera × ISP one photograph, altered in two ways: by the fixed NIP, and by the best joint one.

    That is the setting with the greatest gain within the larger budget, as validation chooses it.
    """
    tried = content.done[content.done["run_id"].isin(rows["run_id"])]
    further = results.axes(content.view.gains)
    for row in results.best_within(content.view.gains, max(BUDGETS)).to_dict("records"):
        same = tried[(tried[["camera", "isp", *further]] == pd.Series(row)[["camera", "isp", *further]]).all(axis=1)]
        joint = same[same["run_id"].isin(row["run_ids"])].sort_values("seed").head(1)
        fixed = same[same["mode"] == results.FIXED].sort_values("seed").head(1)
        runs = [run for one in (fixed, joint) for run in one.to_dict("records")]
        kept = [(run, localised.examples(content.snapshot, run["artifact_uri"])) for run in runs]
        kept = [(run, tensors) for run, tensors in kept if tensors]
        if not kept:
            continue
        altered = _altered(kept[0][1])
        wanted = [name for name in altered if name.startswith(SHOWN)] or altered
        title = " · ".join([row["camera"], row["isp"], *(f"{axis} {row[axis]}" for axis in further)])
        for name in wanted[:2]:
            shown = [
                (lambda_label(run["lam"]), _of(tensors, name)) for run, tensors in kept if name in _altered(tensors)
            ]
            label = f"{title} · {name}"
            yield picture(side_by_side(shown), "localisation", label, f"Photograph, truth and maps, {label}")


def _altered(tensors: Mapping[str, np.ndarray]) -> list[str]:
    names = dict.fromkeys(name.rpartition("/")[0] for name in sorted(tensors))
    return [name for name in names if tensors[f"{name}/truth"].any()]


def _of(tensors: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    step = -(-tensors[f"{name}/truth"].shape[1] // WIDTH)
    prefix = f"{name}/"
    return {
        full.removeprefix(prefix): tensor[..., ::step, ::step]
        for full, tensor in tensors.items()
        if full.startswith(prefix)
    }


def side_by_side(shown: list[tuple[str, dict[str, np.ndarray]]]) -> Figure:
    """A row for each λ: the photograph as received, where it was altered, and the FAN's scores, each over its range."""
    height, width = shown[0][1]["truth"].shape
    shades: dict[str, Any] = {"cmap": "cividis", "interpolation": "none"}
    with plots.column(len(shown) * (plots.COLUMN / 3 * height / width + 0.22)) as figure:
        for line, (lam, found) in zip(figure.subplots(len(shown), 3, squeeze=False), shown, strict=True):
            line[0].imshow(found["received"].transpose(1, 2, 0), interpolation="none")
            line[1].imshow(found["truth"], **shades)
            line[2].imshow(found[localised.FAN].astype(float), **shades)
            names = (lam if lam == results.FIXED else f"λ = {lam}", "where it was altered", "score")
            for axes, name in zip(line, names, strict=True):
                axes.set_title(name, fontsize=7, pad=2.5)
                axes.set_axis_off()
    return figure
