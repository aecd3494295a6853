"""The runs of an experiment: one per key, whoever asks and however often.

Every call hands explicit run ids to the client; MLflow's fluent globals would race between trials of one process.
"""

import gc
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from cameras.errors import one_line
from study.settings import Frozen, StudyError
from study.tracking.client import ask, look

KEY = "trial_key"  # tag with the key of a run's job, whatever its kind
GIVEN_UP = "given_up"  # tag of a run that a search has given up, with the reason
ADDED = "added."  # and a key: tag with the state of a job that adds to another job's run
BATCH = 500  # metrics in one request: measured 70 times faster than one by one
PAGE = 5000  # runs in one request


class Description(Frozen):
    """What the tracker knows of a job from its start.

    ``run_key`` is the key of the run that its results go to: its own, or that of the job whose run it adds to.
    """

    key: str
    run_key: str
    kind: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]


@dataclass(frozen=True)
class Snapshot:
    """What the tracker knows of a study at one moment, read in one pass.

    ``runs`` are all runs of the experiment that have a key. One key has several where two drivers ran at once.
    """

    client: MlflowClient
    experiment_id: str
    tags: Mapping[str, str]
    runs: tuple[Run, ...]
    missing: set[str] = field(default_factory=set)  # addresses of artifacts that were looked for in vain

    @cached_property
    def by_key(self) -> dict[str, Run]:
        """Every key with the run that counts."""
        several: dict[str, list[Run]] = {}
        for run in self.runs:
            several.setdefault(run.data.tags[KEY], []).append(run)
        return {key: preferred(runs) for key, runs in several.items()}

    @cached_property
    def finished(self) -> dict[str, Run]:
        """The finished runs of :attr:`by_key`."""
        return {key: run for key, run in self.by_key.items() if run.info.status == "FINISHED"}

    def of_kind(self, kind: str) -> list[Run]:
        """Runs of one kind of job, oldest first."""
        return sorted(
            (run for run in self.runs if run.data.tags.get("kind") == kind), key=lambda run: run.info.start_time
        )


def snapshot(client: MlflowClient, experiment_id: str) -> Snapshot:
    """Read all runs of an experiment: the one slow question, 0.4 s for 1,000 runs. Ask it once a command."""
    runs: list[Run] = []
    token = None
    with _no_garbage_collection():
        while True:
            page = client.search_runs([experiment_id], max_results=PAGE, page_token=token)
            runs += [run for run in page if KEY in run.data.tags]
            if not (token := page.token):
                return Snapshot(client, experiment_id, client.get_experiment(experiment_id).tags, tuple(runs))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Millions of objects appear and none is garbage: searching them for garbage takes two thirds of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read(uri: str, experiment: str) -> Snapshot | None:
    """The snapshot of an experiment by its name; None where nothing was tracked yet.

    Raises:
        StudyError: the server or database cannot be used.
    """
    if (client := look(uri)) is None:
        return None

    def found() -> Snapshot | None:
        one = client.get_experiment_by_name(experiment)
        return None if one is None else snapshot(client, one.experiment_id)

    return ask(uri, found)


def find(client: MlflowClient, experiment_id: str, key: str) -> Run | None:
    """The run of a key, None where there is none."""
    runs = client.search_runs([experiment_id], f"tags.{KEY} = '{key}'")
    return preferred(runs) if runs else None


def preferred(runs: Iterable[Run]) -> Run:
    """Of several runs of one key, left by two drivers at once: the finished, else the oldest."""
    return min(runs, key=lambda run: (run.info.status != "FINISHED", run.info.start_time))


