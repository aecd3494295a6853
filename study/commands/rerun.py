"""Run one trial again as a plain function call, without Ray, and compare it with what was logged."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from cameras.console import work
from cameras.errors import one_line
from forensics.repetition import TOLERANCE, deviations, differences
from study import tracking
from study.execution.worker import set_up_process
from study.jobs import Callbacks, Context
from study.jobs.codec_pretraining import CODEC_FILE
from study.jobs.pretraining import NIP_FILE
from study.jobs.trial import FAN_FILE, TrialJob
from study.settings import Resources, StudyError, user_errors, without_password
from study.storage import Storage

TRIAL_FILE = "trial.yaml"


@dataclass(frozen=True)
class Comparison:
    """A trial and its repetition.

    Attributes:
        name: of the trial.
        rows: (metric, logged, now).
        difference: says where the first difference lies; "" if there is none.
        deviation: what differs by more than `forensics.repetition.TOLERANCE`; "" if nothing does.
        why_not_exact: why equal bits were not to be expected; "" where they were.
    """

    name: str
    rows: list[tuple[str, float, float]]
    difference: str
    deviation: str = ""
    why_not_exact: str = ""

    @property
    def identical(self) -> bool:
        return not self.difference

    @property
    def verdict(self) -> str:
        """The comparison in a line."""
        if self.identical:
            return "bit-identical"
        if not self.why_not_exact:
            return f"not bit-identical: {self.difference}"
        allowed = ", ".join(f"{name} ± {allowed:g}" for name, allowed in TOLERANCE.items())
        if self.deviation:
            return f"beyond the tolerance ({allowed}): {self.deviation}; {self.why_not_exact}"
        return f"not bit-identical, but within the tolerance ({allowed}): {self.why_not_exact}"


def rerun(run_or_key: str, storage: str, tracking_uri: str) -> Comparison:
    """Repeat a finished trial from its beginning, with the number of threads it had.

    Args:
        run_or_key: MLflow run id, or a trial key or the beginning of one.
        storage: where the pairs and the pre-trained NIP lie here.
        tracking_uri: where the run is logged.

    Raises:
        StudyError: no such run, one that is not finished, or data that are not here.
    """
    client = tracking.look(tracking_uri := without_password(tracking_uri))
    if client is None:
        raise StudyError(f"nothing is logged at {tracking_uri}: name the folder of the results with --storage")
    run = find_trial(client, run_or_key)
    if run.info.status != "FINISHED":
        raise StudyError(f"run {run.info.run_id} is {run.info.status}: only a finished trial can be compared")
    with tempfile.TemporaryDirectory() as folder, tracking.reachable(tracking_uri), user_errors():
        artifacts = fetch(run, tracking_uri, Path(folder))
        job, place = logged_trial(run, artifacts)
        files = [artifacts / NIP_FILE, artifacts / FAN_FILE]
        if job.trial.channel.learning_codec is not None:
            files.append(fetch(run, tracking_uri, artifacts, (CODEC_FILE,)) / CODEC_FILE)
        context = _context(run, place, storage)
        set_up_process(context)
        with work(job.name, job.steps) as advance:
            outcome = job.train(context, Callbacks(on_step=advance))
        last = outcome.history[max(outcome.history)]
        compared = [name for name in last if name in run.data.metrics]  # an older version may have logged fewer
        logged = {  # the latest value of a step that was logged twice
            name: {entry.step: entry.value for entry in client.get_metric_history(run.info.run_id, name)}
            for name in compared
        }
        difference = next(differences(outcome, logged, *files), "")
    rows = [(name, run.data.metrics[name], last[name]) for name in compared]
    deviation = "; ".join(deviations(outcome, logged))
    return Comparison(job.name, rows, difference, deviation, _why_not_exact(context, run.data.tags))


def _why_not_exact(context: Context, tags: Mapping[str, str]) -> str:
    """Why a repetition need not give the same bits; "" where it must: on a CPU, or on a card of the same kind."""
    if context.device == "cpu":
        return ""
    if not context.deterministic:
        return "the trial ran with resources.deterministic: false"
    here = tracking.provenance(context.device)["hardware"]
    if tags.get("hardware") != here:
        return f"the trial ran on {tags.get('hardware', 'another card')}, this is {here}"
    return ""


def fetch(run: Run, tracking_uri: str, folder: Path, names: Sequence[str] = (TRIAL_FILE, NIP_FILE, FAN_FILE)) -> Path:
    """A folder with what a finished trial left: its settings, its NIP and its FAN, or the files named.

    Raises:
        StudyError: one of them is missing.
    """
    place = tracking.present(tracking_uri, run.info.artifact_uri)
    for name in names:
        try:
            download_artifacts(artifact_uri=f"{place}/{name}", tracking_uri=tracking_uri, dst_path=str(folder))
        except (OSError, MlflowException) as error:
            raise StudyError(f"run {run.info.run_id}: {place}/{name} is missing ({one_line(error, 200)})") from None
    return folder


def logged_trial(run: Run, artifacts: Path) -> tuple[TrialJob, Mapping[str, Any]]:
    """The trial as it was logged, and where it ran, of runs before the context became tags.

    Args:
        artifacts: folder with its :data:`TRIAL_FILE`.

    Raises:
        StudyError: another version of this project logged it.
    """
    try:
        document = yaml.safe_load((artifacts / TRIAL_FILE).read_text("utf-8"))
        place = document.pop("place", {})
        if "data_fingerprint" in document:
            document["data_hash"] = document.pop("data_fingerprint")
        return TrialJob.model_validate(document), place
    except (ValidationError, AttributeError, yaml.YAMLError):
        raise StudyError(f"run {run.info.run_id} was logged by another version of this project") from None


def _context(run: Run, place: Mapping[str, Any], storage: str) -> Context:
    """A context like that of the trial, with the data that are here."""
    device = run.data.tags.get("device", place.get("device", "cpu"))
    if device != "cpu" and not torch.cuda.is_available():
        raise StudyError(f"the trial ran on {device}: only there are its metrics the same to the bit")
    return Context(
        storage=storage,
        cache=None if Storage(storage).is_folder else Resources().cache,
        tracking_uri="",
        experiment_id="",
        device=device,
        deterministic=run.data.tags.get("deterministic", "True") == "True",
        threads=int(run.data.tags.get("threads", place.get("threads", 1))),
    )


def find_trial(client: MlflowClient, run_or_key: str) -> Run:
    """The run of a trial by its id or key.

    Raises:
        StudyError: there is none, or there are several.
    """
    with suppress(MlflowException):
        return client.get_run(run_or_key)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"tags.kind = 'trial' AND tags.trial_key LIKE '{run_or_key}%'"
    runs = client.search_runs(ids, wanted) if run_or_key.isalnum() else []
    if not runs:
        raise StudyError(
            f"no run and no trial key '{run_or_key}' in {client.tracking_uri}: 'best --json' lists run ids"
        )
    if (keys := len({run.data.tags["trial_key"] for run in runs})) > 1:
        raise StudyError(f"'{run_or_key}' begins {keys} trial keys: give more of it")
    return tracking.preferred(runs)
