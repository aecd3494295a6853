"""The paper's published numbers and claims, out of the CSV files beside this module.

The paper is P. Korus and N. Memon, "Neural Imaging Pipelines – the Scourge or Hope of Forensics?", 2019
(arXiv:1902.10707), with its supplement.

    supplement_table_1.csv   fidelity and accuracy of four cameras × DNet, UNet × λ
    table_1.csv              the pre-trained NIPs
    table_4.csv              diagonals of the confusion matrices of Nikon D90, UNet
    claims.csv               what the paper claims, and which numbers of ours count as reproducing it
    deviations.csv           where this code does otherwise than the paper or its authors' code, and why
"""

import math
from importlib import resources

import pandas as pd

from study.results.runs_table import FIXED


def claims() -> pd.DataFrame:
    """Read the claims in the order in which a report shows them.

    Returns:
        ``id``, ``statement``, ``where`` (in the paper), ``number`` (what the paper prints), ``answered_by`` (which
        number of ours stands against it), ``low`` and ``high`` (a claim is reproduced where ours lies between them;
        infinite where there is no bound), ``tolerance`` (both as text) and ``absolute`` (bool): a number that depends
        on the photographs, which simulated ones therefore cannot reproduce.
    """
    table = _read("claims.csv").fillna({"low": -math.inf, "high": math.inf})
    tolerance = [_tolerance(low, high) for low, high in zip(table["low"], table["high"], strict=True)]
    return table.assign(tolerance=tolerance, absolute=table["absolute"] == "yes")


def deviations() -> pd.DataFrame:
    """Read what deviates from the paper: ``subject``, ``paper`` (it, or its authors' code), ``here`` and ``why``."""
    return _read("deviations.csv")


def _tolerance(low: float, high: float) -> str:
    if math.isinf(high):
        return f"≥ {low:g}"
    return f"≤ {high:g}" if math.isinf(low) else f"{low:g} to {high:g}"


def table_1() -> pd.DataFrame:
    """Read Table 1: ``parameters``, ``psnr`` (dB) and ``ssim`` by NIP, from the least to the most faithful."""
    return _read("table_1.csv").set_index("isp")


def table_4() -> pd.DataFrame:
    """Read the diagonals of Table 4, percent: a column per class, a row per ``lam`` (NaN for fixed)."""
    return _with_lam(_read("table_4.csv")).drop(columns="mode").set_index("lam")


def supplement_table_1() -> pd.DataFrame:
    """Read the supplement's Table 1.

    Returns:
        ``camera``, ``isp``, ``mode``, ``lam`` (NaN for fixed), ``psnr`` (dB), ``ssim``, ``accuracy``: means over ten
        repetitions, by rising λ with fixed last.
    """
    table = _with_lam(_read("supplement_table_1.csv"))
    columns = ["camera", "isp", "mode", "lam", "psnr", "ssim", "accuracy"]
    return table[columns].sort_values(["camera", "isp", "lam"], na_position="last", ignore_index=True)


def _with_lam(table: pd.DataFrame) -> pd.DataFrame:
    """Replace the printed column ``lambda`` by ``lam`` and ``mode``, as tables of trials have them."""
    printed = table.pop("lambda").astype(str)
    return table.assign(lam=pd.to_numeric(printed, errors="coerce"), mode=printed.where(printed == FIXED, "joint"))


def _read(name: str) -> pd.DataFrame:
    with (resources.files(__package__) / name).open(encoding="utf-8") as file:
        return pd.read_csv(file, comment="#", dtype={"number": str})
