"""What a look at a machine found: a fault with its remedy, or a remark."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cameras.errors import one_line


@dataclass(frozen=True)
class Finding:
    """``fault`` says what is wrong and how to mend it, and is None where all is well; ``remark`` says what is there."""

    what: str
    node: str
    fault: str | None = None
    remark: str = ""


@contextmanager
def finding(findings: list[Finding], what: str, node: str) -> Iterator[list[str]]:
    """Add a finding: the remarks that the block collects, or the error that ends it."""
    remarks: list[str] = []
    try:
        yield remarks
    except (ValueError, OSError) as error:
        findings.append(Finding(what, node, one_line(error)))
    else:
        if remarks:
            findings.append(Finding(what, node, remark="; ".join(remarks)))
