"""What the paper claims, and what a study of ours found about it: ``verdicts(Findings(trials, pretrained, …))``."""

from study.results.claims.findings import Findings
from study.results.claims.published import supplement_table_1, table_1, table_4
from study.results.claims.trade_offs import DISTRIBUTED, UNDISTRIBUTED
from study.results.claims.verdict import NOT_COMPARABLE, NOT_REPRODUCED, NOT_RUN, REPRODUCED, verdicts

__all__ = [
    "DISTRIBUTED",
    "NOT_COMPARABLE",
    "NOT_REPRODUCED",
    "NOT_RUN",
    "REPRODUCED",
    "UNDISTRIBUTED",
    "Findings",
    "supplement_table_1",
    "table_1",
    "table_4",
    "verdicts",
]
