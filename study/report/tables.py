"""Tables of a study's report, each as it is printed and as the numbers behind it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from study import results
from study.report import plots as figures
from study.results import fronts
from study.results.claims import paper

BUDGETS = (1.0, 3.0)  # dB of PSNR that one may be willing to lose
AT_PSNR = (30.0, 35.0, 40.0, 42.5)  # dB, where accuracy is read off the fronts
AT_ACCURACY = (0.5, 0.75, 0.9)  # where PSNR is read off them
NOTHING = "–"
LATEX = {
    "λ": r"$\lambda$",
    "ρ": r"$\rho$",
    "²": "$^2$",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "Δ": r"$\Delta$",
    "→": r"$\rightarrow$",
    "’": "'",
    "§": r"\S",
}

Cells = dict[tuple[str, str], str]  # (upper heading, lower heading) -> text


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
        return body.translate(str.maketrans(LATEX))

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


def headline(gains: pd.DataFrame) -> Table:
    """Per camera × ISP: fixed, and the best joint setting within each budget of PSNR."""
    further = results.axes(gains)
    chosen = [results.best_within(gains, budget).assign(max_loss_db=budget) for budget in BUDGETS]
    rows = []
    for setting, group in gains.groupby(["camera", "isp", *further]):
        row: Cells = dict(zip([("", "Camera"), ("", "ISP"), *(("", axis) for axis in further)], setting, strict=True))
        row["Fixed", "Accuracy (%)"] = f"{100 * group['fixed_accuracy'].iloc[0]:.1f}"
        row["Fixed", "PSNR (dB)"] = f"{group['fixed_psnr'].iloc[0]:.2f}"
        for budget, best in zip(BUDGETS, chosen, strict=True):
            found = best[(best[["camera", "isp", *further]] == list(setting)).all(axis=1)]
            for name, text in _gain_cells(found).items():
                row[f"Joint, ≤ {budget:g} dB lost", name] = text
        rows.append(row)
    return Table(
        "gains",
        "Best accuracy for a bounded loss of PSNR",
        as_printed(rows),
        flat(pd.concat(chosen, ignore_index=True)),
    )


def _gain_cells(found: pd.DataFrame) -> dict[str, str]:
    if found.empty:
        return dict.fromkeys(("λ", "Accuracy (%)", "Gain (points)", "ΔPSNR (dB)"), NOTHING)
    row = found.iloc[0]
    low, high = 100 * row["accuracy_low"], 100 * row["accuracy_high"]
    interval = "" if np.isnan(low) else f" [{signed(low, 1)}, {signed(high, 1)}]"
    return {
        "λ": f"{row['lam']:g}",
        "Accuracy (%)": f"{100 * (row['fixed_accuracy'] + row['accuracy']):.1f}",
        "Gain (points)": signed(100 * row["accuracy"], 1) + interval,
        "ΔPSNR (dB)": signed(row["psnr"], 2),
    }


def front_measures(table: pd.DataFrame) -> Table:
    """Per camera × ISP: hypervolumes, accuracy at given PSNRs and PSNR at given accuracies, with intervals."""
    by = ["camera", "isp", *results.axes(table)]
    numbers = fronts.hypervolume(table, "psnr")[[*by, "seeds"]]
    rows: list[Cells] = [
        {("", _heading(name)): str(row[name]) for name in by} for row in numbers[by].to_dict("records")
    ]
    for measured, column, top, name, scale, digits in _measures(table):
        numbers[[column, column + "_low", column + "_high"]] = measured.iloc[:, -3:].to_numpy()
        for row, found in zip(rows, measured.iloc[:, -3:].to_numpy(float), strict=True):
            row[top, name] = _with_interval(scale * found, digits)
    return Table(
        "fronts", "What the fronts of the means enclose and offer, with 95 % intervals", as_printed(rows), numbers
    )


def _measures(table: pd.DataFrame) -> list[tuple[pd.DataFrame, str, str, str, float, int]]:
    """(figures, their column in numbers, upper and lower heading, scale, digits)."""
    volumes = "Hypervolume"
    return [
        (fronts.hypervolume(table, "psnr"), "hypervolume_psnr", volumes, "PSNR (dB)", 1, 2),
        (fronts.hypervolume(table, "ssim"), "hypervolume_ssim", volumes, "SSIM", 1, 3),
        *(
            (fronts.accuracy_at(table, "psnr", at), f"accuracy_at_{at:g}_db", "Accuracy (%) at", f"{at:g} dB", 100, 1)
            for at in AT_PSNR
        ),
        *(
            (fronts.fidelity_at(table, "psnr", at), f"psnr_at_{at:g}", "PSNR (dB) at", f"{100 * at:g} %", 1, 1)
            for at in AT_ACCURACY
        ),
    ]


def front_measures_by_seed(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers of :func:`front_measures` for the front of every single seed."""
    by = ["camera", "isp", *results.axes(table), "seed"]
    parts = [
        fronts.hypervolume(table, fidelity, each_seed=True).rename(columns={"hypervolume": f"hypervolume_{fidelity}"})
        for fidelity in figures.FIDELITY
    ]
    parts += [
        fronts.accuracy_at(table, "psnr", at, each_seed=True).rename(columns={"accuracy": f"accuracy_at_{at:g}_db"})
        for at in AT_PSNR
    ]
    parts += [
        fronts.fidelity_at(table, "psnr", at, each_seed=True).rename(columns={"psnr": f"psnr_at_{at:g}"})
        for at in AT_ACCURACY
    ]
    return pd.concat([part.set_index(by) for part in parts], axis=1).reset_index()


