"""The greatest gain in one sentence, and the best joint setting of every camera × ISP within a bounded loss of PSNR."""

import numpy as np
import pandas as pd
from markupsafe import Markup

from study import results
from study.report.content import BUDGETS, Content, View
from study.report.parts import Part, Section, note, paragraph, show
from study.report.tables import NOTHING, Cells, Table, as_printed, count, flat, interval, lambda_label, named, number

CHOSEN = """λ is the one with the greatest gain on the validation photographs, among those that keep within the loss of
PSNR there. Gains are paired by seed."""
TESTED = """ The result is what is measured on the test photographs, which chose nothing. Numbers of the validation
photographs tend to be too good, since these chose λ."""
UNTESTED = """ There are no test photographs: accuracy is measured where λ was chosen, which tends to be too good."""
INTERVALS = """ Intervals are Student’s t, 95 %, over seeds: other starting weights of the forensic network and another
order of the patches, with the same pre-trained ISP and the same photographs. They say nothing about other photographs
or cameras. One seed has no interval."""
LEDE = Markup("""On {where}, training {isp} jointly with the forensic network (λ = {lam}) changes the accuracy of
telling photo manipulations apart{behind} by <b>{gain} points</b> ({interval}, {seeds}), from {fixed:.1f} % with the
ISP fixed to <b>{joint:.1f} %</b>, and PSNR by {change} dB to {psnr:.2f} dB, on the {photographs} photographs.{gap}""")
REAL = " behind real encoders"
GAP = " Behind dJPEG, as in training, it would be {:.1f} %: the gap is {} points."
KINDS = {
    True: """Behind real encoders: whole photographs of 8 bits, the mean over the panel; gap: minus the accuracy behind
dJPEG, of the same trials.""",
    False: "Behind dJPEG, the differentiable channel of the training, patch by patch.",
}


def section(content: Content) -> Section:
    text = CHOSEN + (TESTED if content.view.tested else UNTESTED) + INTERVALS
    explanation = [note(text)] if len(content.view.gains) else []
    tables: list[Part] = []
    for view in content.views:
        tables += [note(KINDS[view.real])] if content.real and len(view.gains) else []
        tables.append(show(gains(view)))
    return Section("", [lede(content), *tables, *explanation])


def lede(content: Content) -> Part:
    """The greatest gain that costs at most the larger budget, whatever it is."""
    view = content.view
    affordable = results.best_within(view.gains, max(BUDGETS))
    if content.done.empty:
        return paragraph("No trial has finished yet.", "lede")
    if content.all_fixed:
        return paragraph("No trial trains an ISP jointly: every ISP stays as it was pre-trained.", "lede")
    if affordable.empty:
        return paragraph(
            f"No joint setting with a fixed partner stays within {max(BUDGETS):g} dB of the fixed ISP’s PSNR.", "lede"
        )
    chosen = affordable.loc[[affordable["accuracy"].idxmax()]]
    found = results.reported(chosen).iloc[0]
    joint = found["fixed_accuracy"] + found["accuracy"]
    gap = results.reported(_with_gap(view, chosen))[results.GAP].iloc[0] if view.real else np.nan
    low, high = (number(100 * found[bound], 1, sign=True) for bound in ("accuracy_low", "accuracy_high"))
    text = LEDE.format(
        where=", ".join([found["camera"], *(f"{axis} {found[axis]}" for axis in results.axes(view.gains))]),
        isp=found["isp"],
        lam=lambda_label(found["lam"]),
        behind=REAL if view.real else "",
        fixed=100 * found["fixed_accuracy"],
        joint=100 * joint,
        gain=number(100 * found["accuracy"], 1, sign=True),
        interval="no interval" if low == NOTHING else f"95 % interval {low} to {high}",
        seeds=count(found["seeds"], "seed"),
        psnr=found["fixed_psnr"] + found["psnr"],
        change=number(found["psnr"], 2, sign=True),
        photographs=found[results.ON],
        gap="" if np.isnan(gap) else GAP.format(100 * (joint - gap), number(100 * gap, 1, sign=True)),
    )
    return paragraph(text, "lede")


def _with_gap(view: View, gains: pd.DataFrame) -> pd.DataFrame:
    """Settings of the gains with the gap to dJPEG that these have."""
    by = ["camera", "isp", "lam", *results.axes(view.summary)]  # an axis too of which one value alone has a fixed ISP
    gaps = [name for name in view.summary if name.removeprefix("test_").startswith(results.GAP)]
    return gains.merge(view.summary[[*by, *gaps]], on=by, how="left", validate="many_to_one")


def gains(view: View) -> Table:
    """Per camera × ISP: fixed, and the best joint setting within each budget of PSNR, which validation chooses."""
    gains = _with_gap(view, view.gains) if view.real else view.gains
    by = ["camera", "isp", *results.axes(gains)]
    chosen = [results.best_within(gains, budget).assign(max_loss_db=budget) for budget in BUDGETS]
    shown = [results.by_photographs(best) for best in chosen]
    rows = []
    for place, group in results.by_photographs(gains).groupby([*by, results.ON], dropna=False, sort=False):
        setting = dict(zip([*by, results.ON], place, strict=True))
        row: Cells = named(setting)
        row["Fixed", "Accuracy (%)"] = number(100 * group["fixed_accuracy"].iloc[0], 1)
        row["Fixed", "PSNR (dB)"] = number(group["fixed_psnr"].iloc[0], 2)
        for budget, best in zip(BUDGETS, shown, strict=True):
            found = best[(best[list(setting)].astype(str) == [str(value) for value in place]).all(axis=1)]
            joint = _joint(found) | (_gap(found) if view.real else {})
            row |= {(f"Joint, ≤ {budget:g} dB lost", name): text for name, text in joint.items()}
        rows.append(row)
    numbers = flat(pd.concat(chosen, ignore_index=True))
    caption = f"Best accuracy{REAL if view.real else ''} for a bounded loss of PSNR"
    return Table(f"gains{view.name}", caption, as_printed(rows, once=len(by)), numbers)


def _gap(found: pd.DataFrame) -> dict[str, str]:
    text = NOTHING if found.empty else interval(found.iloc[0], results.GAP, 1, scale=100, sign=True)
    return {"Gap to dJPEG (points)": text}


def _joint(found: pd.DataFrame) -> dict[str, str]:
    if found.empty:
        return dict.fromkeys(("λ", "Accuracy (%)", "Gain (points)", "ΔPSNR (dB)"), NOTHING)
    row = found.iloc[0]
    return {
        "λ": lambda_label(row["lam"]),
        "Accuracy (%)": number(100 * (row["fixed_accuracy"] + row["accuracy"]), 1),
        "Gain (points)": interval(row, "accuracy", 1, scale=100, sign=True),
        "ΔPSNR (dB)": number(row["psnr"], 2, sign=True),
    }
