"""A cluster, a tracking server and a bucket for the tests of a file."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import Bucket, Cluster, Machine, TrackingServer


@pytest.fixture(scope="module")
def machine_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the machines write what they have to say. All are switched off at the end, however that comes."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # CI that gives up
    yield tmp_path_factory.mktemp("machines")
    for machine in Machine.started:
        machine.kill()
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def bucket(machine_room: Path) -> Iterator[Bucket]:
    bucket = Bucket(machine_room)
    yield bucket
    bucket.kill()


@pytest.fixture(scope="module")
def tracking_server(machine_room: Path) -> Iterator[TrackingServer]:
    server = TrackingServer(machine_room)
    yield server
    server.kill()


@pytest.fixture(scope="module")
def cluster(machine_room: Path, tracking_server: TrackingServer, bucket: Bucket) -> Iterator[Cluster]:
    """A head and two workers that know the tracking server and the bucket."""
    environment = {"MLFLOW_TRACKING_URI": tracking_server.uri, **bucket.environment}
    cluster = Cluster(machine_room, environment)
    try:
        cluster.start_workers(2)
        yield cluster
    finally:
        cluster.close()
