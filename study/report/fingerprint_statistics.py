"""Statistics of the fingerprint experiments: pairs of photograph and fingerprint, pooled, with intervals.

A pipeline stands for an ISP in a setting: jointly trained at one λ, *fixed* (only trained to develop, however many
instances of it there are), or simply itself, where its ISP was not trained jointly at all.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from models.registry import NIPS
from prnu.experiment import DEVELOPED, PCE_THRESHOLD, RECEIVED, Attribution, CameraResult, Proportion
from prnu.lowlight import LowLight
from study.report.plots import PALETTE
from study.report.tables import NOTHING, Cells, Table, as_printed, interval, number
from study.results.statistics import interval as interval_of_mean

STANDARD = "standard"  # the pipeline whose output the NIPs are trained to reproduce
JOINT, FIXED = "joint", "fixed"
VIEWS = {DEVELOPED: "as developed", RECEIVED: "after the channel"}
SETTING = ["isp", "setting", "lam", "view"]


@dataclass(frozen=True)
class FingerprintContent:
    """What the sections read: results by camera, λ of the jointly trained pipelines, and notes on provenance."""

    cameras: Sequence[CameraResult]
    low_light: Sequence[LowLight]
    lambdas: Mapping[str, float]
    notes: Mapping[str, str]

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """All pairs of photograph and fingerprint, see :func:`attributions`."""
        return attributions(self.cameras, self.lambdas)


def with_settings(rows: pd.DataFrame, lambdas: Mapping[str, float]) -> pd.DataFrame:
    """Rows with what their `pipeline` is: its `isp`, `setting` and `lam`.

    The setting is "joint", "fixed" (of an ISP that is jointly trained, too) or the ISP; λ is NaN unless joint.
    """
    isp, lam = rows["pipeline"].map(isp_of), rows["pipeline"].map(dict(lambdas)).astype(float)
    setting = isp.mask(isp.isin({isp_of(name) for name in lambdas}), FIXED).mask(lam.notna(), JOINT)
    return rows.assign(isp=isp, setting=setting, lam=lam)


def isp_of(pipeline: str) -> str:
    """The NIP whose name begins a pipeline's, as in "UNet 3" and "UNet, λ = 0.1"; else the pipeline's own name."""
    return max((isp for isp in NIPS if pipeline.startswith(isp)), key=len, default=pipeline)


def label(row: Mapping[str, Any]) -> str:
    """An ISP in its setting, such as "UNet, λ = 0.1"; several instances of a fixed one have one label."""
    if row["setting"] == JOINT:
        return f"{row['isp']}, λ = {row['lam']:g}"
    return f"{row['isp']}, fixed" if row["setting"] == FIXED else str(row["isp"])


def attributions(cameras: Sequence[CameraResult | LowLight], lambdas: Mapping[str, float]) -> pd.DataFrame:
    """A row per camera × pipeline × view: all PCE of the `same` camera and of `other` ones, as tuples."""
    rows = [
        (result.camera, entry.pipeline, entry.view, entry.same, entry.other)
        for result in cameras
        for entry in result.attributions
    ]
    return with_settings(pd.DataFrame(rows, columns=["camera", "pipeline", "view", "same", "other"]), lambdas)


def pooled(pairs: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One row per group of :func:`attributions`, in order of appearance, with the :func:`statistics` of its pairs."""
    rows = []
    for values, group in pairs.groupby(by, sort=False, dropna=False):
        same, other = (list(itertools.chain(*group[which])) for which in ("same", "other"))
        rows.append({**dict(zip(by, values, strict=True)), **statistics(same, other)})
    return pd.DataFrame(rows, columns=[*by, *statistics([], [])])


def of_isp(pairs: pd.DataFrame, isp: str) -> pd.DataFrame:
    """Statistics of the standard pipeline, of an ISP fixed, and of it jointly trained, in falling λ."""
    known = pooled(pairs, SETTING)
    order = known["setting"].map({STANDARD: 0, FIXED: 1, JOINT: 2})
    chosen = known.assign(order=order)[(known["isp"] == STANDARD) | (known["isp"] == isp)]
    return chosen.sort_values(["order", "lam"], ascending=[True, False], kind="stable")


def by_view(points: pd.DataFrame, distance: float) -> Iterator[tuple[str, str, float, pd.DataFrame]]:
    """Every view with its colour, how far its points stand aside of their place, and its rows."""
    views = [view for view in VIEWS if view in set(points["view"])]
    for index, view in enumerate(views):
        colour, aside = PALETTE[list(VIEWS).index(view)], distance * (index - (len(views) - 1) / 2)
        yield view, colour, aside, points[points["view"] == view]


