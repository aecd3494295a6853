"""Run one trial again as a plain function call, without Ray, and compare it with what was logged."""

from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

import models
from forensics import FAN
from study import tracking
from study.jobs import TrialJob
from study.progress import work
from study.settings import StudyError
from study.work import train_trial


@dataclass(frozen=True)
class Comparison:
    """``rows`` are (figure, logged, now); ``difference`` says where the first difference lies, "" if there is none."""

    name: str
    rows: list[tuple[str, float, float]]
    difference: str

    @property
    def identical(self) -> bool:
        return not self.difference


def rerun(run_or_key: str, storage: Path, tracking_uri: str) -> Comparison:
    """Repeat a finished trial from its beginning, with the number of threads it had.

    Args:
        run_or_key: MLflow run id, or a trial key or the beginning of one.
        storage: where the pairs and the pre-trained NIP lie here.
        tracking_uri: where the run is logged.

    Raises:
        StudyError: no such run, one that is not finished, or data that are not here.
    """
    client = MlflowClient(tracking_uri)
    run = _find(client, run_or_key)
    artifacts = Path(download_artifacts(run_id=run.info.run_id, tracking_uri=tracking_uri))
    if not (artifacts / "trial.yaml").is_file():
        raise StudyError(f"run {run.info.run_id} is {run.info.status}: only a finished trial can be compared")
    logged = TrialJob.model_validate(yaml.safe_load((artifacts / "trial.yaml").read_text()))
    here = logged.place.model_copy(update={"storage": storage.resolve()})
    if here.device != "cpu" and not torch.cuda.is_available():
        here = here.model_copy(update={"device": "cpu"})
    job = logged.model_copy(update={"place": here, "nip": storage.resolve() / "nips" / logged.nip.name})

    torch.set_num_threads(here.threads)
    try:
        with work(job.name, job.steps) as advance:
            outcome = train_trial(job, on_metrics=lambda step, figures: None, on_step=advance, resume=False)
    except ValueError as error:
        raise StudyError(str(error)) from None

    differences = [
        f"{metric} at iteration {step}: logged {before!r}, now {figures[metric]!r}"
        for step, figures in outcome.history.items()
        for metric, before in _history(client, run, step, figures).items()
        if before != figures[metric]
    ]
    for name, module, build in (("nip", outcome.nip, models.build), ("fan", outcome.fan, _build_fan)):
        before = models.load(artifacts / f"{name}.safetensors", build=build).state_dict()
        now = module.state_dict()
        differences += [f"weights {name}.{key}" for key in before if not torch.equal(before[key], now[key].cpu())]
    last = outcome.history[max(outcome.history)]
    rows = [(metric, run.data.metrics[metric], value) for metric, value in last.items()]
    return Comparison(job.name, rows, differences[0] if differences else "")


def _build_fan(name: str, classes: int) -> FAN:
    return FAN(classes)


def _history(client: MlflowClient, run: Run, step: int, figures: dict[str, float]) -> dict[str, float]:
    """What was logged at a step, the latest where it was logged twice."""
    return {
        metric: [entry.value for entry in client.get_metric_history(run.info.run_id, metric) if entry.step == step][-1]
        for metric in figures
    }


def _find(client: MlflowClient, run_or_key: str) -> Run:
    try:
        return client.get_run(run_or_key)
    except MlflowException:
        pass
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(ids, f"tags.trial_key LIKE '{run_or_key}%'") if run_or_key.isalnum() else []
    if not runs:
        raise StudyError(
            f"no run and no trial key '{run_or_key}' in {client.tracking_uri}: 'best --json' lists run ids"
        )
    if len({run.data.tags["trial_key"] for run in runs}) > 1:
        raise StudyError(f"'{run_or_key}' begins {len(runs)} trial keys: give more of it")
    return tracking.preferred(runs)
