"""The benchmark of what Ray, tracking and checkpoints add to a trial, at its smallest size. No time is asserted."""

import math

from benchmarks import __main__ as command


def test_overhead_gives_its_rows() -> None:
    found = {row.what: row for _, row in command.measured("overhead", tiny=True)}
    row = found["added to a trial of 4 validations, a checkpoint at every validation"]
    assert row.value is not None
    assert math.isfinite(row.value)
