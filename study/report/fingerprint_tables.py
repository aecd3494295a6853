"""What the PRNU experiments found, in numbers: pairs pooled over cameras, intervals, tables.

A pipeline stands for an ISP in a setting: jointly trained at one λ, *fixed* (only trained to develop, however many
instances of it there are), or simply itself, where its ISP was not trained jointly at all.
"""

import itertools
import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from prnu.experiment import DEVELOPED, PCE_THRESHOLD, RECEIVED, Attribution, CameraResult, Proportion
from prnu.lowlight import LowLight
from prnu.recovery import Recovery
from study.report.plots import ISPS
from study.report.tables import NOTHING, Cells, Table, as_printed

STANDARD = "standard"  # the pipeline whose output the NIPs are trained to reproduce
JOINT, FIXED = "joint", "fixed"
VIEWS = {DEVELOPED: "as developed", RECEIVED: "after the channel"}
CORRELATIONS, BEST_F1 = (0.57, 0.96), (0.35, 0.51)  # paper, Fig. 5a (off the diagonal) and 5b: Nikon D90
LOW_LIGHT_CAMERA = "paper, Sony ILCE-7SM2"
LOW_LIGHT_PHOTOGRAPHS = 20
LOW_LIGHT = {  # paper, Table 3: correlations between the fingerprints, and the average PCE
    "libRAW (long)": ((1.0, 0.06, 0.08), 470),
    "libRAW (short)": ((0.06, 1.0, 0.09), 807),
    "UNet (short)": ((0.08, 0.09, 1.0), 13),
}


# --- statistics ---


def mean_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the last axis with its 95 % bootstrap interval: (..., n) -> three of (...); NaN bounds for n = 1."""
    mean = values.mean(-1)
    if values.shape[-1] < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    found = stats.bootstrap(
        (values,), np.mean, axis=-1, method="percentile", n_resamples=2000, batch=200, rng=np.random.default_rng(0)
    ).confidence_interval
    return mean, found.low, found.high


def auc_interval(auc: float, same: int, other: int) -> tuple[float, float]:
    """95 % interval of an AUC over `same` × `other` pairs: all values that it does not contradict.

    Newcombe, Statistics in Medicine 25, 2006, method 5: as Wilson's interval of a proportion it does not shrink to
    nothing where all pairs are told apart.
    """
    theta = np.linspace(0, 1, 10_001)
    weight = (same + other) / 2 - 1
    spread = 1 + weight * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    variance = theta * (1 - theta) * spread / (same * other)
    possible = theta[(auc - theta) ** 2 <= 1.959964**2 * variance + 1e-12]
    return float(possible.min()), float(possible.max())


def off_diagonal(matrix: torch.Tensor) -> np.ndarray:
    """(P, P, ...) -> (P², less the P of the diagonal, ...)."""
    return matrix[~torch.eye(len(matrix), dtype=torch.bool)].double().numpy()


# --- pairs of photographs and fingerprints ---


def attributions(cameras: Sequence[CameraResult | LowLight], lambdas: Mapping[str, float]) -> pd.DataFrame:
    """A row per camera × pipeline × view: all PCE of the `same` camera and of `other` ones, as tuples.

    `isp` is the pipeline's, its own name if it is no ISP of a study; `setting` is "joint", "fixed" (another instance
    of an ISP that is jointly trained, too) or the ISP; `lam` is NaN unless joint.
    """
    trained = {isp_of(name) for name in lambdas}
    rows = [
        (result.camera, *_kind(entry.pipeline, lambdas, trained), entry.view, entry.same, entry.other)
        for result in cameras
        for entry in result.attributions
    ]
    return pd.DataFrame(rows, columns=["camera", "pipeline", "isp", "setting", "lam", "view", "same", "other"])


def recoveries(cameras: Sequence[CameraResult], lambdas: Mapping[str, float]) -> pd.DataFrame:
    """A row per simulated camera × pipeline × view: its :class:`Recovery`, and the `last` correlation and the `chance`.

    The other columns are those of :func:`attributions`.
    """
    trained = {isp_of(name) for name in lambdas}
    rows = [
        (
            result.camera,
            *_kind(entry.pipeline, lambdas, trained),
            entry.view,
            entry,
            entry.correlations[-1],
            entry.chance,
        )
        for result in cameras
        for entry in result.recoveries
    ]
    return pd.DataFrame(
        rows, columns=["camera", "pipeline", "isp", "setting", "lam", "view", "recovery", "last", "chance"]
    )


def _kind(pipeline: str, lambdas: Mapping[str, float], trained: Container[str]) -> tuple[str, str, str, float]:
    """A pipeline's name, ISP, setting and λ."""
    isp = isp_of(pipeline)
    without = FIXED if isp in trained else isp
    return pipeline, isp, JOINT if pipeline in lambdas else without, lambdas.get(pipeline, math.nan)


