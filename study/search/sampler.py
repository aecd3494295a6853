"""Optuna's samplers, told all that is known each time that they are asked.

Nothing of Optuna's is kept between two questions: its study is built anew out of the known points, in memory, and the
sampler is seeded by how many there are. So a search that was killed goes on as if it had not been.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from study.search.points import FAILED, FINISHED, LEFT, STOPPED, Told, Values
from study.settings import Domain, Range, Search

STATES = {FINISHED: TrialState.COMPLETE, STOPPED: TrialState.PRUNED, FAILED: TrialState.FAIL, LEFT: TrialState.RUNNING}
GENERATIONS = {"nsga2": "NSGAIISampler:generation", "nsga3": "NSGAIIISampler:generation"}  # what these note of a trial
ATTEMPTS = 20  # at a point that is new
logging.getLogger("optuna").setLevel(logging.ERROR)


def propose(search: Search, told: Sequence[Told]) -> tuple[Values, dict[str, Any]] | None:
    """The next point, and what the sampler notes of it; None where every point is known already.

    Args:
        told: all known points in order, with those that are running.
    """
    seen = [point.values for point in told]
    if len(seen) >= search.size:
        return None
    for attempt in range(2 * ATTEMPTS):
        seed = int(np.random.SeedSequence([search.seed, len(told), attempt]).generate_state(1)[0])
        sampler = _sampler(search, seed) if attempt < ATTEMPTS else RandomSampler(seed)
        study = as_optuna(search, told, sampler)
        trial = study.ask(distributions(search))
        values = {path: _value(search.over[path], value) for path, value in trial.params.items()}
        if values not in seen:
            return values, _notes(study.trials[trial.number].system_attrs)
    return None


def as_optuna(
    search: Search,
    told: Sequence[Told],
    sampler: BaseSampler | None = None,
    name: str | None = None,
    storage: optuna.storages.BaseStorage | None = None,
) -> optuna.Study:
    """Optuna's study of these points, in memory where no storage is given."""
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=["maximize"] * len(search.objectives),
        sampler=sampler or RandomSampler(0),
    )
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):  # as half of Optuna is
        study.set_metric_names(list(search.objectives))
    generation = GENERATIONS.get(search.sampler)
    for point in told:
        first = {generation: 0} if generation else {}  # what was known before is of the first generation
        study.add_trial(
            create_trial(
                state=STATES[point.outcome.state],
                params=point.values,
                distributions=distributions(search),
                values=point.outcome.objectives,
                system_attrs={**first, **point.notes},
                user_attrs={"trial_keys": list(point.keys)},
            )
        )
    return study


def distributions(search: Search) -> dict[str, BaseDistribution]:
    """The ranges as Optuna knows them."""
    return {path: _distribution(domain) for path, domain in search.over.items()}


def _distribution(domain: Domain) -> BaseDistribution:
    if not isinstance(domain, Range):
        return CategoricalDistribution(domain)
    low, high = domain.bounds
    return IntDistribution(int(low), int(high)) if domain.whole else FloatDistribution(low, high, log=bool(domain.log))


def _value(domain: Domain, value: Any) -> Any:
    return domain.rounded(value) if isinstance(domain, Range) else value


def _notes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What a later sampler needs: to which generation the point belongs."""
    return {name: value for name, value in attributes.items() if name in GENERATIONS.values()}


def _sampler(search: Search, seed: int) -> BaseSampler:
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        if search.sampler == "tpe":
            return TPESampler(n_startup_trials=search.random, multivariate=True, seed=seed)
        if search.sampler == "gp":
            return GPSampler(n_startup_trials=search.random, seed=seed)
        if search.sampler == "nsga2":
            return NSGAIISampler(population_size=search.random, seed=seed)
        return NSGAIIISampler(population_size=search.random, seed=seed)
