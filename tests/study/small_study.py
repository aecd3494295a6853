"""A trial that takes a second, a tracker whose line can be cut, and what that tracker knows in the end."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from forensics.trial import Split, Training, Trial, Validation
from study.jobs import Place, TrialJob
from study.storage import Storage


def new_experiment(client: MlflowClient, folder: Path) -> str:
    """The id of an experiment of its own, with artifacts in a folder."""
    name = secrets.token_hex(4)
    return client.create_experiment(name, artifact_location=(folder / f"artifacts-{name}").as_uri())


def refused_connection() -> MlflowException:
    """What MLflow's client makes of it."""
    return MlflowException("API request to http://tracker failed with exception: Connection refused")


@dataclass
class Line:
    """A client of a real tracker behind a line that fails.

    ``state`` is asked at every request: ``up``, ``down`` (nothing arrives) or ``deaf`` (requests arrive, answers do
    not).
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
    """All that a tracker knows of a key, but for times."""

    status: str
    figures: dict[str, list[tuple[int, float]]]  # (step, value) in the order in which they arrived
    params: dict[str, str]
    tags: dict[str, str]
    artifacts: dict[str, bytes]


def recorded(client: MlflowClient, experiment_id: str, key: str) -> Record:
    """Fails where a key has no run or several."""
    (run,) = client.search_runs([experiment_id], f"tags.trial_key = '{key}'")
    figures = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    artifacts = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
    return Record(run.info.status, figures, run.data.params, tags, artifacts)


@dataclass(frozen=True)
class Data:
    """A camera and a NIP in a folder, and what they are known by."""

    folder: Path
    camera: str
    fingerprint: str
    nip: str
    nip_sha256: str

    def put(self, storage: Storage) -> None:
        """Copy all into a storage."""
        for path in self.folder.rglob("*"):
            if path.is_file():
                storage.upload(path, path.relative_to(self.folder).as_posix())


def small_job(data: Data, place: Place) -> TrialJob:
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
        data_fingerprint=data.fingerprint,
        place=place,
    )


def results(record: Record) -> tuple[object, ...]:
    """All of a record that must not depend on what happened on the way."""
    figures = {name: values for name, values in record.figures.items() if name != "seconds"}
    artifacts = {name: content for name, content in record.artifacts.items() if name != "trial.yaml"}
    return record.status, figures, artifacts, record.params, record.tags
