"""What a study found, out of one snapshot of MLflow: tables -> statistics over seeds -> fronts -> the paper's claims.

    trials(snapshot)                     one row per trial, duplicates resolved, failures named
      ├─ missing(table, planned)         which planned trials have no result, and why
      ├─ summary(table)                  mean, standard deviation and 95 % interval over seeds, per setting
      │    └─ best(summary, min_psnr=…)  the settings that satisfy a wish, ranked; queries(row) leads on to their runs
      ├─ gain(table)                     joint minus fixed, paired by seed
      │    └─ reported(…)                with the numbers of the test photographs, where there are some
      ├─ behind_codecs(table)            accuracy behind real encoders, paired with that behind dJPEG
      ├─ behind(table, "real")           the trials as judged behind real encoders: each of the above takes them, too
      ├─ at_equal_psnr(table, …)         one ISP, or one value of an axis, against another along the fronts, by seed
      ├─ breakdowns(curves)              trials that lose fidelity late in their training
      └─ curves, confusions, examples, fusions    what the runs keep beyond their last metrics

Fronts are in :mod:`study.results.fronts`, how they differ from seed to seed in :mod:`study.results.attainment`, the
paper's numbers and claims in :mod:`study.results.claims`.
"""

from study.results.artifacts import confusions, curves, examples, fusions, panel_confusions, unseen, verdicts
from study.results.comparison import at_equal_psnr, over_all
from study.results.encoders import (
    PANEL,
    TRAINED,
    WORST,
    behind,
    behind_codecs,
    behind_panel,
    channel,
    channels,
    leading,
    members,
    metric,
)
from study.results.pretrainings import in_detail
from study.results.queries import QUESTIONS, best, lambda_text, queries, with_queries
from study.results.runs_table import (
    FIXED,
    GAP,
    METRICS,
    OWN,
    PRNU_METRICS,
    REAL,
    TEST,
    TEST_METRICS,
    axes,
    fingerprints,
    finished,
    missing,
    of_plan,
    plan_axes,
    pretrained,
    trials,
    used,
)
from study.results.statistics import (
    ON,
    TEST_SET,
    VALIDATION_SET,
    best_within,
    by_photographs,
    gain,
    means,
    reported,
    summary,
)
from study.results.steadiness import LOST, breakdowns
