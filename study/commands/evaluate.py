"""Judge every finished trial of a study behind real encoders: a job for each trial and codec, scheduled like trials."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from forensics.evaluation import DIFFERENTIABLE
from study.execution.driver import Preflight, at_work, stage
from study.jobs.evaluation import EvaluationJob, metric, parse_codecs
from study.jobs.trial import TrialJob
from study.search.points import every
from study.settings import Study, StudyError


def evaluate(
    study: Study, codecs: Iterable[str], preflight: Preflight, address: str = "local", retry_failed: bool = False
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Judge every finished trial behind these codecs, as far as that is not done yet.

    Args:
        codecs: as :func:`study.jobs.evaluation.parse_codecs` takes them.

    Returns:
        A table, and why some evaluations failed, by name. The table has a row for each evaluated trial, in the order of
        the plan: ``trial_key``, ``camera``, ``isp``, ``lambda`` (number or "fixed"), ``seed``, the further axes of the
        study, ``photographs`` ("test" where the study has such, else "validation"), and the accuracy of single patches
        on them (0–1) in a column ``dJPEG``, for the trial's own channel, and in one for each codec.

    Raises:
        StudyError: an unknown codec, no finished trial; cameras, tracking or cluster are not there.
    """
    codecs = (DIFFERENTIABLE, *parse_codecs(codecs))
    with at_work(study, preflight, address, retry_failed) as session:
        snapshot = session.snapshot()
        planned = [*session.grid(snapshot).ready, *(job for one in every(study, snapshot) for job in one.jobs)]
        trials = list({job.key: job for job in planned if job.key in snapshot.finished}.values())
        if not trials:
            raise StudyError(f"study {study.name} has no finished trial yet: python -m study run STUDY")
        jobs = [EvaluationJob.plan(trial, codec) for trial in trials for codec in codecs]
        failures = stage("evaluation", session, jobs)
        runs = session.snapshot().by_key
    rows = []
    axes = list(dict.fromkeys(axis for trial in trials for axis in trial.axes))  # a search has more than the grid
    for trial in trials:
        metrics, on_test = runs[trial.key].data.metrics, trial.trial.split.test > 0
        names = {codec: f"test_{metric(codec)}" if on_test else metric(codec) for codec in codecs}
        if all(name in metrics for name in names.values()):
            accuracies = {codec: metrics[name] for codec, name in names.items()}
            photographs = "test" if on_test else "validation"
            rows.append({"trial_key": trial.key, **_places(trial, axes), "photographs": photographs, **accuracies})
    return pd.DataFrame(rows, columns=["trial_key", *axes, "photographs", *codecs]), failures


def _places(trial: TrialJob, axes: Iterable[str]) -> dict[str, Any]:
    """The places of a trial on all axes; where one is not its own, its setting there."""
    return {axis: trial.axes.get(axis, trial.params.get(axis)) for axis in axes}
