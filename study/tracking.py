"""MLflow: one experiment per study, one run per key, whoever asks and however often.

Every call hands explicit run ids to the client; MLflow's fluent globals would race between trials of one process.
"""

import json
import logging
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
import yaml
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from requests import HTTPError

from study.jobs import Job, PretrainingJob
from study.settings import Frozen, Study, StudyError
from study.storage import Storage

PACKAGES = ("torch", "numpy", "ray", "mlflow", "rawpy", "safetensors")
BATCH = 500  # metrics in one request: measured 70 times faster than one by one

# MLflow would repeat a failed request for minutes, while training waits, and log figures twice whose receipt was lost.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")


def tracking_uri(study: Study) -> str:
    """Where runs are kept: the study file's own word, else as :func:`default_uri`."""
    return study.tracking_uri or default_uri(study.storage)


def default_uri(storage: str) -> str:
    """``MLFLOW_TRACKING_URI``, else sqlite in the storage.

    Raises:
        StudyError: neither, since a bucket holds no database.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    if not Storage(storage).is_folder:
        raise StudyError(
            f"results in {storage} need a tracking server: name it as tracking_uri or in MLFLOW_TRACKING_URI"
        )
    return f"sqlite:///{Path(storage).resolve() / 'mlflow.db'}"


def experiment(client: MlflowClient, study: Study) -> str:
    """The id of the study's experiment, created where it is missing."""
    found = client.get_experiment_by_name(study.name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return found.experiment_id
    # A server decides for itself where artifacts go; beside a database file they go into the study's storage.
    local = client.tracking_uri.startswith("sqlite")
    location = (study.folder.resolve() / "artifacts" / study.name).as_uri() if local else None
    try:
        return client.create_experiment(study.name, artifact_location=location)
    except MlflowException:
        found = client.get_experiment_by_name(study.name)  # someone else was faster
        if found is None:
            raise
        return found.experiment_id


def connect(study: Study) -> tuple[MlflowClient, str]:
    """A client and the study's experiment; both are created where they are missing.

    Raises:
        StudyError: the tracking server or database cannot be used.
    """
    uri = tracking_uri(study)
    with reachable(uri):
        if (database := _database(uri)) and not database.exists():
            _create(database)
        client = MlflowClient(uri)
        return client, experiment(client, study)


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Whatever MLflow says of a server or database that cannot be used, in one line."""
    try:
        yield
    except (MlflowException, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StudyError(f"tracking at {uri} cannot be used: {reason}") from error


def _database(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _create(database: Path) -> None:
    """Make the database beside its place and move it there: killed in between, it is absent rather than half there."""
    database.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # its tables are no news to the user
    with tempfile.TemporaryDirectory(dir=database.parent) as folder:
        part = Path(folder) / database.name
        MlflowClient(f"sqlite:///{part}").search_experiments()
        part.replace(database)


def look(uri: str) -> MlflowClient | None:
    """A client for what is there already, None where there is no database yet.

    Raises:
        StudyError: the server or database cannot be used.
    """
    database = _database(uri)
    if database is not None and not database.exists():
        return None
    with reachable(uri):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def find(client: MlflowClient, experiment_id: str, key: str) -> Run | None:
    """The run of a key, None where there is none."""
    runs = client.search_runs([experiment_id], f"tags.trial_key = '{key}'")
    return preferred(runs) if runs else None


def preferred(runs: Iterable[Run]) -> Run:
    """Of several runs of one key, left by two drivers at once: the finished, else the oldest."""
    return min(runs, key=lambda run: (run.info.status != "FINISHED", run.info.start_time))


def runs_by_key(client: MlflowClient, experiment_id: str) -> dict[str, Run]:
    """Every key of an experiment with its run."""
    runs: dict[str, list[Run]] = {}
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=5000, page_token=token)
        for run in page:
            if "trial_key" in run.data.tags:
                runs.setdefault(run.data.tags["trial_key"], []).append(run)
        token = page.token
        if not token:
            return {key: preferred(several) for key, several in runs.items()}


def is_done(job: Job, run: Run | None) -> bool:
    """A job is done when MLflow has it all, a pre-training when its weights lie in the storage as well."""
    if run is None or run.info.status != "FINISHED":
        return False
    if not isinstance(job, PretrainingJob):
        return True
    shared = job.place.shared
    return shared.exists(job.weights) and shared.sha256(job.weights) == run.data.tags.get("nip_sha256")


def open_run(client: MlflowClient, experiment_id: str, description: "Description") -> Run:
    """The run of a key, reopened or created: the result is the same however often it is called."""
    run = find(client, experiment_id, description.key)
    if run is None:
        tags = {"trial_key": description.key, "kind": description.kind, MLFLOW_RUN_NAME: description.name}
        run = client.create_run(experiment_id, tags=tags)
    client.update_run(run.info.run_id, status="RUNNING")
    # Also where the run was there already: whoever created it may have been killed before it came to this.
    client.log_batch(
        run.info.run_id,
        params=[Param(name, value) for name, value in description.params.items()],
        tags=[RunTag(name, value) for name, value in description.tags.items()],
    )
    return run


class Description(Frozen):
    """What the tracker knows of a run from its start."""

    key: str
    kind: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]

    @classmethod
    def of(cls, job: Job) -> "Description":
        """Of a job that is done by this process."""
        params = {name: str(value) for name, value in job.params.items()}
        return cls(key=job.key, kind=job.kind, name=job.name, params=params, tags={**provenance(), **job.tags})


def metrics(step: int, figures: Mapping[str, float]) -> list[Metric]:
    """Figures of one step, as MLflow takes them, at this moment."""
    now = time.time_ns() // 1_000_000
    return [Metric(name, value, now, step) for name, value in figures.items()]


def log_metrics(client: MlflowClient, run_id: str, figures: Sequence[Metric]) -> None:
    """Log figures in few requests."""
    for start in range(0, len(figures), BATCH):
        client.log_batch(run_id, metrics=figures[start : start + BATCH])


def is_away(error: Exception) -> bool:
    """Whether the tracker cannot be reached or cannot work just now; else it has refused what it was asked."""
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    elif isinstance(error, HTTPError) and error.response is not None:  # of a file's upload
        status = error.response.status_code
    else:
        return isinstance(error, OSError)
    return status >= 500 or status == 429


def finish(client: MlflowClient, run_id: str) -> None:
    """Mark a run FINISHED: the last thing that happens to it."""
    if "failure" in client.get_run(run_id).data.tags:  # of an earlier attempt
        client.delete_tag(run_id, "failure")
    client.set_terminated(run_id, "FINISHED")


def fail(client: MlflowClient, run_id: str, reason: str, status: str = "FAILED") -> None:
    """Mark a run FAILED (by itself: it would fail again) or KILLED (by circumstances), with the reason in one line."""
    client.set_tag(run_id, "failure", " ".join(reason.split())[:500])
    client.set_terminated(run_id, status)


def write_texts(folder: Path, texts: Mapping[str, object]) -> None:
    """Write objects as JSON, YAML or plain text, by the file's name."""
    for name, content in texts.items():
        path = folder / name
        if path.suffix == ".yaml":
            path.write_text(yaml.safe_dump(content, sort_keys=False))
        elif path.suffix == ".json":
            path.write_text(json.dumps(content, indent=1))
        else:
            path.write_text(str(content))


def log_texts(client: MlflowClient, run_id: str, texts: Mapping[str, object]) -> None:
    """Attach objects as :func:`write_texts` writes them."""
    with tempfile.TemporaryDirectory() as folder:
        write_texts(Path(folder), texts)
        client.log_artifacts(run_id, folder)


@cache
def provenance() -> dict[str, str]:
    """Tags that say what ran: code revision, packages, hardware."""
    return {"git_revision": _revision(), "packages": _packages(), "hardware": _hardware()}


def _packages() -> str:
    return ", ".join(f"{package} {version(package)}" for package in PACKAGES)


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} CPUs"


def _revision() -> str:
    """The commit, with ``+`` where the working tree differs from it; ``unknown`` outside a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