def statistics(same: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Numbers about the PCE of pairs of the same and of other cameras.

    ``pce`` is the median of the same camera with its quartiles, ``mean_pce`` the mean; ``found`` and ``mistaken`` are
    the pairs of the same and of other cameras above the threshold, of so many ``_pairs``; ``_share`` has Wilson's 95 %
    interval, ``auc`` that of :func:`auc_interval`.
    """
    pairs = Attribution("", "", tuple(same), tuple(other))
    low, median, high = np.percentile(same, (25, 50, 75)).tolist() if same else [math.nan] * 3
    auc = math.nan if pairs.auc is None else pairs.auc
    auc_low, auc_high = (math.nan, math.nan) if pairs.auc is None else auc_interval(auc, len(same), len(other))
    return {
        "pce_low": low,
        "pce": median,
        "pce_high": high,
        "mean_pce": float(np.mean(same)) if same else math.nan,
        **_proportion(pairs.matches(), "found"),
        **_proportion(pairs.mistakes(), "mistaken"),
        "auc": auc,
        "auc_low": auc_low,
        "auc_high": auc_high,
    }


def _proportion(found: Proportion, name: str) -> dict[str, float]:
    numbers = (found.count, found.pairs, found.share, *found.interval)
    return dict(zip((name, f"{name}_pairs", f"{name}_share", f"{name}_low", f"{name}_high"), numbers, strict=True))


def auc_interval(auc: float, same: int, other: int) -> tuple[float, float]:
    """95 % interval of an AUC over `same` × `other` pairs: all values that it does not contradict.

    Newcombe, Statistics in Medicine 25, 2006, method 5: as Wilson's interval of a proportion it does not shrink to
    nothing where all pairs are told apart.
    """
    theta = np.linspace(0, 1, 10_001)
    weight = (same + other) / 2 - 1
    spread = 1 + weight * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    variance = theta * (1 - theta) * spread / (same * other)
    possible = theta[(auc - theta) ** 2 <= stats.norm.ppf(0.975) ** 2 * variance + 1e-12]
    return float(possible.min()), float(possible.max())


def mean_interval(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis with Student's 95 % interval: (..., n) -> (..., 3); NaN bounds for n < 2.

    For scores and correlations: bounds are cut at -1 and 1.

    Of scores in [0, 1] that vary, it covers the mean of all photographs in about 95 % of cases, of 6 photographs or 30;
    where nearly all are 1 in 57 and 88 % (tests/study/results/test_coverage.py). A percentile bootstrap covers less.
    """
    n = values.shape[-1]
    unknown = np.full(values.shape[:-1], np.nan)
    mean, std = values.mean(-1) if n else unknown, values.std(-1, ddof=1) if n > 1 else unknown
    low, high = np.clip(interval_of_mean(mean, std, np.array(n)), -1, 1)
    return np.stack([mean, low, high], axis=-1)


def off_diagonal(matrix: torch.Tensor) -> np.ndarray:
    """(P, P, ...) -> (P², less the P of the diagonal, ...)."""
    return matrix[~torch.eye(len(matrix), dtype=torch.bool)].double().numpy()


def shades(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 for ``low`` and below to 1 for ``high`` and above."""
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.full(values.shape, 0.5)


def samples(name: str, caption: str, heading: str, found: Mapping[str, np.ndarray], digits: int) -> Table:
    """A table of samples of numbers: a row with size, mean with 95 % interval, median, least and greatest of each."""
    rows = [
        (label, len(values), *mean_interval(values), np.median(values), values.min(), values.max())
        for label, values in found.items()
        if len(values)
    ]
    columns = ["sample", "number", "mean", "mean_low", "mean_high", "median", "least", "greatest"]
    numbers = pd.DataFrame(rows, columns=columns)
    printed = [
        {
            ("", heading): row["sample"],
            ("", "Number"): str(row["number"]),
            ("", "Mean"): interval(row, "mean", digits),
            **{("", column.title()): number(row[column], digits) for column in columns[-3:]},
        }
        for row in numbers.to_dict("records")
    ]
    return Table(name, f"{caption}, means with 95 % intervals", as_printed(printed), numbers)


# --- cells of tables ---


def pipeline_cells(row: Mapping[str, Any]) -> Cells:
    """The cells that name a row of a camera × pipeline × view."""
    lam = NOTHING if math.isnan(row["lam"]) else f"{row['lam']:g}"
    names = {"Camera": row["camera"], "Pipeline": row["pipeline"], "λ": lam, "Photographs": VIEWS[row["view"]]}
    return {("", heading): text for heading, text in names.items()}


def setting_cells(row: Mapping[str, Any]) -> Cells:
    """The cells that name a row of an ISP × setting × view."""
    return {("", "Pipeline"): label(row), ("", "Photographs"): VIEWS[row["view"]]}


def other_cells(row: Mapping[str, Any]) -> Cells:
    """How many photographs of other cameras match, and how well PCE tells them from those of the same camera."""
    return {
        ("Other cameras", "Pairs"): str(row["mistaken_pairs"]),
        ("Other cameras", f"> {PCE_THRESHOLD:g} (%)"): interval(row, "mistaken_share", 1, 100),
        ("", "AUC"): interval(row, "auc", 3),
    }


def energy(pce: float) -> str:
    """A PCE, to a digit after the point where it is small."""
    return number(pce, 0 if math.isnan(pce) or abs(pce) >= 10 else 1)
