"""Fidelity and accuracy of every setting, beside the paper's where it has the same camera, ISP and λ."""

import numpy as np
import pandas as pd

from study import results
from study.report.content import Content
from study.report.parts import Part, Section, details, note, show
from study.report.tables import Cells, Table, as_printed, flat, metric_cells, named

KIND = "SSIM (paper’s kind)"
METRICS: dict[str, tuple[str, float, int]] = {
    "psnr": ("PSNR (dB)", 1, 2),
    "ssim": ("SSIM", 1, 3),
    "ssim_paper": (KIND, 1, 3),
    "flip": ("FLIP", 1, 3),
    "accuracy": ("Accuracy (%)", 100, 1),
}
JUDGED: dict[str, tuple[str, float, int]] = {
    "accuracy_real": ("Real encoders (%)", 100, 1),
    "accuracy": ("dJPEG (%)", 100, 1),
    results.GAP: ("Gap (points)", 100, 1),
}
PAPER_METRICS: dict[str, tuple[str, float, int]] = {
    "psnr": ("PSNR (dB)", 1, 1),  # the paper prints one digit
    "ssim": (KIND, 1, 3),
    "accuracy": ("Accuracy (%)", 100, 1),
}
KINDS = f"""SSIM is that of Wang et al. 2004. {KIND} is computed as the paper’s authors do, which gives larger values on
the same pictures: only this one may be compared with the paper’s."""
FIDELITY = ("psnr", "ssim", "ssim_paper", "flip")
FLIP = """FLIP (Andersson et al. 2020) says how different developed and target photographs look to someone who flips
between them, from 0 to 1: less is better."""
RANKED = {True: results.REAL, False: "accuracy"}
CAPTION = "Mean ± standard deviation over seeds, on the test photographs where there are some and on validation"
OTHER_LAMBDAS = """The paper’s λ belong to a cross-entropy compressed by a second softmax, those of this study to the
cross-entropy itself: compare fronts, not rows."""


def section(content: Content) -> Section:
    summary = _with_gap(content)
    ours, theirs = metrics(summary, content.published), published_metrics(content.published)
    trials = content.trials.drop(columns=["packages", "artifact_uri"])
    further = {
        "trials": trials.assign(superseded=trials["superseded"].map(" ".join)),
        "best": results.with_queries(
            results.best(summary, by=RANKED[content.view.real]), content.provenance.commands["rerun"]
        ),
    }
    files = Part(files={f"tables/{name}.csv": frame.to_csv(index=False).encode() for name, frame in further.items()})
    alone = len(content.done) > 0 and not content.beside_paper
    paper = details("The paper’s own table, which shares no camera × ISP with this study", show(theirs))
    shown = paper if alone else Part(files=theirs.files)
    read = f"{KINDS} {FLIP}" if summary["flip"].notna().any() else KINDS
    return Section("All settings", [show(ours), shown, note(read), note(OTHER_LAMBDAS), files])


def _with_gap(content: Content) -> pd.DataFrame:
    """The summary, with the gap behind real encoders where there are verdicts: of the seeds that have one."""
    trials = content.trained.done
    if content.real is None:
        return content.trained.summary
    gaps = results.behind(trials, results.PANEL)[["run_id", results.GAP, f"{results.TEST}{results.GAP}"]]
    return results.summary(trials.merge(gaps, on="run_id", how="left", validate="one_to_one"))


def metrics(summary: pd.DataFrame, published: pd.DataFrame) -> Table:
    """As the paper's supplement, Table 1: a row per camera × λ, fixed last; fidelity and accuracy per ISP."""
    by = ["camera", *results.axes(summary), "lam"]
    isps = list(summary["isp"].unique())
    shared = set(summary.merge(published, on=["camera", "isp"])["isp"])
    known = METRICS if results.GAP not in summary else {name: METRICS[name] for name in FIDELITY} | JUDGED
    ours = {name: how for name, how in known.items() if summary[name].notna().any()}
    rows = []
    for values, settings in results.by_photographs(summary).groupby([*by, results.ON], dropna=False):
        same = (published["camera"] == values[0]) & np.isclose(published["lam"], values[-2], equal_nan=True)
        theirs = published[same] if values[-1] == results.VALIDATION_SET else published.head(0)  # as theirs are
        row: Cells = named(dict(zip([*by, results.ON], values, strict=True)))
        for isp in isps:
            row |= metric_cells(isp, settings[settings["isp"] == isp], ours)
            if isp in shared:
                row |= metric_cells(f"{isp}, paper", theirs[theirs["isp"] == isp], PAPER_METRICS)
        rows.append(row)
    numbers = flat(summary)
    if shared:
        keys = ["camera", "isp", "mode", "lam"]
        theirs = published.rename(columns={name: f"{name}_of_paper" for name in PAPER_METRICS})
        numbers = numbers.merge(theirs, on=keys, how="left", validate="many_to_one")
    return Table("metrics", CAPTION, as_printed(rows, once=len(by) - 1), numbers)


def published_metrics(published: pd.DataFrame) -> Table:
    """The paper's own numbers, for studies that share no setting with it."""
    rows = []
    for (camera, lam), settings in published.groupby(["camera", "lam"], dropna=False):
        row: Cells = named({"camera": camera, "lam": lam})
        for isp in published["isp"].unique():
            row |= metric_cells(isp, settings[settings["isp"] == isp], PAPER_METRICS)
        rows.append(row)
    caption = "The paper’s numbers (supplement, Table 1): means over ten seeds"
    return Table("paper", caption, as_printed(rows, once=1), published)