def open_run(client: MlflowClient, experiment_id: str, description: Description) -> Run:
    """The run of a job, reopened or created: the result is the same however often it is called.

    Raises:
        StudyError: the job adds to a run that does not exist.
    """
    run = find(client, experiment_id, description.run_key)
    if description.run_key != description.key:
        if run is None:
            raise StudyError(f"the run that {description.name} adds to is not there: run the study again")
        client.set_tag(run.info.run_id, f"{ADDED}{description.key}", "RUNNING")
        return run
    if run is None:
        tags = {KEY: description.key, "kind": description.kind, MLFLOW_RUN_NAME: description.name}
        run = client.create_run(experiment_id, tags=tags)
    client.update_run(run.info.run_id, status="RUNNING")
    # Also where the run was there already: its creator may have been killed before it came to this.
    client.log_batch(
        run.info.run_id,
        params=[Param(name, value) for name, value in description.params.items()],
        tags=[RunTag(name, value) for name, value in description.tags.items()],
    )
    return run


def metrics(step: int, figures: Mapping[str, float]) -> list[Metric]:
    """Figures of one step, as MLflow takes them, at this moment."""
    now = time.time_ns() // 1_000_000
    return [Metric(name, value, now, step) for name, value in figures.items()]


def log_metrics(client: MlflowClient, run_id: str, figures: Sequence[Metric]) -> None:
    """Log figures in few requests."""
    for start in range(0, len(figures), BATCH):
        client.log_batch(run_id, metrics=figures[start : start + BATCH])


def finish(client: MlflowClient, run_id: str, description: Description) -> None:
    """Mark a job finished: the last thing that happens to it."""
    if description.run_key != description.key:
        client.set_tag(run_id, f"{ADDED}{description.key}", "FINISHED")
        return
    for tag in {"failure", GIVEN_UP} & client.get_run(run_id).data.tags.keys():  # of an earlier attempt
        client.delete_tag(run_id, tag)
    client.set_terminated(run_id, "FINISHED")


def fail(client: MlflowClient, run_id: str, description: Description, reason: str, status: str = "FAILED") -> None:
    """Mark a job FAILED (by itself: it would fail again) or KILLED (by circumstances), with the reason in one line."""
    if description.run_key != description.key:
        client.set_tag(run_id, f"{ADDED}{description.key}", f"{status}: {one_line(reason)}")
        return
    client.set_tag(run_id, "failure", one_line(reason))
    client.set_terminated(run_id, status)


def stop(client: MlflowClient, run_id: str, reason: str) -> None:
    """Mark a job KILLED because it is not worth its time: nothing has failed, and another command may finish it."""
    client.set_tag(run_id, GIVEN_UP, one_line(reason))
    client.set_tag(run_id, "failure", one_line(reason))
    client.set_terminated(run_id, "KILLED")


@dataclass(frozen=True)
class State:
    """How a job stands: MLflow's word for it, and why it failed."""

    status: str
    reason: str = ""


def state(run: Run | None, key: str, run_key: str) -> State | None:
    """The state of a job, out of the run that its results go to; None where it was never begun."""
    if run is None:
        return None
    if key == run_key:
        return State(run.info.status, run.data.tags.get("failure", ""))
    status, _, reason = run.data.tags.get(f"{ADDED}{key}", "").partition(": ")
    return State(status, reason) if status else None


def write_texts(folder: Path, texts: Mapping[str, object]) -> None:
    """Write objects as JSON, YAML or plain text, by the file's name."""
    for name, content in texts.items():
        path = folder / name
        if path.suffix == ".yaml":
            path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
        elif path.suffix == ".json":
            path.write_text(json.dumps(content, indent=1), "utf-8")
        else:
            path.write_text(str(content), "utf-8")


def log_artifacts(client: MlflowClient, run_id: str, folder: str) -> None:
    """Attach the files of a folder.

    Raises:
        OSError, MlflowException: they could not be sent, whatever library carries files to that store.
    """
    try:
        client.log_artifacts(run_id, folder)
    except (OSError, MlflowException):
        raise
    except Exception as error:  # of botocore, for instance
        raise OSError(f"artifacts cannot be sent: {one_line(error)}") from error
