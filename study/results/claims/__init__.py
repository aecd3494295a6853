"""What the paper claims, and what a study of ours found about it: ``verdicts(Findings(trials, pretrained, …))``."""

from study.results.claims.findings import Findings
from study.results.claims.protocol import DISTRIBUTED, UNDISTRIBUTED
from study.results.claims.published import deviations, supplement_table_1, table_1, table_4
from study.results.claims.verdict import (
    NOT_REPRODUCED,
    NOT_RUN,
    OTHER_PROTOCOL,
    REPRODUCED,
    SIMULATED_DATA,
    UNDECIDED,
    verdicts,
)

__all__ = [
    "DISTRIBUTED",
    "NOT_REPRODUCED",
    "NOT_RUN",
    "OTHER_PROTOCOL",
    "REPRODUCED",
    "SIMULATED_DATA",
    "UNDECIDED",
    "UNDISTRIBUTED",
    "Findings",
    "deviations",
    "supplement_table_1",
    "table_1",
    "table_4",
    "verdicts",
]
