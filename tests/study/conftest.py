"""A folder and a bucket to store in, a tracker, and data for a trial that takes a second."""

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from small_study import Data, Record, new_experiment, recorded, small_job

import models
from cameras.pairs import Index, append
from study import tracking
from study.execution import delivery, driver_lock, worker
from study.jobs import Context, Job, from_text, to_text
from study.jobs.trial import TrialJob
from study.settings import Resources, load_study
from study.storage import Storage
from study.storage.cache import file_sha256

BUCKET = "studies"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Address of an S3 server with one bucket."""
    import boto3  # comes with moto
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """An empty storage in a bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return Storage(f"s3://{BUCKET}/{secrets.token_hex(4)}")


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage of either kind."""
    return request.getfixturevalue("bucket") if request.param == "bucket" else Storage(str(tmp_path / "storage"))


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """A client of one database for all tests: to create it takes seconds."""
    study = load_study("smoke").model_copy(update={"storage": str(tmp_path_factory.mktemp("tracking"))})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return tracking.connect(study)[0]


@pytest.fixture
def experiment_id(client: MlflowClient, tmp_path: Path) -> str:
    return new_experiment(client, tmp_path)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Four photographs of noise, 96×128 px."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for number in range(4):
        bayer, target = rng.random((48, 64, 4)), rng.random((96, 128, 3))
        camera = {"cfa": "RGGB", "cam2srgb": np.eye(3), "camera": "a camera"}
        append(folder / "cameras" / "camera", f"image {number}", bayer, target, **camera)
    nip = models.build("INet", generator=torch.Generator().manual_seed(0), cfa="RGGB", cam2srgb=np.eye(3).tolist())
    models.save(folder / "nips" / "nip.safetensors", nip)
    data_hash = Index.read(folder / "cameras" / "camera").data_hash
    return Data(folder, "camera", data_hash, "nips/nip.safetensors", file_sha256(folder / "nips" / "nip.safetensors"))


@pytest.fixture
def job(data: Data) -> TrialJob:
    return small_job(data)


@pytest.fixture
def context(storage: Storage, data: Data, client: MlflowClient, experiment_id: str, tmp_path: Path) -> Context:
    """Where the trial runs: a storage that has what it needs."""
    data.put(storage)
    return Context(
        storage=storage.uri,
        cache=None if storage.is_folder else tmp_path / "cache",
        tracking_uri=client.tracking_uri,
        experiment_id=experiment_id,
        checkpoint_seconds=0,
    )


@pytest.fixture(scope="session")
def undisturbed(data: Data, client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """What the trial leaves in the tracker without any fault."""
    experiment_id = new_experiment(client, tmp_path_factory.mktemp("undisturbed"))
    uri = client.tracking_uri
    context = Context(storage=str(data.folder), cache=None, tracking_uri=uri, experiment_id=experiment_id)
    job = small_job(data)
    assert worker.run(job, context) is None
    return recorded(client, experiment_id, job.key)


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of a stage run in this process, one after the other, as they would on a worker."""
    from study.execution import scheduler  # imports Ray, which takes seconds

    def schedule(
        jobs: Sequence[Job],
        context: Context,
        resources: Resources,
        folder: Path,
        on_progress: Callable[[str, int, bool], None],
    ) -> dict[str, str]:
        failures = {}
        for job in jobs:
            on_worker = Context.model_validate_json(context.model_dump_json())
            try:
                failure = worker.run(from_text(to_text(job)), on_worker, partial(on_step, job.key, on_progress))
            except (OSError, MlflowException):  # as often as it may
                failure = "its process or node was lost"
            if failure is not None:
                failures[job.key] = failure
            on_progress(job.key, job.steps, True)
        return failures

    def on_step(
        key: str, on_progress: Callable[[str, int, bool], None], step: int, metrics: Mapping[str, float]
    ) -> None:
        on_progress(key, step, False)

    for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "0")  # restored afterwards: the driver sets them
    monkeypatch.setattr(scheduler, "connect", lambda address: None)
    monkeypatch.setattr(scheduler, "schedule", schedule)
    monkeypatch.setattr(driver_lock, "SETTLE", 0.0)
    monkeypatch.setattr(delivery, "ROUND_SECONDS", 0.1)
