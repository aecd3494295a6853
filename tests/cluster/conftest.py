"""A cluster, a tracking server and a bucket for all tests, and a study of their own for each."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from laboratory import JUDGED, METRICS, STEPS, TRIALS, Laboratory, Result
from machines import Bucket, Cluster, Machine, TrackingServer


@pytest.fixture(scope="session")
def machine_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the machines write what they have to say. All are switched off at the end, however that comes."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # CI that gives up
    yield tmp_path_factory.mktemp("machines")
    for machine in Machine.started:
        machine.kill()
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def bucket(machine_room: Path) -> Iterator[Bucket]:
    bucket = Bucket(machine_room)
    yield bucket
    bucket.kill()


@pytest.fixture(scope="session")
def tracking_server(machine_room: Path) -> Iterator[TrackingServer]:
    server = TrackingServer(machine_room)
    yield server
    server.kill()


@pytest.fixture(scope="session")
def cluster(machine_room: Path, tracking_server: TrackingServer) -> Iterator[Cluster]:
    """A head and two workers that know the tracking server."""
    cluster = Cluster(machine_room, {"MLFLOW_TRACKING_URI": tracking_server.uri})
    try:
        cluster.start_workers(2)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def reference(
    tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, tracking_server: TrackingServer
) -> Laboratory:
    """The study where nothing happens."""
    laboratory = Laboratory("undisturbed", tmp_path_factory.mktemp("undisturbed"), cluster, tracking_server)
    laboratory.run()
    return laboratory


@pytest.fixture(scope="session")
def undisturbed(reference: Laboratory) -> dict[str, Result]:
    """What the study should come to."""
    results = reference.outcome()
    assert len(results) == TRIALS
    for result in results.values():
        assert result.metrics.keys() == METRICS | JUDGED
        for name, history in result.metrics.items():
            assert [step for step, _ in history] == (STEPS if name in METRICS else STEPS[-1:]), name
    assert len({result.weights["fan.safetensors"] for result in results.values()}) == TRIALS, "all trials are alike"
    return results


@pytest.fixture
def laboratory(
    request: pytest.FixtureRequest, tmp_path: Path, reference: Laboratory, undisturbed: dict[str, Result]
) -> Iterator[Laboratory]:
    """Two workers, and pictures of the camera: the rest is to do."""
    cluster = reference.cluster
    cluster.start_workers(2 - len(cluster.workers))  # an earlier test may have killed some
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")
    laboratory = Laboratory(name, tmp_path, cluster, reference.server, reference, undisturbed.keys())
    yield laboratory
    for driver in laboratory.drivers:
        driver.kill()