def metrics(summary: pd.DataFrame) -> Table:
    """As the paper's supplement, Table 1: a row per camera × λ, fixed last; PSNR, SSIM, accuracy per ISP.

    Where the paper has the same camera, ISP and λ, its numbers stand beside ours.
    """
    further = results.axes(summary)
    isps = list(summary["isp"].unique())
    published = paper.supplement_table_1()
    shared = set(zip(summary["camera"], summary["isp"], strict=True)) & set(
        zip(published["camera"], published["isp"], strict=True)
    )
    rows = []
    for panel, group in summary.groupby(["camera", *further]):
        names = [str(value) for value in panel]
        for lam, settings in group.groupby("lam", dropna=False):
            row: Cells = dict(zip([("", "Camera"), *(("", axis) for axis in further)], names, strict=True))
            row["", "λ"] = figures.lambda_label(lam)
            for isp in isps:
                for top, source in ((isp, settings), (f"{isp}, paper", _same_lambda(published, panel[0], lam))):
                    if source is settings or any(isp == theirs for _, theirs in shared):
                        found = source[source["isp"] == isp]
                        row[top, "PSNR (dB)"] = _mean(found, "psnr", 1, 2 if source is settings else 1)
                        row[top, "SSIM"] = _mean(found, "ssim", 1, 3)
                        row[top, "Accuracy (%)"] = _mean(found, "accuracy", 100, 1)
            rows.append(row)
            names = [""] * len(names)  # named once, at the top of its block
    keys = ["camera", "isp", "mode", "lam"]
    numbers = flat(summary)
    if shared:
        numbers = numbers.merge(published, on=keys, how="left", suffixes=("", "_paper"))
    return Table("metrics", "Validation metrics, mean ± standard deviation over seeds", as_printed(rows), numbers)


def _same_lambda(published: pd.DataFrame, camera: str, lam: float) -> pd.DataFrame:
    same = published["lam"].isna() if np.isnan(lam) else np.isclose(published["lam"], lam)
    return published[same & (published["camera"] == camera)]


def published_metrics() -> Table:
    """The paper's own numbers, for studies that share no setting with it."""
    published = paper.supplement_table_1()
    table = metrics(published.assign(seeds=10, run_ids=[()] * len(published), trial_keys=[()] * len(published)))
    columns = [(top, name) for top, name in table.printed.columns if not top.endswith(", paper")]
    return Table(
        "paper", "The paper’s numbers (supplement, Table 1): means over ten seeds", table.printed[columns], published
    )


