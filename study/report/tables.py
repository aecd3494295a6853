"""Tables of the pages: each as it is printed and as the numbers behind it, and numbers as text."""

import base64
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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
    "†": r"$\dagger$",
}

Cells = dict[tuple[str, str], str]  # (upper heading, lower heading) -> text


@dataclass(frozen=True)
class Table:
    """A table as printed (text cells, one or two header rows), with the numbers behind it."""

    name: str
    caption: str
    printed: pd.DataFrame
    numbers: pd.DataFrame

    @cached_property
    def files(self) -> dict[str, bytes]:
        """CSV of the numbers and LaTeX of what is printed, by path below the report's folder."""
        latex = self.printed.to_latex(
            index=False, escape=True, multicolumn_format="c", column_format="l" * len(self.printed.columns)
        )
        return {
            f"tables/{self.name}.csv": self.numbers.to_csv(index=False).encode(),
            f"tables/{self.name}.tex": latex.translate(str.maketrans(LATEX)).encode(),
        }

    @property
    def downloads(self) -> list[tuple[str, str, str]]:
        """Name, kind and content in base64 of every file."""
        contents = [(Path(path).name, base64.b64encode(content).decode()) for path, content in self.files.items()]
        return [(name, kind, content) for (name, content), kind in zip(contents, ("CSV", "LaTeX"), strict=True)]

    @property
    def header(self) -> list[list[tuple[str, int]]]:
        """Header rows as (text, columns spanned)."""
        columns = self.printed.columns
        *upper, last = (columns.get_level_values(level) for level in range(columns.nlevels))
        spans = [[(text, len(list(same))) for text, same in itertools.groupby(row)] for row in upper]
        return [*spans, [(text, 1) for text in last]]


def as_printed(rows: Sequence[Cells], once: int = 0) -> pd.DataFrame:
    """Rows of cells as text; the first ``once`` columns are left empty where they repeat those of the row above."""
    if not rows:
        return pd.DataFrame(columns=["Camera"])
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [[row.get(column, "") for column in columns] for row in rows]
    repeated = [line[:once] == above[:once] for above, line in itertools.pairwise(lines)]
    for line, same in zip(lines[1:], repeated, strict=True):
        line[:once] = [""] * once if same else line[:once]
    upper, lower = zip(*columns, strict=True)
    return pd.DataFrame(lines, columns=pd.MultiIndex.from_tuples(columns) if any(upper) else pd.Index(lower))


def wide(
    numbers: pd.DataFrame, by: Mapping[str, str], across: tuple[str, str], value: str, text: Callable[[Any], str]
) -> list[Cells]:
    """Long numbers as rows of cells: a row per group, a column per value of ``across``.

    Args:
        by: the columns that name a group, with their headings.
        across: that column, and the heading above its values.
        value: the column that fills the cells, as ``text`` prints it.
    """
    column, heading = across
    return [
        named(dict(zip(by.values(), names, strict=True)))
        | {(heading, name): text(found) for name, found in zip(group[column], group[value], strict=True)}
        for names, group in numbers.groupby(list(by), sort=False, dropna=False)
    ]


def named(values: Mapping[str, object]) -> Cells:
    """The cells that name a row: camera, ISP, further axes, λ, photographs."""
    headings = {"camera": "Camera", "isp": "ISP", "lam": "λ", "photographs": "Photographs"}
    return {
        ("", headings.get(name, name)): lambda_label(value) if isinstance(value, float) else str(value)
        for name, value in values.items()
    }


def metric_cells(heading: str, found: pd.DataFrame, metrics: Mapping[str, tuple[str, float, int]]) -> Cells:
    """Metrics of the one row found, with standard deviations where they are known; dashes where there is no row.

    ``metrics``: lower heading, scale and digits by column.
    """
    row = found.iloc[0] if len(found) else {}
    cells: Cells = {}
    for column, (name, scale, digits) in metrics.items():
        value, deviation = (scale * row.get(column + end, np.nan) for end in ("", "_std"))
        spread = "" if np.isnan(deviation) else f" ± {number(deviation, digits)}"
        cells[heading, name] = number(value, digits) + spread
    return cells


def lambda_label(lam: float) -> str:
    return "fixed" if np.isnan(lam) else f"{lam:g}"


def number(value: float, digits: int, sign: bool = False) -> str:
    """A number with a minus as wide as a plus; a dash for NaN."""
    if np.isnan(value):
        return NOTHING
    return (f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}").replace("-", "−")


def two_digits(value: float) -> str:
    return number(value, 2)


def estimate(found: Sequence[float] | np.ndarray, digits: int, scale: float = 1, sign: bool = False) -> str:
    """Value, low, high → "91.2 [89.0, 93.1]"; a bound that is not known is a dash, no interval where neither is."""
    value, low, high = (number(scale * each, digits, sign) for each in found)
    return value if value == NOTHING or low == high == NOTHING else f"{value} [{low}, {high}]"


def interval(row: Mapping[str, Any], name: str, digits: int, scale: float = 1, sign: bool = False) -> str:
    """The :func:`estimate` in the columns ``name``, ``name_low`` and ``name_high`` of a row."""
    ends = (f"{name.removesuffix('_share')}_{end}" for end in ("low", "high"))
    return estimate([row[name], *(row[end] for end in ends)], digits, scale, sign)


def count(number: int, what: str) -> str:
    """ "1 camera", "2 cameras"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Tuples of ids as text, for CSV."""
    return frame.assign(run_ids=frame["run_ids"].map(" ".join), trial_keys=frame["trial_keys"].map(" ".join))
