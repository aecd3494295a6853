"""How much each searched setting matters for each objective."""

import warnings
from dataclasses import replace
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from study.search import points
from study.search.points import FINISHED, Outcome, Told
from study.search.sampler import as_optuna
from study.settings import Search, Study
from study.tracking import Snapshot

FEWEST = 8  # points that say anything
BEST = 0.25  # of the points: what distinguishes these from all


def importances(study: Study, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Rows of ``camera``, ``isp``, ``objective``, ``setting`` and ``importance``, which sums to 1 over the settings.

    By Optuna's PED-ANOVA (Watanabe et al. 2023): how differently a setting is spread among the best quarter of the
    points than among all. Nothing where fewer than :data:`FEWEST` points are finished.
    """
    if study.search is None:
        return []
    rows = []
    for branch in points.branches(study):
        tried = points.tried(study, snapshot, branch, points.proposed(snapshot.tags, branch))
        told = [*points.known(study, snapshot, branch, [one.point.values for one in tried])]
        told += [one.told for one in tried]
        finished = [point for point in told if point.outcome.state == FINISHED]
        if len(finished) < FEWEST:
            continue
        for number, objective in enumerate(study.search.objectives):
            alone = study.search.model_copy(update={"objectives": (objective,)})
            found = _importances(alone, [_only(point, number) for point in finished])
            place = {"camera": branch.camera, "isp": branch.isp, "objective": objective}
            rows += [{**place, "setting": setting, "importance": found.get(setting, 0.0)} for setting in alone.over]
    return rows


def _only(point: Told, number: int) -> Told:
    """A point with one of its objectives."""
    assert point.outcome.objectives is not None
    return replace(point, outcome=Outcome(FINISHED, (point.outcome.objectives[number],)))


def _importances(search: Search, told: list[Told]) -> dict[str, float]:
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST)
        return get_param_importances(as_optuna(search, told), evaluator=evaluator)