def shares_settings(summary: pd.DataFrame) -> bool:
    """Whether any camera × ISP is one of the paper's."""
    published = paper.supplement_table_1()
    places = set(zip(published["camera"], published["isp"], strict=True))
    return any(place in places for place in zip(summary["camera"], summary["isp"], strict=True))


def _mean(found: pd.DataFrame, metric: str, scale: float, digits: int) -> str:
    if found.empty:
        return NOTHING
    row = found.iloc[0]
    deviation = row.get(metric + "_std", np.nan)
    spread = "" if np.isnan(deviation) else f" ± {scale * deviation:.{digits}f}"
    return f"{scale * row[metric]:.{digits}f}{spread}"


def confusions(confusions: pd.DataFrame) -> Table:
    """All confusion matrices, one below the other; numbers one entry a row."""
    by = [name for name in confusions.columns if name not in ("classes", "confusion")]
    rows, entries = [], []
    for record in confusions.to_dict("records"):
        names = [record["camera"], record["isp"], figures.lambda_label(record["lam"])]
        for true, line in zip(record["classes"], record["confusion"], strict=True):
            row: Cells = dict(zip([("", "Camera"), ("", "ISP"), ("", "λ")], names, strict=True))
            row["", "True"] = true
            for predicted, share in zip(record["classes"], line, strict=True):
                row["Predicted (%)", predicted] = percent(share)
                entries.append(
                    {**{name: record[name] for name in by}, "true": true, "predicted": predicted, "share": share}
                )
            rows.append(row)
            names = [""] * len(names)
    numbers = pd.DataFrame(entries, columns=[*by, "true", "predicted", "share"])
    return Table("confusions", "Confusion matrices, percent, mean over seeds", as_printed(rows), numbers)


def percent(share: float) -> str:
    """As in the paper's Table 4: nothing for ≈ 0, * below 3 %."""
    if share < 0.005:
        return ""
    return "*" if share < 0.03 else f"{100 * share:.0f}"


def pretraining(pretrained: pd.DataFrame) -> Table:
    """As the paper's Table 1: fidelity of the pre-trained NIPs per camera, their mean, and the paper's."""
    isps = list(pretrained["isp"].unique())
    means = pretrained.groupby(["camera", "isp"], as_index=False)[["psnr", "ssim", "seconds"]].mean()
    blocks = [(camera, group.set_index("isp")) for camera, group in means.groupby("camera")]
    if len(blocks) > 1:
        blocks.append(("mean", means.groupby("isp")[["psnr", "ssim", "seconds"]].mean()))
    rows: list[Cells] = []
    for camera, found in blocks:
        row: Cells = {("", "Camera"): camera}
        for isp in isps:
            known = found.loc[isp] if isp in found.index else None
            row[isp, "PSNR (dB)"] = NOTHING if known is None else f"{known['psnr']:.2f}"
            row[isp, "SSIM"] = NOTHING if known is None else f"{known['ssim']:.3f}"
            row[isp, "Time (min)"] = NOTHING if known is None else f"{known['seconds'] / 60:.1f}"
        rows.append(row)
    if set(isps) & set(paper.TABLE_1):
        row = {("", "Camera"): "paper, mean of 8 cameras"}
        for isp in isps:
            theirs = paper.TABLE_1.get(isp)
            row[isp, "PSNR (dB)"] = NOTHING if theirs is None else f"{theirs.psnr:.1f}"
            row[isp, "SSIM"] = NOTHING if theirs is None else f"{theirs.ssim:.3f}"
            row[isp, "Time (min)"] = NOTHING
        rows.append(row)
    return Table("pretraining", "Fidelity of the pre-trained ISPs", as_printed(rows if isps else []), pretrained)


