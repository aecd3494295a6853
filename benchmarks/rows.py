"""A row of the benchmark's table, and the table for a terminal and for Markdown."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

FAILED = "failed:"  # a note begins with it
HEAD = ("", "figure", "peer", "better by", "further")


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: was measured.
        value: in ``unit``; None where it could not be measured, and ``note`` says why.
        peer: what it is compared with, "" for nothing.
        peer_value: the peer's figure in the same unit; None where the peer is not installed.
        better: how many times better than the peer.
        figures: further numbers by their units.
        note: for people.
    """

    what: str
    value: float | None
    unit: str = ""
    peer: str = ""
    peer_value: float | None = None
    better: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        figure = "–" if self.value is None else f"{number(self.value)} {self.unit}"
        known = "not installed" if self.peer_value is None else number(self.peer_value)
        peer = f"{self.peer}: {known}" if self.peer else ""
        better = "" if self.better is None else f"{number(self.better)} ×"
        further = [f"{number(value)} {name}" for name, value in self.figures.items()]
        return self.what, figure, peer, better, ", ".join([*further, *([self.note] if self.note else [])])


def number(value: float) -> str:
    """Three significant digits, and no exponent: 0.0123, 1.23, 123, 12345; whole numbers as they are."""
    if isinstance(value, int):
        return str(value)
    digits = 3 if value == 0 else max(0, 2 - _exponent(value))
    return f"{value:.{min(digits, 6)}f}"


def _exponent(value: float) -> int:
    return int(f"{value:.2e}".partition("e")[2])


def is_installed(package: str) -> bool:
    """Whether a peer can be imported."""
    return find_spec(package) is not None


def attempt(what: str, measure: Callable[[], Row]) -> Row:
    """The row that ``measure`` returns, or one that says why there is none: one failure does not end a benchmark."""
    try:
        return measure()
    except Exception as error:
        return failure(what, error)


def failure(what: str, error: Exception) -> Row:
    reason = (str(error).strip() or "no reason given").splitlines()[0]
    return Row(what, None, note=f"{FAILED} {type(error).__name__}: {reason[:150]}")


def terminal(subjects: Mapping[str, tuple[str, Sequence[Row]]]) -> str:
    """The table as text; ``subjects`` are a title and rows by name."""
    return "\n".join(_terminal_lines(subjects))


def _terminal_lines(subjects: Mapping[str, tuple[str, Sequence[Row]]]) -> Iterator[str]:
    cells = [HEAD, *(row.cells() for _, rows in subjects.values() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]

    def line(texts: Sequence[str]) -> str:
        (first, *middle, last), (left, *inner, _) = texts, widths
        return "  ".join([f"  {first:{left}}", *(f"{text:>{w}}" for text, w in zip(middle, inner, strict=True)), last])

    yield line(HEAD).rstrip()
    for name, (title, rows) in subjects.items():
        yield f"{name}: {title}"
        yield from (line(row.cells()).rstrip() for row in rows)


def markdown(subjects: Mapping[str, tuple[str, Sequence[Row]]]) -> str:
    """One table a subject."""
    parts = []
    for name, (title, rows) in subjects.items():
        lines = [HEAD, ("---", "---:", "---:", "---:", "---"), *(row.cells() for row in rows)]
        table = "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)
        parts.append(f"## {name}\n\n{title}\n\n{table}\n")
    return "\n".join(parts)
