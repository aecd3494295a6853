"""The greatest gain in one sentence, and the best joint setting of every camera × ISP within a bounded loss of PSNR."""

import pandas as pd
from markupsafe import Markup

from study import results
from study.report.content import BUDGETS, Content
from study.report.parts import Part, Section, note, paragraph, show
from study.report.tables import NOTHING, Cells, Table, as_printed, count, flat, interval, lambda_label, named, number

CHOSEN = """Gains are paired by seed, with 95 % bootstrap intervals of the mean. λ was chosen on the same validation
patches the accuracy is measured on, so the best is a little optimistic."""
FEW_SEEDS = """ With fewer than five seeds such an interval is hardly more than the range of the seeds, and covers the
true mean less often than 95 %."""
LEDE = Markup("""On {where}, training {isp} jointly with the forensic network (λ = {lam}) {changes} the accuracy of
telling photo manipulations apart from {fixed:.1f} % to <b>{joint:.1f} %</b> ({gain} points{interval}, {seeds}), at
{psnr:.2f} dB PSNR, {change} dB against the fixed ISP.""")


def section(content: Content) -> Section:
    few = content.summary["seeds"].min() < 5
    explanation = [note(CHOSEN + (FEW_SEEDS if few else ""))] if len(content.gains) else []
    return Section("", [lede(content), show(gains(content.gains)), *explanation])


def lede(content: Content) -> Part:
    """The greatest gain that costs at most the larger budget, if joint training gained anything."""
    affordable = results.best_within(content.gains, max(BUDGETS))
    if content.done.empty:
        return paragraph("No trial has finished yet.", "lede")
    if affordable.empty:
        return paragraph(
            f"No joint setting with a fixed partner stays within {max(BUDGETS):g} dB of the fixed ISP’s PSNR.", "lede"
        )
    found = affordable.loc[affordable["accuracy"].idxmax()]
    low, high = (number(100 * found[bound], 1, sign=True) for bound in ("accuracy_low", "accuracy_high"))
    text = LEDE.format(
        where=", ".join([found["camera"], *(f"{axis} {found[axis]}" for axis in results.axes(content.gains))]),
        isp=found["isp"],
        lam=lambda_label(found["lam"]),
        changes="raises" if found["accuracy"] > 0 else "changes",
        fixed=100 * found["fixed_accuracy"],
        joint=100 * (found["fixed_accuracy"] + found["accuracy"]),
        gain=number(100 * found["accuracy"], 1, sign=True),
        interval="" if low == NOTHING else f", 95 % interval {low} to {high}",
        seeds=count(found["seeds"], "seed"),
        psnr=found["fixed_psnr"] + found["psnr"],
        change=number(found["psnr"], 2, sign=True),
    )
    return paragraph(text, "lede")


def gains(gains: pd.DataFrame) -> Table:
    """Per camera × ISP: fixed, and the best joint setting within each budget of PSNR."""
    by = ["camera", "isp", *results.axes(gains)]
    chosen = [results.best_within(gains, budget).assign(max_loss_db=budget) for budget in BUDGETS]
    rows = []
    for setting, group in gains.groupby(by):
        row: Cells = named(dict(zip(by, setting, strict=True)))
        row["Fixed", "Accuracy (%)"] = number(100 * group["fixed_accuracy"].iloc[0], 1)
        row["Fixed", "PSNR (dB)"] = number(group["fixed_psnr"].iloc[0], 2)
        for budget, best in zip(BUDGETS, chosen, strict=True):
            found = best[(best[by] == list(setting)).all(axis=1)]
            row |= {(f"Joint, ≤ {budget:g} dB lost", name): text for name, text in _joint(found).items()}
        rows.append(row)
    numbers = flat(pd.concat(chosen, ignore_index=True))
    return Table("gains", "Best accuracy for a bounded loss of PSNR", as_printed(rows), numbers)


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