def isp_of(pipeline: str) -> str:
    """ "UNet 3" and "UNet, λ = 0.1" are of UNet; what no ISP's name begins is its own."""
    return next((isp for isp in ISPS if pipeline.startswith(isp)), pipeline)


def pooled(pairs: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One row per group of :func:`attributions`, in order of appearance, with the statistics of all its pairs.

    `pce` is the median of the same camera, `_low` and `_high` its quartiles; `found` and `mistaken` are the
    :class:`Proportion` of pairs of the same and of other cameras above the threshold; `auc` with its 95 % interval.
    """
    rows = []
    for values, group in pairs.groupby(by, sort=False, dropna=False):
        same, other = (tuple(itertools.chain(*group[kind])) for kind in ("same", "other"))
        together = Attribution(" ".join(map(str, values)), "", same, other)
        auc = together.auc
        low, high = (math.nan, math.nan) if auc is None else auc_interval(auc, len(same), len(other))
        quartiles = np.percentile(same, (25, 50, 75)).tolist() if same else [math.nan] * 3
        rows.append(
            {
                **dict(zip(by, values, strict=True)),
                **dict(zip(("pce_low", "pce", "pce_high"), quartiles, strict=True)),
                "mean_pce": sum(same) / len(same) if same else math.nan,
                "found": together.matches(),
                "mistaken": together.mistakes(),
                "auc": math.nan if auc is None else auc,
                "auc_low": low,
                "auc_high": high,
            }
        )
    statistics = ["pce_low", "pce", "pce_high", "mean_pce", "found", "mistaken", "auc", "auc_low", "auc_high"]
    return pd.DataFrame(rows, columns=[*by, *statistics])


# --- tables ---


def correlations(cameras: Sequence[CameraResult]) -> Table:
    """Fig. 5a: rows and columns are pipelines; numbers are one pair a row."""
    printed: list[Cells] = []
    numbers = []
    for result in cameras:
        for name, row in zip(result.pipelines, result.correlations.tolist(), strict=True):
            cells = {
                ("Correlation with", other): number(rho, 2) for other, rho in zip(result.pipelines, row, strict=True)
            }
            printed.append({("", "Camera"): result.camera, ("", "Fingerprint by"): name, **cells})
            numbers += [
                {"camera": result.camera, "pipeline": name, "other": other, "correlation": rho}
                for other, rho in zip(result.pipelines, row, strict=True)
            ]
    columns = ["camera", "pipeline", "other", "correlation"]
    return Table(
        "correlations",
        "Correlations between the fingerprints by different pipelines",
        as_printed(printed),
        pd.DataFrame(numbers, columns=columns),
    )


def localisation(cameras: Sequence[CameraResult]) -> Table:
    """Fig. 5b: rows are the pipeline of the camera model, columns that of the photographs; numbers have intervals."""
    printed: list[Cells] = []
    numbers = []
    for result in cameras:
        f1 = result.f1.double().numpy()
        mean, low, high = mean_interval(f1)
        for i, model in enumerate(result.pipelines):
            cells = {("Photographs by", name): number(mean[i, j], 2) for j, name in enumerate(result.pipelines)}
            printed.append({("", "Camera"): result.camera, ("", "Model by"): model, **cells})
            numbers += [
                {
                    "camera": result.camera,
                    "model": model,
                    "photographs": name,
                    "images": f1.shape[-1],
                    "best_f1": mean[i, j],
                    "low": low[i, j],
                    "high": high[i, j],
                }
                for j, name in enumerate(result.pipelines)
            ]
    columns = ["camera", "model", "photographs", "images", "best_f1", "low", "high"]
    return Table(
        "best-f1",
        "Best F1 score of camera models by one pipeline on photographs by another, mean over images",
        as_printed(printed),
        pd.DataFrame(numbers, columns=columns),
    )


def low_light(found: Sequence[LowLight]) -> Table:
    """Table 3, with the paper's below: pipelines of the same name share a column."""
    printed: list[Cells] = []
    numbers: list[dict[str, Any]] = []
    known = pooled(attributions(found, {}), ["camera", "pipeline"]).to_dict("records")
    matrix = [dict(zip(entry.pipelines, row, strict=True)) for entry in found for row in entry.correlations]
    for row, correlated in zip(known, matrix, strict=True):
        printed.append(
            {
                ("", "Camera"): row["camera"],
                ("", "Pipeline"): row["pipeline"],
                **_correlated_cells(correlated),
                ("Same camera", "Pairs"): str(row["found"].pairs),
                ("Same camera", "Average PCE"): energy(row["mean_pce"]),
                ("Same camera", f"> {PCE_THRESHOLD:g} (%)"): percent(row["found"]),
                **_other_cells(row),
            }
        )
        numbers.append({**row, **{f"correlation with {name}": rho for name, rho in correlated.items()}})
    ours = {name.casefold(): name for entry in found for name in entry.pipelines}
    names = [ours.get(name.casefold(), name) for name in LOW_LIGHT]
    for name, (rhos, average) in zip(names, LOW_LIGHT.values(), strict=True):
        correlated = dict(zip(names, rhos, strict=True))
        printed.append(
            {
                ("", "Camera"): LOW_LIGHT_CAMERA,
                ("", "Pipeline"): name,
                **_correlated_cells(correlated),
                ("Same camera", "Pairs"): str(LOW_LIGHT_PHOTOGRAPHS),
                ("Same camera", "Average PCE"): energy(average),
            }
        )
        theirs = {"camera": LOW_LIGHT_CAMERA, "pipeline": name, "mean_pce": average}
        numbers.append({**theirs, **{f"correlation with {name}": rho for name, rho in correlated.items()}})
    return Table(
        "low-light",
        f"Low light: correlations between fingerprints, PCE of photographs with the fingerprint of their own pipeline, "
        f"and shares above {PCE_THRESHOLD:g} with 95 % intervals",
        as_printed(printed),
        _statistics(pd.DataFrame(numbers)),
    )


def _correlated_cells(correlated: Mapping[str, float]) -> Cells:
    return {("Correlation with", name): number(rho, 2) for name, rho in correlated.items()}


def attribution(pairs: pd.DataFrame) -> Table:
    """What :func:`pooled` tells of every camera × pipeline × view."""
    by = ["camera", "pipeline", "isp", "setting", "lam", "view"]
    found = pooled(pairs, by)
    printed: list[Cells] = [
        {
            ("", "Camera"): row["camera"],
            ("", "Pipeline"): row["pipeline"],
            ("", "λ"): NOTHING if math.isnan(row["lam"]) else f"{row['lam']:g}",
            ("", "Photographs"): VIEWS[row["view"]],
            **_same_cells(row),
            **_other_cells(row),
        }
        for row in found.to_dict("records")
    ]
    caption = (
        f"PCE of photographs with the fingerprint of the same and of another camera, all by one pipeline: median with "
        f"quartiles, shares above {PCE_THRESHOLD:g} and AUC with 95 % intervals"
    )
    return Table("attribution", caption, as_printed(printed), _statistics(found))


def mistakes(pairs: pd.DataFrame) -> Table:
    """What :func:`pooled` tells of pairs of different cameras, of all cameras together."""
    found = pooled(pairs[pairs["other"].map(len) > 0], ["isp", "setting", "lam", "view"])
    printed: list[Cells] = [
        {
            ("", "Pipeline"): label(row),
            ("", "Photographs"): VIEWS[row["view"]],
            **_other_cells(row),
        }
        for row in found.to_dict("records")
    ]
    return Table(
        "mistakes",
        f"Pairs of different cameras above PCE {PCE_THRESHOLD:g}, all cameras together, with 95 % intervals",
        as_printed(printed),
        _statistics(found),
    )


def recovery(cameras: Sequence[CameraResult], lambdas: Mapping[str, float]) -> Table:
    """How a fingerprint comes near the sensor's true pattern: a row per camera × pipeline × view."""
    printed: list[Cells] = []
    numbers = []
    for row in recoveries(cameras, lambdas).to_dict("records"):
        entry: Recovery = row["recovery"]
        a, b = entry.law or (math.nan, math.nan)
        reached = dict(zip(entry.images, entry.correlations, strict=True))
        law = NOTHING if entry.law is None else f"{number(a, 1)} + {number(b, 0 if b >= 10 else 1)}/N"
        printed.append(
            {
                ("", "Camera"): row["camera"],
                ("", "Pipeline"): row["pipeline"],
                ("", "λ"): NOTHING if math.isnan(row["lam"]) else f"{row['lam']:g}",
                ("", "Photographs"): VIEWS[row["view"]],
                **{("ρ after N photographs, N =", str(N)): number(rho, 3) for N, rho in reached.items()},
                ("", "By chance"): f"± {number(entry.chance, 3)}",
                ("", "1/ρ²"): law,
            }
        )
        known = {name: row[name] for name in ("camera", "pipeline", "isp", "setting", "lam", "view", "chance")}
        numbers += [{**known, "images": N, "correlation": rho, "a": a, "b": b} for N, rho in reached.items()]
    return Table(
        "recovery",
        "Correlation ρ of the fingerprint with the sensor’s true pattern, its standard deviation where nothing is "
        "shared, and the law that fits",
        as_printed(printed),
        pd.DataFrame(numbers),
    )


def _same_cells(row: Mapping[str, Any]) -> Cells:
    quartiles = f" [{energy(row['pce_low'])}, {energy(row['pce_high'])}]" if row["found"].pairs else ""
    return {
        ("Same camera", "Pairs"): str(row["found"].pairs),
        ("Same camera", "PCE"): energy(row["pce"]) + quartiles,
        ("Same camera", f"> {PCE_THRESHOLD:g} (%)"): percent(row["found"]),
    }


def _other_cells(row: Mapping[str, Any]) -> Cells:
    interval = "" if math.isnan(row["auc"]) else f" [{number(row['auc_low'], 3)}, {number(row['auc_high'], 3)}]"
    return {
        ("Other cameras", "Pairs"): str(row["mistaken"].pairs),
        ("Other cameras", f"> {PCE_THRESHOLD:g} (%)"): percent(row["mistaken"]),
        ("", "AUC"): number(row["auc"], 3) + interval,
    }


def _statistics(found: pd.DataFrame) -> pd.DataFrame:
    """Proportions as columns of numbers."""
    rows = []
    for row in found.to_dict("records"):
        flat: dict[str, Any] = {}
        for name, value in row.items():
            flat |= _proportion(value, str(name)) if isinstance(value, Proportion) else {str(name): value}
        rows.append(flat)
    return pd.DataFrame(rows, columns=None if rows else list(found.columns))


def _proportion(found: Proportion, name: str) -> dict[str, float]:
    low, high = found.interval
    return {
        name: found.count,
        f"{name}_pairs": found.pairs,
        f"{name}_share": found.share,
        f"{name}_low": low,
        f"{name}_high": high,
    }


def every_pair(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row per pair of photograph and fingerprint."""
    rows = [
        (row["camera"], row["pipeline"], row["lam"], row["view"], kind, pce)
        for row in pairs.to_dict("records")
        for kind in ("same", "other")
        for pce in row[kind]
    ]
    return pd.DataFrame(rows, columns=["camera", "pipeline", "lam", "view", "camera_of_photograph", "pce"])


# --- numbers as text ---


def label(row: Mapping[str, Any]) -> str:
    """An ISP in its setting, such as "UNet, λ = 0.1"; several instances of a fixed one have one label."""
    if row["setting"] == JOINT:
        return f"{row['isp']}, λ = {row['lam']:g}"
    return f"{row['isp']}, fixed" if row["setting"] == FIXED else str(row["isp"])


def number(value: float, digits: int) -> str:
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def energy(pce: float) -> str:
    """A PCE, to a digit after the point where it is small."""
    return number(pce, 0 if math.isnan(pce) or abs(pce) >= 10 else 1)


def percent(found: Proportion) -> str:
    """ "95.0 [76.4, 99.1]": percent with the 95 % interval."""
    if not found.pairs:
        return NOTHING
    low, high = found.interval
    return f"{100 * found.share:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
