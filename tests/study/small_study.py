"""A trial that takes a second, a tracker whose connection can fail, and what that tracker holds in the end."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from forensics.trial import Split, Training, Trial, Validation
from study.jobs.trial import TrialJob
from study.storage import Storage


def new_experiment(client: MlflowClient, folder: Path) -> str:
    """Create an experiment with artifacts in a folder; return its id."""
    name = secrets.token_hex(4)
    return client.create_experiment(name, artifact_location=(folder / f"artifacts-{name}").as_uri())


def refused_connection() -> MlflowException:
    """What MLflow's client raises when a connection is refused."""
    return MlflowException("API request to http://tracker failed with exception: Connection refused")


@dataclass
class Line:
    """A client of a real tracker over a connection that fails.

    ``state`` is called for every request: it returns ``up``, ``down`` (nothing arrives) or ``deaf`` (requests arrive,
    answers do not).
    """

    client: MlflowClient
    state: Callable[[], str] = lambda: "up"
    requests: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.client, name)
        if not callable(value):
            return value

        def request(*arguments: Any, **options: Any) -> Any:
            self.requests.append(name)
            state = self.state()
            answer = None if state == "down" else value(*arguments, **options)
            if state != "up":
                raise refused_connection()
            return answer

        return request


@dataclass(frozen=True)
class Record:
    """All that a tracker knows of a run, except for times. ``artifacts`` are contents by path."""

    status: str
    metrics: dict[str, list[tuple[int, float]]]  # (step, value) in the order in which they arrived
    params: dict[str, str]
    tags: dict[str, str]
    artifacts: dict[str, bytes]


def recorded(client: MlflowClient, experiment_id: str, key: str) -> Record:
    """Read the run of a key; fail where a key has no run or several."""
    (run,) = client.search_runs([experiment_id], f"tags.trial_key = '{key}'")
    metrics = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    artifacts = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
    return Record(run.info.status, metrics, run.data.params, tags, artifacts)


@dataclass(frozen=True)
class Data:
    """A camera and a NIP in a folder, and their hashes."""

    folder: Path
    camera: str
    data_hash: str
    nip: str
    nip_sha256: str

    def put(self, storage: Storage) -> None:
        """Copy everything into a storage."""
        for path in self.folder.rglob("*"):
            if path.is_file():
                storage.upload(path, path.relative_to(self.folder).as_posix())


def small_job(data: Data) -> TrialJob:
    """A trial of six iterations, validated and saved after every second."""
    trial = Trial(
        data.camera,
        "INet",
        0.1,
        seed=1,
        split=Split(3, 1),
        training=Training(iterations=6, batch=2, patch=16),
        validation=Validation(every=2, accuracy_patches=3, fidelity_patches=2, textured=False),
    )
    return TrialJob(
        key="0123456789abcdef" * 2,
        trial=trial,
        nip=data.nip,
        nip_sha256=data.nip_sha256,
        data_hash=data.data_hash,
    )


def results(record: Record) -> tuple[object, ...]:
    """All of a record that must not depend on faults on the way."""
    metrics = {name: values for name, values in record.metrics.items() if name != "seconds"}
    return record.status, metrics, record.artifacts, record.params, record.tags
