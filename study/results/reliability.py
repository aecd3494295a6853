"""How reliable an analysis is: its false alarms, its probabilities and its likelihood ratios, on other photographs.

    false alarms   share of native photographs above the threshold, and called altered; Clopper–Pearson intervals
    ECE            expected calibration error: |confidence − accuracy|, mean over ten bins (Guo et al. 2017)
    Cllr           cost of the likelihood ratios, 0 to 1 and beyond: 1 for ratios that say nothing; Cllr_min is what is
                   left after the best monotonic recalibration (Brümmer & du Preez 2006)

Altered photographs weigh as much as native ones in Cllr, whatever their number.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from lir.data.models import LLRData
from lir.metrics import cllr, cllr_min

from forensics.analysis.calibration import Calibration, CalibrationError, peak, region_limit
from forensics.analysis.decision import decide
from forensics.analysis.samples import Sample
from study.results.statistics import exact_interval

RATES = (0.01, 0.05)  # of false alarms
BINS = 10


def judged(calibration: Calibration, samples: Sequence[Sample], rate: float) -> pd.DataFrame:
    """Decide about whole photographs of known history.

    Returns:
        A row each: ``photograph``, ``kind``, ``label`` and ``history`` (numbers of classes), ``result``, ``ratio``
        (natural logarithm), ``above`` (whether above the threshold of the rate, whatever its sign), ``region`` (whether
        any region is called altered; native photographs alone), ``confidence`` and ``right`` of the most probable
        class.
    """
    (scale, *_), rows = calibration.scales, []
    for sample in samples:
        if sample.scale == 0:
            kind = calibration.number(sample.kind)
            found = decide(scale, kind, sample.logits, sample.statistics, sample.texture, rate)
            top = int(found.probabilities.argmax())
            region = sample.places is not None and bool(
                peak(calibration.places, kind, sample.places) > region_limit(calibration, rate)
            )
            rows.append(
                {
                    "photograph": sample.photograph,
                    "kind": sample.kind,
                    "label": sample.label,
                    "history": found.history,
                    "result": found.result,
                    "ratio": found.ratio,
                    "above": found.above,
                    "region": region,
                    "confidence": found.probabilities[top].item(),
                    "right": top == sample.label,
                }
            )
    return pd.DataFrame(rows)


def assess(calibration: Calibration, samples: Sequence[Sample]) -> dict[str, Any]:
    """Check a calibration with photographs that it was not made from; the result is JSON-able.

    Args:
        calibration: to be checked.
        samples: of other photographs, as :func:`forensics.analysis.samples.samples` makes them.
    """
    found: dict[str, Any] = {"rates": {}}
    for rate in RATES:
        try:
            table = judged(calibration, samples, rate)
        except CalibrationError as error:
            found["rates"][f"{rate:g}"] = {"refused": str(error)}
            continue
        found["rates"][f"{rate:g}"] = _at(table, calibration.classes) | {
            "by_kind": {kind: _at(group, calibration.classes) for kind, group in table.groupby("kind")}
        }
    table = judged(calibration, samples, 0.5)  # the rate decides no ratio
    return found | {
        "photographs": int(table["photograph"].nunique()),
        **costs(table),
        "by_kind": {kind: costs(group) for kind, group in table.groupby("kind")},
        "bins": bins(table).to_dict("records"),
    }


def _at(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """False alarms and detections at one rate."""
    native, altered = table[table["label"] == 0], table[table["label"] > 0]
    caught = altered[altered["result"] == "altered"]
    return {
        "above": share(native["above"]),
        "false_alarms": share(native["result"] == "altered"),
        "false_regions": share(native["region"]),
        "not_judged": share(table["result"].isin(["flat", "unfamiliar"])),
        "detected": share(altered["result"] == "altered"),
        "detected_above": share(altered["above"]),
        "named_right": share(caught["history"] == caught["label"]),
        "detected_by_class": {
            name: share(altered[altered["label"] == number]["result"] == "altered")
            for number, name in enumerate(classes)
            if number
        },
    }


def share(hits: "pd.Series[bool]") -> dict[str, Any]:
    """A share with its Clopper–Pearson interval: ``count``, ``of``, ``share``, ``interval``."""
    count, of = int(hits.sum()), len(hits)
    interval = list(exact_interval(count, of))
    return {"count": count, "of": of, "share": count / of if of else None, "interval": interval}


def costs(table: pd.DataFrame) -> dict[str, float]:
    """ECE, Cllr and Cllr_min of :func:`judged` photographs."""
    decimal = table["ratio"].to_numpy(float)[:, None] / np.log(10)  # lir's logarithms are decimal
    ratios = LLRData(features=decimal, labels=(table["label"] > 0).to_numpy(int))
    binned = bins(table)
    gaps = (binned["confidence"] - binned["accuracy"]).abs()
    with np.errstate(all="ignore"):
        return {
            "ece": float((gaps * binned["photographs"]).sum() / binned["photographs"].sum()),
            "cllr": float(cllr(ratios)),
            "cllr_min": float(cllr_min(ratios)),
        }


def bins(table: pd.DataFrame) -> pd.DataFrame:
    """The reliability diagram: mean confidence and accuracy of the most probable class, in ten bins of confidence."""
    number = np.minimum((table["confidence"] * BINS).astype(int), BINS - 1)
    groups = table.groupby(number)
    return pd.DataFrame(
        {
            "confidence": groups["confidence"].mean(),
            "accuracy": groups["right"].mean(),
            "photographs": groups.size(),
        }
    ).reset_index(drop=True)
