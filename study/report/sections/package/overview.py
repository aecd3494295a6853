"""What the package is: its camera and NIP, what its FAN tells apart, and how well."""

from collections.abc import Mapping
from math import nan
from typing import Any

import pandas as pd
from markupsafe import Markup

from study import results
from study.report.package_content import PackageContent
from study.report.parts import MACROS, Part, Section, note, paragraph, show
from study.report.tables import Table, as_printed, count, estimate, number

MADE_BY = '<meta name="generator" content="python -m study export">'  # by which a page is known
FIXED = "The NIP was trained to develop, and not changed while the FAN was trained."
JOINT = "The NIP was trained jointly with the FAN, λ = {:g}: the smaller, the more it may change to leave traces."
METRICS = {  # heading, scale, digits
    "accuracy": ("Accuracy, channel of the training (%)", 100, 1),
    "accuracy_real": ("Accuracy, real encoders (%)", 100, 1),
    "accuracy_real_worst": ("Accuracy, the worst of them (%)", 100, 1),
    "psnr": ("PSNR (dB)", 1, 2),
    "ssim": ("SSIM", 1, 3),
}
READING = """Single windows of {photographs} photographs, after their channel; a guess is right in {guess:.1f} %.
Brackets: 95 %, Student’s t over {seeds} with the settings of this package, of which it is one."""


def section(content: PackageContent) -> Section:
    lam, metrics = content.about["lambda"], content.about["metrics"]
    seeds, guess = count(metrics["setting"]["seeds"], "seed"), 100 / len(content.about["classes"])
    parts = [
        paragraph(FIXED if lam == results.FIXED else JOINT.format(lam), "lede"),
        Part(MACROS.definitions([(title, [(text, 1)]) for title, text in _known(content).items()])),
        show(judged(metrics)),
        note(READING.format(photographs=metrics["photographs"], guess=guess, seeds=seeds)),
    ]
    return Section("What it is", parts, head=Markup(MADE_BY))


def _known(content: PackageContent) -> dict[str, str]:
    about, trial, (height, width) = content.about, content.trial, content.size
    lattice, channel = about["lattice"], trial["channel"]
    camera, model = about["camera"]["name"], about["camera"]["model"]
    known = {
        "Camera": camera if model in ("", camera) else f"{camera} ({model})",
        "NIP": trial["isp"],
        "Tells apart": ", ".join(about["classes"]),
        "Photograph as developed": f"{width} × {height} px",
        "Channel of the training": f"shrunk by {channel['downsample']}, {channel['codec']}",
        "Lattice of the traces": f"{lattice['developed']:g} px as developed, {lattice['received']:g} px as received",
        "Window of the FAN": f"{lattice['window']:g} px as received",
    }
    if content.calibrated:
        known["Calibrated with"] = f"{about['calibration']['photographs']} {about['calibration']['source']}"
    if content.reliability is not None:
        known["Checked with"] = count(content.reliability["photographs"], "photograph")
    return known


def judged(metrics: Mapping[str, Any]) -> Table:
    """A row per metric: of the trial, and the mean over the seeds of its setting with its interval."""
    rows, printed = [], []
    seeds = metrics["setting"]["seeds"]
    for name, value in metrics["trial"].items():
        title, scale, digits = METRICS.get(name, (name, 1, 3))
        over = metrics["setting"][name]
        trial, mean, low, high = (nan if each is None else each for each in (value, over["mean"], *over["interval"]))
        rows.append({"metric": name, "trial": trial, "seeds": seeds, "mean": mean, "low": low, "high": high})
        printed.append(
            {
                ("", "Metric"): title,
                ("", "This trial"): number(scale * trial, digits),
                ("", f"Mean of {count(seeds, 'seed')}"): estimate([mean, low, high], digits, scale),
            }
        )
    caption = f"Metrics on {metrics['photographs']} photographs, means with 95 % intervals"
    return Table("metrics", caption, as_printed(printed), pd.DataFrame(rows))
