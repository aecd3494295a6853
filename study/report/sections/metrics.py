"""Fidelity and accuracy of every setting, beside the paper's where it has the same camera, ISP and λ."""

import numpy as np
import pandas as pd

from study import results
from study.report.content import Content
from study.report.parts import Part, Section, details, note, show
from study.report.tables import Cells, Table, as_printed, flat, metric_cells, named

METRICS: dict[str, tuple[str, float, int]] = {
    "psnr": ("PSNR (dB)", 1, 2),
    "ssim": ("SSIM", 1, 3),
    "accuracy": ("Accuracy (%)", 100, 1),
}
PAPER_METRICS = METRICS | {"psnr": ("PSNR (dB)", 1, 1)}  # the paper prints one digit
OTHER_LAMBDAS = """The paper’s λ belong to a cross-entropy compressed by a second softmax, those of this study to the
cross-entropy itself: compare fronts, not rows."""


def section(content: Content) -> Section:
    ours, theirs = metrics(content.summary, content.published), published_metrics(content.published)
    trials = content.trials.drop(columns=["packages", "artifact_uri"])
    further = {
        "trials": trials.assign(superseded=trials["superseded"].map(" ".join)),
        "best": results.with_queries(results.best(content.summary)),
    }
    files = Part(files={f"tables/{name}.csv": frame.to_csv(index=False).encode() for name, frame in further.items()})
    alone = len(content.done) > 0 and not content.beside_paper
    paper = details("The paper’s own table, which shares no camera × ISP with this study", show(theirs))
    shown = paper if alone else Part(files=theirs.files)
    return Section("All settings", [show(ours), shown, note(OTHER_LAMBDAS), files])


def metrics(summary: pd.DataFrame, published: pd.DataFrame) -> Table:
    """As the paper's supplement, Table 1: a row per camera × λ, fixed last; PSNR, SSIM, accuracy per ISP."""
    by = ["camera", *results.axes(summary), "lam"]
    isps = list(summary["isp"].unique())
    shared = set(summary.merge(published, on=["camera", "isp"])["isp"])
    rows = []
    for values, settings in summary.groupby(by, dropna=False):
        same = (published["camera"] == values[0]) & np.isclose(published["lam"], values[-1], equal_nan=True)
        theirs = published[same]
        row: Cells = named(dict(zip(by, values, strict=True)))
        for isp in isps:
            row |= metric_cells(isp, settings[settings["isp"] == isp], METRICS)
            if isp in shared:
                row |= metric_cells(f"{isp}, paper", theirs[theirs["isp"] == isp], PAPER_METRICS)
        rows.append(row)
    numbers = flat(summary)
    if shared:
        numbers = numbers.merge(published, on=["camera", "isp", "mode", "lam"], how="left", suffixes=("", "_paper"))
    caption = "Validation metrics, mean ± standard deviation over seeds"
    return Table("metrics", caption, as_printed(rows, once=len(by) - 1), numbers)


def published_metrics(published: pd.DataFrame) -> Table:
    """The paper's own numbers, for studies that share no setting with it."""
    summary = published.assign(seeds=10, run_ids=[()] * len(published), trial_keys=[()] * len(published))
    printed = metrics(summary, published.head(0)).printed
    return Table("paper", "The paper’s numbers (supplement, Table 1): means over ten seeds", printed, published)