def codecs(gaps: pd.DataFrame) -> Table:
    """A row per setting: accuracy behind dJPEG as trained, then behind each real encoder, with the gap."""
    by = ["camera", "isp", *results.axes(gaps), "lam"]
    rows: list[Cells] = []
    place: tuple[str, ...] = ()
    for values, group in gaps.groupby(by, dropna=False, sort=False):
        names, before = tuple(map(str, values[:-1])), place
        row: Cells = {
            ("", _heading(name)): "" if names == before else text for name, text in zip(by[:-1], names, strict=True)
        }
        place = names
        row["", "λ"] = figures.lambda_label(values[-1])
        row["dJPEG", "Accuracy (%)"] = f"{100 * group['accuracy'].mean():.1f}"
        for found in group.to_dict("records"):
            low, high = 100 * found["gap_low"], 100 * found["gap_high"]
            interval = "" if np.isnan(low) else f" [{signed(low, 1)}, {signed(high, 1)}]"
            row[found["codec"], "Accuracy (%)"] = f"{100 * found['behind']:.1f}"
            row[found["codec"], "Gap (points)"] = signed(100 * found["gap"], 1) + interval
        rows.append(row)
    return Table(
        "codecs", "Accuracy behind the trained channel and behind real encoders (8 bits)", as_printed(rows), flat(gaps)
    )


def claims(verdicts: pd.DataFrame) -> Table:
    """The paper's claims with our numbers and the verdicts."""
    verdict = [
        f"{row['verdict']} (simulated)" if "(simulated)" in row["data"] and not row["absolute"] else row["verdict"]
        for row in verdicts.to_dict("records")
    ]
    printed = pd.DataFrame(
        {
            "Claim": verdicts["statement"],
            "Verdict": verdict,
            "Paper": verdicts["number"],
            "Ours": [_ours(row) for row in verdicts.to_dict("records")],
            "Tolerance": verdicts["tolerance"],
            "Answered by": verdicts["answered_by"],
            "Data": verdicts["data"],
            "Where": verdicts["where"],
        }
    )
    return Table("claims", "The paper’s claims and what this study says about them", printed, verdicts)


def _ours(row: Mapping[str, Any]) -> str:
    if np.isnan(row["ours"]):
        return NOTHING if row["verdict"] == paper.NOT_RUN else "not reached"
    return f"{row['ours']:.3g}".replace("-", "−")


def missing(table: pd.DataFrame, planned: Sequence[Mapping[str, Any]]) -> Table:
    """Trials without a result; seeds of the same setting that share a state share a line."""
    numbers = results.missing(table, planned)
    groups = numbers.groupby(["camera", "isp", "lam", "state"], dropna=False)
    printed = pd.DataFrame(
        [
            (camera, isp, figures.lambda_label(lam), ", ".join(map(str, sorted(rows["seed"].unique()))), state)
            for (camera, isp, lam, state), rows in groups
        ],
        columns=["Camera", "ISP", "λ", "Seeds", "State"],
    )
    return Table("missing", "Trials without a result", printed, numbers)


def signed(value: float, digits: int) -> str:
    """With a sign, and a minus that is as wide as the plus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Tuples of ids as text, for CSV."""
    return frame.assign(run_ids=frame["run_ids"].map(" ".join), trial_keys=frame["trial_keys"].map(" ".join))


def _with_interval(found: Sequence[float] | np.ndarray, digits: int) -> str:
    """Value, low, high → "91.2 [89.0, 93.1]"; a bound that no front reaches is a dash."""
    value, low, high = found
    if np.isnan(value):
        return NOTHING
    if np.isnan(low) and np.isnan(high):
        return f"{value:.{digits}f}"
    bounds = ", ".join(NOTHING if np.isnan(bound) else f"{bound:.{digits}f}" for bound in (low, high))
    return f"{value:.{digits}f} [{bounds}]"


def _heading(name: str) -> str:
    return {"camera": "Camera", "isp": "ISP"}.get(name, name)


def as_printed(rows: Sequence[Cells]) -> pd.DataFrame:
    if not rows:
        return pd.DataFrame(columns=["Camera"])
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return pd.DataFrame(
        [[row.get(column, "") for column in columns] for row in rows], columns=pd.MultiIndex.from_tuples(columns)
    )
